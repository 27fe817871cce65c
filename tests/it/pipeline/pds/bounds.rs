//! No host makes us read without end, wait without end, or ask without end.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use plyr_likes::pds::{ClientOptions, HostError};

use super::{ManualClock, client, names, open_client, options, request};
use crate::support::host::{Host, Reply};

#[tokio::test]
async fn an_answer_that_is_too_large() {
    let host = Host::start(|asked| match asked.number {
        0 | 1 => Reply::ok(vec![b'x'; 1000]),
        _ => Reply::Flood,
    })
    .await;
    let client = open_client(&ManualClock::new());
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
    let client = open_client(&ManualClock::new());
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
    let answer = open_client(&ManualClock::new()).fetch(request(&host.url())).await;
    assert!(matches!(answer, Err(HostError::Unreachable(_))), "{answer:?}");
    assert_eq!(host.asked().len(), 1);
}

#[tokio::test]
async fn what_is_no_json() {
    let host = Host::start(|_| Reply::ok("<html>")).await;
    let answer = open_client(&ManualClock::new()).fetch_json::<serde_json::Value>(request(&host.url())).await;
    assert!(matches!(answer, Err(HostError::NotAsExpected(_))), "{answer:?}");
}

#[tokio::test]
async fn a_few_redirects_and_no_more() {
    let host = Host::start(|asked| match asked.target.trim_matches('/').parse::<u32>().unwrap_or(0) {
        0 => Reply::ok("there"),
        left => Reply::redirect(format!("/{}", left - 1)),
    })
    .await;
    let client = open_client(&ManualClock::new());
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
    let answer = open_client(&ManualClock::new()).fetch(request(&host.url().replace("http://", "http://me:me@"))).await;
    assert!(matches!(answer, Err(HostError::BadUrl(_))), "{answer:?}");
    assert_eq!(host.connections(), 0);
}

/// Two slow hosts: each is asked as much at once as it may be, and both together as much as all may.
#[tokio::test]
async fn few_requests_at_once() {
    for (in_all, expected) in [(32, [3, 3]), (2, [2, 2])] {
        let slow = |_: &_| Reply::Late(Duration::from_millis(30));
        let hosts = [Host::start(slow).await, Host::start(slow).await];
        let bounds = ClientOptions { per_host: 3, in_all, ..options(true) };
        let client = client(bounds, &names(&[], &[]), &ManualClock::new());
        // First one host alone, so that it could have all that there is.
        for host in &hosts {
            let answers = join_all((0..9).map(|_| client.fetch(request(&host.url())))).await;
            assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        }
        assert_eq!([hosts[0].open_max(), hosts[1].open_max()], expected);
        let both = hosts.iter().flat_map(|host| (0..9).map(|_| client.fetch(request(&host.url()))));
        assert!(join_all(both).await.iter().all(Result::is_ok));
        assert!(hosts[0].open_max() <= 3 && hosts[1].open_max() <= 3);
    }
}

/// An account's host that never answers takes no more than its own places.
#[tokio::test]
async fn b4_one_broken_host_does_not_hold_up_others() {
    let (broken, good) = (Host::start_on("127.0.0.2", |_| Reply::Hang).await, Host::start(|_| Reply::ok("{}")).await);
    let bounds = ClientOptions { per_host: 3, in_all: 4, ..options(true) };
    let client = client(bounds, &names(&[], &[]), &ManualClock::new());
    let waiting = join_all((0..20).map(|_| client.fetch(request(&broken.url()))));
    let other = async {
        while broken.asked().len() < 3 {
            tokio::task::yield_now().await;
        }
        client.fetch(request(&good.url())).await
    };
    tokio::select! {
        answers = waiting => panic!("it never answers, and answered {answers:?}"),
        answer = other => assert_eq!(answer, Ok(b"{}".to_vec())),
    }
    assert_eq!(broken.asked().len(), 3);
}
