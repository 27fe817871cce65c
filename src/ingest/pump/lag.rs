use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use metrics::gauge;
use tokio::{sync::mpsc, time::interval};
use tokio_util::sync::CancellationToken;

use crate::{apply::Reached, atproto::Timestamp, clock::Clock};

const REPORT_EVERY: Duration = Duration::from_secs(1);

/// How far one source is behind.
#[derive(Debug, Clone)]
pub struct Lag {
    /// Its name.
    pub name: Arc<str>,
    /// When the upstream saw the last event applied.
    pub event_at: Option<Timestamp>,
    /// When its position was last stored.
    pub stored_at: Option<Timestamp>,
}

/// How far all sources are behind. It grows while nothing is committed, so it is reported every second.
#[derive(Debug)]
pub struct Lags {
    sources: Mutex<Vec<Lag>>,
    clock: Clock,
}

impl Lags {
    /// Begins with what is known.
    pub fn new(sources: Vec<Lag>, clock: Clock) -> Self {
        Self { sources: Mutex::new(sources), clock }
    }

    /// After a commit: how far the source at a place is behind now.
    pub fn reached(&self, place: usize, reached: &Reached) {
        let now = self.clock.now();
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(lag) = sources.get_mut(place) else { return };
        lag.event_at = reached.event_at.or(lag.event_at);
        lag.stored_at = Some(now);
        lag.report(now);
    }

    /// Reports every second until cancelled, with the depth of the queue of deliveries.
    pub async fn report_until<T>(self: Arc<Self>, queue: mpsc::WeakSender<T>, cancel: CancellationToken) {
        let mut ticks = interval(REPORT_EVERY);
        while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
            #[expect(clippy::cast_precision_loss, reason = "queues are short")]
            let depth = queue.upgrade().map_or(0, |queue| queue.max_capacity() - queue.capacity()) as f64;
            gauge!("plyr_queue_depth", "queue" => "deliveries").set(depth);
            let now = self.clock.now();
            self.sources.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|lag| lag.report(now));
        }
    }
}

impl Lag {
    fn report(&self, now: Timestamp) {
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
