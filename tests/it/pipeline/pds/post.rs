//! What is sent to a host goes through the same guard as what is asked of one.

use std::time::Duration;

use plyr_likes::pds::{Client, HostError, Request, Trust};
use reqwest::header::{AUTHORIZATION, HOST, HeaderValue};

use super::{ManualClock, client, names, open_client, options};
use crate::support::host::{Host, Reply};

/// A POST with a secret.
fn post(url: &str, body: impl Into<Vec<u8>>) -> Request {
    let mut request = Request::post(url.parse().unwrap(), Trust::Untrusted, body.into()).unwrap();
    request.headers.insert(AUTHORIZATION, HeaderValue::from_static("DPoP secret"));
    request
}

fn guarded() -> Client {
    client(options(false), &names(&[("inside.example", &["127.0.0.1", "10.0.0.8"])], &[]), &ManualClock::new())
}

#[tokio::test]
async fn body_and_headers_go_there_and_status_headers_and_body_come_back() {
    let host = Host::start(|asked| match asked.number {
        0 => Reply::Answer(200, vec![("DPoP-Nonce", "one".to_owned())], b"done".to_vec()),
        1 => Reply::Answer(401, vec![("DPoP-Nonce", "two".to_owned())], br#"{"error":"use_dpop_nonce"}"#.to_vec()),
        _ => Reply::status(500),
    })
    .await;
    let client = open_client(&ManualClock::new());
    let url = format!("{}/xrpc/com.atproto.repo.createRecord", host.url());
    let done = client.send(post(&url, "a record")).await.unwrap();
    assert_eq!((done.status, &*done.body, done.headers["dpop-nonce"].as_bytes()), (200, &b"done"[..], &b"one"[..]));
    let refused = client.send(post(&url, "a record")).await.unwrap();
    assert_eq!((refused.status, refused.headers["dpop-nonce"].as_bytes()), (401, &b"two"[..]));
    assert_eq!(refused.body, br#"{"error":"use_dpop_nonce"}"#);
    assert_eq!(client.send(post(&url, "a record")).await.unwrap().status, 500);
    for asked in host.asked() {
        assert_eq!((&*asked.method, &*asked.target), ("POST", "/xrpc/com.atproto.repo.createRecord"));
        assert_eq!((&*asked.body, asked.header("authorization")), (&b"a record"[..], Some("DPoP secret")));
    }
}

#[tokio::test]
async fn b9_nothing_is_sent_inside() {
    let host = Host::start(|_| Reply::ok("{}")).await;
    let port = host.address.port();
    for name in ["127.0.0.1", "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]", "inside.example"] {
        let answer = guarded().send(post(&format!("https://{name}:{port}/"), "secret")).await;
        assert_eq!(answer, Err(HostError::AddressRefused), "{name}");
    }
    let plain = guarded().send(post(&host.url(), "secret")).await;
    assert!(matches!(plain, Err(HostError::BadUrl(_))), "{plain:?}");
    assert_eq!(host.connections(), 0);
}

#[tokio::test]
async fn b9_a_post_follows_no_redirect() {
    let elsewhere = Host::start(|_| Reply::ok("secret")).await;
    let location = elsewhere.url();
    for status in [301, 302, 303, 307, 308] {
        let location = location.clone();
        let host = Host::start(move |_| Reply::Answer(status, vec![("Location", location.clone())], Vec::new())).await;
        let answer = open_client(&ManualClock::new()).send(post(&host.url(), "secret")).await;
        assert_eq!((answer, host.asked().len()), (Err(HostError::RedirectedPost), 1), "{status}");
    }
    assert_eq!(elsewhere.connections(), 0);
}

/// What is asked for is followed, and the headers stay behind: they were for the first host.
#[tokio::test]
async fn headers_are_not_sent_on_to_another_host() {
    let elsewhere = Host::start(|_| Reply::ok("there")).await;
    let location = elsewhere.url();
    let host = Host::start(move |_| Reply::redirect(location.clone())).await;
    let mut request = Request::new(host.url().parse().unwrap(), Trust::Untrusted);
    request.headers.insert(AUTHORIZATION, HeaderValue::from_static("DPoP secret"));
    request.headers.insert(HOST, HeaderValue::from_static("alice.test"));
    let answer = open_client(&ManualClock::new()).send(request).await.unwrap();
    assert_eq!(answer.body, b"there");
    assert_eq!(host.asked()[0].header("authorization"), Some("DPoP secret"));
    let asked = &elsewhere.asked()[0];
    assert_eq!((asked.header("authorization"), &*asked.host), (None, &*elsewhere.address.to_string()));
}

#[tokio::test]
async fn bytes_and_time_are_bounded_both_ways() {
    let host = Host::start(|asked| match asked.number {
        0 => Reply::Flood,
        1 => Reply::Answer(400, Vec::new(), vec![b'x'; 1000]),
        _ => Reply::Hang,
    })
    .await;
    let client = open_client(&ManualClock::new());
    let mut request = post(&host.url(), "a record");
    request.bytes_max = 999;
    for what in ["a success", "an error"] {
        assert_eq!(client.send(request.clone()).await, Err(HostError::TooLarge { bytes_max: 999 }), "{what}");
    }
    request.time_max = Duration::from_millis(300);
    assert_eq!(client.send(request).await, Err(HostError::TimedOut));
    assert_eq!(host.asked().len(), 3);
    let bytes_max = 2 << 20;
    let too_large = Request::post(host.url().parse().unwrap(), Trust::Untrusted, vec![0; bytes_max + 1]);
    assert_eq!(too_large.err(), Some(HostError::BodyTooLarge { bytes_max }));
}

#[tokio::test]
async fn b3_a_host_that_throttles_writes_is_not_asked_before_its_time() {
    let host = Host::start(|asked| match asked.number {
        0 => Reply::Answer(429, vec![("Retry-After", "60".to_owned())], Vec::new()),
        _ => Reply::ok("done"),
    })
    .await;
    let manual_clock = ManualClock::new();
    let client = open_client(&manual_clock);
    let until = manual_clock.now().plus(Duration::from_mins(1));
    for _ in 0..2 {
        assert_eq!(client.send(post(&host.url(), "a record")).await, Err(HostError::Throttled { until }));
    }
    assert_eq!(host.asked().len(), 1);
    manual_clock.advance(Duration::from_mins(1));
    assert_eq!(client.send(post(&host.url(), "a record")).await.map(|answer| answer.status), Ok(200));
}

/// A line of the log or an error may print a request; never what it carries.
#[test]
fn secrets_are_not_printed() {
    let printed = format!("{:?}", post("https://pds.example/", "a private record"));
    assert!(printed.contains("POST") && printed.contains("https://pds.example/"), "{printed}");
    assert!(!printed.contains("secret") && !printed.contains("private"), "{printed}");
}
