//! What the pump tells of itself in numbers. No label is a DID or a URI.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use metrics::{counter, gauge, histogram};
use tokio::{sync::mpsc, time::interval};
use tokio_util::sync::CancellationToken;

use super::failover::detect::Score;
use crate::{
    apply::{Applied, Reached, kind},
    atproto::Timestamp,
    clock::Clock,
    model::{Event, RejectReason},
    source::SourceSpec,
};

const TELL_EVERY: Duration = Duration::from_secs(1);

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

/// Tells no longer how far the sources are behind: another indexer follows them now.
pub fn stood_down(sources: &[SourceSpec]) {
    for source in sources {
        let source = source.name().to_string();
        gauge!("plyr_source_connected", "source" => source.clone()).set(0.0);
        gauge!("plyr_lag_seconds", "source" => source.clone()).set(f64::NAN);
        gauge!("plyr_position_age_seconds", "source" => source).set(f64::NAN);
    }
}

/// How far one source is behind.
#[derive(Debug, Clone)]
pub struct Age {
    /// Its name.
    pub name: Arc<str>,
    /// When the upstream saw the last event applied.
    pub event_at: Option<Timestamp>,
    /// When its position was last stored.
    pub stored_at: Option<Timestamp>,
}

/// How far all sources are behind, which grows while nothing is committed: so it is told again and again.
#[derive(Debug)]
pub struct Ages {
    sources: Mutex<Vec<Age>>,
    clock: Clock,
}

impl Ages {
    /// Begins with what is known.
    pub fn new(sources: Vec<Age>, clock: Clock) -> Self {
        Self { sources: Mutex::new(sources), clock }
    }

    /// Notes and tells how far the source at a place is behind after a commit.
    pub fn reached(&self, place: usize, reached: &Reached) {
        let now = self.clock.now();
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(age) = sources.get_mut(place) else { return };
        age.event_at = reached.event_at.or(age.event_at);
        age.stored_at = Some(now);
        age.tell(now);
    }

    /// Tells it every second until cancelled, and how full the queue is.
    pub async fn tell_on<T>(&self, queue: mpsc::WeakSender<T>, cancel: &CancellationToken) {
        let mut ticks = interval(TELL_EVERY);
        while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
            #[expect(clippy::cast_precision_loss, reason = "queues are short")]
            let depth = queue.upgrade().map_or(0, |queue| queue.max_capacity() - queue.capacity()) as f64;
            gauge!("plyr_queue_depth", "queue" => "deliveries").set(depth);
            let now = self.clock.now();
            self.sources.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|age| age.tell(now));
        }
    }
}

impl Age {
    fn tell(&self, now: Timestamp) {
        if let Some(at) = self.event_at {
            gauge!("plyr_lag_seconds", "source" => self.name.to_string()).set(seconds_between(at, now));
        }
        if let Some(at) = self.stored_at {
            gauge!("plyr_position_age_seconds", "source" => self.name.to_string()).set(seconds_between(at, now));
        }
    }
}

fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "differences of microseconds fit in 52 bits")]
    let seconds = (to.micros() - from.micros()) as f64 / 1e6;
    seconds.max(0.0)
}
