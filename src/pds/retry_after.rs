use std::time::Duration;

use chrono::DateTime;
use reqwest::header::HeaderMap;

use crate::atproto::Timestamp;

/// From here on a number is a moment in seconds since 1970, and no number of seconds to wait.
const EPOCH_MIN: i64 = 1_000_000_000;

/// How long a host asks us to wait: `Retry-After` in seconds or as a date, or else `RateLimit-Reset`, which says seconds in
/// its specification and the moment on a PDS. None where it says nothing that can be read.
pub(super) fn parse(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let until = |moment_s: i64| {
        let wait = moment_s.saturating_sub(now.utc().timestamp());
        Duration::from_secs(u64::try_from(wait).unwrap_or(0))
    };
    let retry_after = text("retry-after").and_then(|text| match text.parse::<i64>() {
        Ok(seconds) => Some(Duration::from_secs(u64::try_from(seconds).ok()?)),
        Err(_) => DateTime::parse_from_rfc2822(text).ok().map(|date| until(date.timestamp())),
    });
    retry_after.or_else(|| match text("ratelimit-reset")?.parse::<i64>().ok()? {
        moment @ EPOCH_MIN.. => Some(until(moment)),
        seconds => Some(Duration::from_secs(u64::try_from(seconds).ok()?)),
    })
}
