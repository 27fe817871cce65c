//! The metrics of the pump. No label is a DID or a URI.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

use super::failover::detect::Score;
use crate::{
    apply::{Applied, kind},
    model::{Event, RejectReason},
    source::SourceSpec,
};

/// Counts an event that was decoded.
pub fn received(event: &Event) {
    counter!("plyr_events_received_total", "kind" => kind(event)).increment(1);
}

/// Counts a reject.
pub fn rejected(reason: RejectReason) {
    counter!("plyr_rejects_total", "reason" => reason.as_str()).increment(1);
}

/// Counts what a committed batch did.
pub fn committed(applied: &Applied, events: usize, took: Duration) {
    for (kind, counts) in applied.by_kind() {
        counter!("plyr_events_total", "kind" => kind, "outcome" => "applied").increment(counts.applied);
        counter!("plyr_events_total", "kind" => kind, "outcome" => "ignored").increment(counts.ignored);
        counter!("plyr_events_total", "kind" => kind, "outcome" => "anomaly").increment(counts.anomalies);
    }
    for (reason, opened) in applied.gaps() {
        counter!("plyr_gaps_opened_total", "reason" => reason.as_str()).increment(opened);
    }
    #[expect(clippy::cast_precision_loss, reason = "a batch has fewer than 2^52 events")]
    histogram!("plyr_batch_events").record(events as f64);
    histogram!("plyr_batch_commit_seconds").record(took.as_secs_f64());
}

/// Publishes how a source compares with the others.
pub fn compared(name: &str, score: &Score, is_followed: bool) {
    let source = || name.to_owned();
    counter!("plyr_source_compared_total", "source" => source()).absolute(score.delivered);
    counter!("plyr_source_first_total", "source" => source()).absolute(score.first);
    counter!("plyr_source_missed_total", "source" => source()).absolute(score.missed);
    counter!("plyr_source_late_total", "source" => source()).absolute(score.late);
    gauge!("plyr_source_incomplete", "source" => source()).set(f64::from(u8::from(score.since_us().is_some())));
    gauge!("plyr_source_followed", "source" => source()).set(f64::from(u8::from(is_followed)));
}

/// Reports no lag any more: another indexer follows the sources now.
pub fn stood_down(sources: &[SourceSpec]) {
    for source in sources {
        let source = source.name().to_string();
        gauge!("plyr_source_connected", "source" => source.clone()).set(0.0);
        gauge!("plyr_lag_seconds", "source" => source.clone()).set(f64::NAN);
        gauge!("plyr_position_age_seconds", "source" => source).set(f64::NAN);
    }
}
