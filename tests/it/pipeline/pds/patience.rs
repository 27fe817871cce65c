//! A host that throttles, or that fails, is not asked until its backoff ends; then it is asked again.

use std::time::Duration;

use plyr_likes::pds::HostError;

use super::{ManualClock, open_client, request};
use crate::support::host::{Host, Reply};

/// What a client makes of a 429 (or 503) with these headers: how long it leaves the host alone.
async fn patience(status: u16, headers: &[(&'static str, &str)]) -> Option<Duration> {
    let headers: Vec<(&'static str, String)> =
        headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let host = Host::start(move |asked| match asked.number {
        0 => Reply::Answer(status, headers.clone(), Vec::new()),
        _ => Reply::ok("{}"),
    })
    .await;
    let manual_clock = ManualClock::new();
    let client = open_client(&manual_clock);
    let Err(HostError::Throttled { until }) = client.fetch(request(&host.url())).await else { return None };
    let wait = (until.utc() - manual_clock.now().utc()).to_std().unwrap();
    // Before its time nothing is asked; then it is.
    manual_clock.advance(wait.checked_sub(Duration::from_millis(1)).unwrap());
    assert_eq!(client.fetch(request(&host.url())).await, Err(HostError::Throttled { until }));
    assert_eq!(host.connections(), 1);
    manual_clock.advance(Duration::from_millis(1));
    assert_eq!(client.fetch(request(&host.url())).await, Ok(b"{}".to_vec()));
    Some(wait)
}

#[tokio::test]
async fn b3_retry_after_in_each_form() {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(patience(429, &[("Retry-After", "7")]).await, seconds(7));
    assert_eq!(patience(503, &[("Retry-After", "7")]).await, seconds(7));
    assert_eq!(patience(503, &[]).await, None, "a 503 that asks for nothing is a failure");
    // The manual clock stands at 2026-01-01T00:00:00Z.
    assert_eq!(patience(429, &[("Retry-After", "Thu, 01 Jan 2026 00:01:30 GMT")]).await, seconds(90));
    assert_eq!(patience(429, &[("RateLimit-Reset", "20")]).await, seconds(20));
    assert_eq!(patience(429, &[("RateLimit-Reset", "1767225640")]).await, seconds(40), "as a PDS says it");
    assert_eq!(patience(429, &[("Retry-After", "3"), ("RateLimit-Reset", "60")]).await, seconds(3));
    assert_eq!(patience(429, &[("Retry-After", "soon"), ("RateLimit-Reset", "60")]).await, seconds(60));
}

#[tokio::test]
async fn b3_a_host_that_throttles_without_retry_after() {
    let cap = Some(Duration::from_mins(15));
    assert_eq!(patience(429, &[]).await, Some(Duration::from_secs(5)));
    for absurd in ["-1", "", "soon", "1e9", "99999999999999999999999999"] {
        assert_eq!(patience(429, &[("Retry-After", absurd)]).await, Some(Duration::from_secs(5)), "{absurd}");
    }
    for long in ["86400", "9223372036854775807", "Fri, 31 Dec 2049 23:59:59 GMT"] {
        assert_eq!(patience(429, &[("Retry-After", long)]).await, cap, "{long}");
    }
    for short in ["0", "Thu, 01 Jan 1970 00:00:00 GMT"] {
        assert_eq!(patience(429, &[("Retry-After", short)]).await, Some(Duration::from_secs(1)), "{short}");
    }
    assert_eq!(patience(429, &[("RateLimit-Reset", "9223372036854775807")]).await, cap);
}

/// Without a measure, patience doubles.
#[tokio::test]
async fn b3_throttling_again_and_again_pauses_longer() {
    let host = Host::start(|asked| Reply::status(if asked.number < 12 { 429 } else { 200 })).await;
    let manual_clock = ManualClock::new();
    let client = open_client(&manual_clock);
    let mut waits = Vec::new();
    while let Err(HostError::Throttled { until }) = client.fetch(request(&host.url())).await {
        waits.push((until.utc() - manual_clock.now().utc()).num_seconds());
        manual_clock.advance((until.utc() - manual_clock.now().utc()).to_std().unwrap());
    }
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 900, 900, 900, 900]);
}

#[tokio::test]
async fn b3_a_host_that_fails_is_not_asked_for_a_while() {
    let host = Host::start(|asked| Reply::status(if asked.number < 7 { 500 } else { 200 })).await;
    let manual_clock = ManualClock::new();
    let client = open_client(&manual_clock);
    let ask = || client.fetch(request(&host.url()));
    for _ in 0..5 {
        assert!(matches!(ask().await, Err(HostError::Status { status: 500, .. })));
    }
    let mut waits = Vec::new();
    loop {
        let answer = ask().await;
        let Err(HostError::BrokenCircuit { until }) = answer else {
            // The one attempt that is let through.
            if answer.is_ok() {
                break;
            }
            continue;
        };
        let asked = host.asked().len();
        assert_eq!(ask().await, Err(HostError::BrokenCircuit { until }), "and nothing was asked");
        assert_eq!(host.asked().len(), asked);
        waits.push((until.utc() - manual_clock.now().utc()).num_seconds());
        manual_clock.advance((until.utc() - manual_clock.now().utc()).to_std().unwrap());
    }
    assert_eq!((waits.as_slice(), host.asked().len()), ([10, 20, 40].as_slice(), 8));
    // It is whole again: one failure more does not break it.
    assert_eq!(ask().await, Ok(Vec::new()));
}

/// While the probe is under way, nothing else is asked; and a probe that is given up leaves its place to the next.
#[tokio::test]
async fn b3_one_attempt_at_a_time() {
    let host = Host::start(|asked| match asked.number {
        0..5 => Reply::status(500),
        5 => Reply::Hang,
        _ => Reply::ok("{}"),
    })
    .await;
    let manual_clock = ManualClock::new();
    let client = open_client(&manual_clock);
    for _ in 0..5 {
        client.fetch(request(&host.url())).await.unwrap_err();
    }
    manual_clock.advance(Duration::from_secs(10));
    {
        let attempt = client.fetch(request(&host.url()));
        tokio::pin!(attempt);
        let arrived = async {
            while host.asked().len() < 6 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            answer = &mut attempt => panic!("it hangs, and answered {answer:?}"),
            () = arrived => {}
        }
        let other = client.fetch(request(&host.url())).await;
        assert!(matches!(other, Err(HostError::BrokenCircuit { .. })), "{other:?}");
    }
    assert_eq!(client.fetch(request(&host.url())).await, Ok(b"{}".to_vec()));
    assert_eq!(host.asked().len(), 7);
}

/// A clock that is set back does not lock a host out.
#[tokio::test]
async fn a_clock_set_back() {
    let host = Host::start(|asked| Reply::status(if asked.number == 0 { 429 } else { 200 })).await;
    let manual_clock = ManualClock::new();
    manual_clock.advance(Duration::from_hours(24 * 365));
    let client = open_client(&manual_clock);
    client.fetch(request(&host.url())).await.unwrap_err();
    let year_before = ManualClock::new().now();
    manual_clock.set(year_before);
    assert_eq!(client.fetch(request(&host.url())).await, Ok(Vec::new()));
}
