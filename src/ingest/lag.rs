use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use metrics::gauge;
use tokio::{
    sync::{mpsc, watch},
    time::interval,
};
use tokio_util::sync::CancellationToken;

use crate::{apply::Reached, atproto::Timestamp, clock::Clock, source::Connection};

const REPORT_EVERY: Duration = Duration::from_secs(1);
/// An upstream that has said nothing for so long has nothing that we lack. One that sends a backlog makes no such pauses.
const QUIET: Duration = Duration::from_secs(3);
/// Events that are older than this when they come are of a backlog.
const LIVE_MAX: Duration = Duration::from_secs(10);
/// What waits for longer than this between its receipt and its commit is late.
const COMMIT_MAX: Duration = Duration::from_secs(1);

/// How far all sources are behind: for how long the index has lacked something that a source has, as far as can be known. A
/// quiet upstream makes none late.
#[derive(Debug)]
pub struct Lags {
    sources: Mutex<Vec<SourceLag>>,
    waiting: Mutex<Waiting>,
    clock: Clock,
}

/// Since when what was received waits: the oldest of what is verified before it is applied, and of what is written.
#[derive(Debug, Default)]
struct Waiting {
    verified: Option<Instant>,
    written: Option<Instant>,
}

/// One source.
#[derive(Debug)]
struct SourceLag {
    name: Arc<str>,
    connection: watch::Receiver<Connection>,
    /// When it was last not connected, or delivered something.
    stirred: Instant,
    /// Whether what it last delivered was young; none while it has not delivered anything since it was connected.
    is_live: Option<bool>,
    /// When the upstream saw the last event applied: up to there the index has everything.
    event_at: Option<Timestamp>,
    /// When its position was last stored.
    stored_at: Option<Timestamp>,
    /// Until when the index had all that the upstream had.
    complete_until: Timestamp,
    /// Since when it may lack something, for those who store that. They are woken when that begins or ends, and when it turns
    /// out to have begun earlier.
    behind_since: watch::Sender<Option<Timestamp>>,
}

/// What is known of a source before it is followed.
#[derive(Debug)]
pub struct LagStart {
    /// Its name.
    pub name: Arc<str>,
    /// The state of its connection.
    pub connection: watch::Receiver<Connection>,
    /// When the upstream saw the last event applied.
    pub event_at: Option<Timestamp>,
    /// When its position was last stored.
    pub stored_at: Option<Timestamp>,
    /// Until when the index had all that the upstream had, if that is stored.
    pub complete_until: Option<Timestamp>,
}

impl Lags {
    /// Of no source.
    pub fn new(clock: Clock) -> Self {
        Self { sources: Mutex::default(), waiting: Mutex::default(), clock }
    }

    /// Takes the next source in. Gives since when the index may lack something of it; null while it has everything.
    pub fn add(&self, start: LagStart) -> watch::Receiver<Option<Timestamp>> {
        let LagStart { name, connection, event_at, stored_at, complete_until } = start;
        let complete_until = complete_until.or(event_at).unwrap_or_else(|| self.clock.now());
        let (behind_since, receiver) = watch::channel(Some(complete_until));
        let (stirred, is_live) = (Instant::now(), None);
        let lag = SourceLag { name, connection, stirred, is_live, event_at, stored_at, complete_until, behind_since };
        self.sources().push(lag);
        receiver
    }

    /// The source at a place has delivered, last an event that its upstream saw then.
    pub fn received(&self, place: usize, event_at: Option<Timestamp>) {
        let now = self.clock.now();
        let mut sources = self.sources();
        let Some(lag) = sources.get_mut(place) else { return };
        lag.stirred = Instant::now();
        let Some(event_at) = event_at else { return };
        let is_live = event_at.plus(LIVE_MAX) >= now;
        lag.is_live = Some(is_live);
        if !is_live {
            // It was quiet only because it had not begun yet.
            lag.complete_until = lag.complete_until.min(event_at);
        }
    }

    /// The oldest delivery that is verified before it is applied came then; none is.
    pub fn verifies(&self, received_at: Option<Instant>) {
        self.waiting().verified = received_at;
    }

    /// The oldest delivery of the batch that is written came then; none is.
    pub fn writes(&self, received_at: Option<Instant>) {
        self.waiting().written = received_at;
    }

    /// What the source at a place delivered up to there is committed.
    pub fn reached(&self, place: usize, reached: &Reached) {
        let (now, is_late) = (self.clock.now(), self.waiting().is_late());
        let mut sources = self.sources();
        let Some(lag) = sources.get_mut(place) else { return };
        lag.event_at = reached.event_at.or(lag.event_at);
        lag.stored_at = Some(now);
        lag.report(now, is_late);
    }

    /// Since when the index may lack something of the source at a place, as it is now.
    pub fn behind_since(&self, place: usize) -> Option<Timestamp> {
        let (now, is_late) = (self.clock.now(), self.waiting().is_late());
        self.sources().get_mut(place)?.judge(now, is_late)
    }

    /// Judges and reports every second until cancelled, with the depth of the queue of deliveries.
    pub async fn report_until<T>(self: Arc<Self>, queue: mpsc::WeakSender<T>, cancel: CancellationToken) {
        let mut ticks = interval(REPORT_EVERY);
        while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
            #[expect(clippy::cast_precision_loss, reason = "queues are short")]
            let depth = queue.upgrade().map_or(0, |queue| queue.max_capacity() - queue.capacity()) as f64;
            gauge!("plyr_queue_depth", "queue" => "deliveries").set(depth);
            let (now, is_late) = (self.clock.now(), self.waiting().is_late());
            self.sources().iter_mut().for_each(|lag| lag.report(now, is_late));
        }
    }

    fn sources(&self) -> MutexGuard<'_, Vec<SourceLag>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn is_late(&self) -> bool {
        [self.verified, self.written].into_iter().flatten().any(|since| since.elapsed() > COMMIT_MAX)
    }
}

impl SourceLag {
    /// Since when the index may lack something that the upstream has.
    fn judge(&mut self, now: Timestamp, is_late: bool) -> Option<Timestamp> {
        let is_connected = *self.connection.borrow() == Connection::Connected;
        if !is_connected {
            (self.stirred, self.is_live) = (Instant::now(), None);
        }
        let is_quiet = self.stirred.elapsed() > QUIET;
        let is_complete = is_connected && !is_late && (is_quiet || self.is_live == Some(true));
        if is_complete {
            self.complete_until = now;
        } else if let Some(event_at) = self.event_at {
            self.complete_until = self.complete_until.max(event_at).min(now);
        }
        let since = (!is_complete).then_some(self.complete_until);
        self.behind_since.send_if_modified(|held| {
            let before = std::mem::replace(held, since);
            before.is_some() != since.is_some() || since < before
        });
        since
    }

    fn report(&mut self, now: Timestamp, is_late: bool) {
        let since = self.judge(now, is_late);
        if self.event_at.is_some() {
            let lag = since.map_or(0.0, |since| seconds_between(since, now));
            gauge!("plyr_lag_seconds", "source" => self.name.to_string()).set(lag);
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
