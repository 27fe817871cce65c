//! What the pump tells of itself in numbers. No label is a DID or a URI.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

use crate::{
    apply::{Applied, Reached, kind},
    atproto::Timestamp,
    decode::{Event, Reason},
};

/// Counts an event that was decoded.
pub fn received(event: &Event) {
    counter!("plyr_events_received_total", "kind" => kind(event)).increment(1);
}

/// Counts a reject.
pub fn rejected(reason: Reason) {
    counter!("plyr_rejects_total", "reason" => reason.as_str()).increment(1);
}

/// Counts what a committed batch did.
pub fn committed(applied: &Applied, events: usize, took: Duration) {
    for (kind, counts) in applied.by_kind() {
        counter!("plyr_events_total", "kind" => kind, "outcome" => "applied").increment(counts.applied);
        counter!("plyr_events_total", "kind" => kind, "outcome" => "ignored").increment(counts.ignored);
        counter!("plyr_events_total", "kind" => kind, "outcome" => "anomaly").increment(counts.anomalies);
    }
    #[expect(clippy::cast_precision_loss, reason = "a batch has fewer than 2^52 events")]
    histogram!("plyr_batch_events").record(events as f64);
    histogram!("plyr_batch_commit_seconds").record(took.as_secs_f64());
}

/// Tells how far a source is behind after a commit.
pub fn reached(source: &str, reached: &Reached, now: Timestamp) {
    if let Some(at) = reached.event_at {
        gauge!("plyr_lag_seconds", "source" => source.to_owned()).set(seconds_between(at, now));
    }
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; microseconds since 1970 fit in 52 bits")]
    gauge!("plyr_position_committed_at_seconds", "source" => source.to_owned()).set(now.micros() as f64 / 1e6);
}

/// Tells how full a queue is.
pub fn queue(name: &'static str, depth: usize) {
    #[expect(clippy::cast_precision_loss, reason = "queues are short")]
    gauge!("plyr_queue_depth", "queue" => name).set(depth as f64);
}

fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "differences of microseconds fit in 52 bits")]
    let seconds = (to.micros() - from.micros()) as f64 / 1e6;
    seconds.max(0.0)
}
