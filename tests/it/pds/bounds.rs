//! No host makes us read without end, wait without end, or ask without end.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use plyr_likes::pds::{ClientOptions, HostError};

use super::{Hands, client, names, open_client, options, request};
use crate::support::host::{Host, Reply};

#[tokio::test]
async fn an_answer_that_is_too_large() {
    let host = Host::start(|asked| match asked.number {
        0 | 1 => Reply::ok(vec![b'x'; 1000]),
        _ => Reply::Flood,
    })
    .await;
    let client = open_client(&Hands::new());
    let mut asked = request(&host.url());
    asked.bytes_max = 1000;
    assert_eq!(client.fetch(asked.clone()).await.map(|bytes| bytes.len()), Ok(1000));
    asked.bytes_max = 999;
    assert_eq!(client.fetch(asked.clone()).await, Err(HostError::TooLarge { bytes_max: 999 }), "by what it says");
    assert_eq!(client.fetch(asked).await, Err(HostError::TooLarge { bytes_max: 999 }), "by what comes");
    assert_eq!(host.asked().len(), 3);
}

#[tokio::test]
async fn b3_an_answer_that_never_comes_or_never_ends() {
    let host = Host::start(|asked| if asked.number == 0 { Reply::Hang } else { Reply::Drip }).await;
    let client = open_client(&Hands::new());
    let mut asked = request(&host.url());
    asked.time_max = Duration::from_millis(300);
    for what in ["hangs", "drips"] {
        let begun = Instant::now();
        assert_eq!(client.fetch(asked.clone()).await, Err(HostError::TimedOut), "{what}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}");
    }
    assert_eq!(host.asked().len(), 2);
}

#[tokio::test]
async fn b3_an_answer_that_is_cut() {
    let host = Host::start(|_| Reply::Cut).await;
    let answer = open_client(&Hands::new()).fetch(request(&host.url())).await;
    assert!(matches!(answer, Err(HostError::Unreachable(_))), "{answer:?}");
    assert_eq!(host.asked().len(), 1);
}

#[tokio::test]
async fn what_is_no_json() {
    let host = Host::start(|_| Reply::ok("<html>")).await;
    let answer = open_client(&Hands::new()).fetch_json::<serde_json::Value>(request(&host.url())).await;
    assert!(matches!(answer, Err(HostError::NotAsExpected(_))), "{answer:?}");
}

#[tokio::test]
async fn a_few_redirects_and_no_more() {
    let host = Host::start(|asked| match asked.target.trim_matches('/').parse::<u32>().unwrap_or(0) {
        0 => Reply::ok("there"),
        left => Reply::redirect(format!("/{}", left - 1)),
    })
    .await;
    let client = open_client(&Hands::new());
    assert_eq!(client.fetch(request(&format!("{}/3", host.url()))).await, Ok(b"there".to_vec()));
    let answer = client.fetch(request(&format!("{}/4", host.url()))).await;
    assert_eq!((answer, host.asked().len()), (Err(HostError::TooManyRedirects), 8));
    let nowhere = Host::start(|_| Reply::status(302)).await;
    let answer = client.fetch(request(&nowhere.url())).await;
    assert!(matches!(answer, Err(HostError::BadUrl(_))), "{answer:?}");
}

#[tokio::test]
async fn a_user_in_an_address() {
    let host = Host::start(|_| Reply::ok("{}")).await;
    let answer = open_client(&Hands::new()).fetch(request(&host.url().replace("http://", "http://me:me@"))).await;
    assert!(matches!(answer, Err(HostError::BadUrl(_))), "{answer:?}");
    assert_eq!(host.connections(), 0);
}

/// Two hosts that never answer: each holds what it may, and both together no more than all may.
#[tokio::test]
async fn b4_few_requests_at_once() {
    let (one, other) = (Host::start(|_| Reply::Hang).await, Host::start(|_| Reply::Hang).await);
    let bounds = ClientOptions { per_host: 3, in_all: 5, ..options(true) };
    let client = client(bounds, &names(&[], &[]), &Hands::new());
    let mut asked = Vec::new();
    for host in [&one, &other] {
        for _ in 0..8 {
            let mut request = request(&host.url());
            request.time_max = Duration::from_millis(100);
            asked.push(client.fetch(request));
        }
    }
    let answers = join_all(asked).await;
    assert!(answers.iter().all(Result::is_err));
    // Five failures in a row break a circuit; whoever waited for a place is then told so without asking.
    assert!(answers.contains(&Err(HostError::TimedOut)), "{answers:?}");
    assert!((1..=3).contains(&one.open_max()) && (1..=3).contains(&other.open_max()));
    assert!(one.open_max() + other.open_max() >= 4, "no more than one at a time");
    // A host that works is not held up by them.
    let good = Host::start(|_| Reply::ok("{}")).await;
    assert_eq!(client.fetch(request(&good.url())).await, Ok(b"{}".to_vec()));
}
