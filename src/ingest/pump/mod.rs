//! The pump: receive, decode, batch, apply, acknowledge. [`Pump::run`] shows the whole loop.
//!
//! Contract: a batch is as large as the time that its predecessor took: one event when live, thousands from a backlog; the
//! next is decoded while one is written. Every queue is bounded: while the database is away no batch is taken, the batch in the
//! making fills up, and reading stops. A position is acknowledged to its source only after the transaction that holds it
//! has committed. Does not know how messages reach it, nor what SQL says.

mod acknowledge;
mod batch;
mod prepared;
mod source_key;
mod writer;

pub use acknowledge::Acknowledger;
pub use batch::{BatchBuilder, Detectors};
pub use source_key::SourceKey;
pub use writer::{Writer, WriterOptions};

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::{IngestError, verify::ReceivedQueue};
use crate::{apply::Applied, clock::Clock};
use prepared::PreparedBatch;
use writer::Written;

/// How often a position is stored that stands for no rows.
const IDLE_POSITION: Duration = Duration::from_secs(5);
/// Without a batch for so long, there is time to take statistics.
const PAUSE: Duration = Duration::from_secs(1);

/// From the sources' deliveries to committed rows.
pub struct Pump {
    /// What the sources deliver, in their order.
    pub received: ReceivedQueue,
    /// The batch in the making.
    pub batch: BatchBuilder,
    /// Writes one batch at a time.
    pub writer: Writer,
    /// Reports to the sources what has been committed.
    pub acknowledger: Acknowledger,
    /// The time.
    pub clock: Clock,
}

impl Pump {
    /// Runs until the sources have stopped and all that they delivered has been committed, and returns what all batches did.
    ///
    /// Ends early, without an error, when it was cancelled while the database is away: the sources deliver the rest again.
    pub async fn run(self) -> Result<Applied, IngestError> {
        let Self { mut received, mut batch, writer, acknowledger, clock } = self;
        let mut monitor = ticks(batch.monitor_pace().unwrap_or(IDLE_POSITION));
        let mut writing = WriteTask::Idle(Box::new(writer), Instant::now());
        let mut totals = Applied::default();
        let mut positions_due = Instant::now() + IDLE_POSITION;
        let mut is_open = true;
        loop {
            let is_due = batch.has_rows() || !batch.is_empty() && (!is_open || positions_due <= Instant::now());
            if is_due && writing.is_idle() {
                positions_due = Instant::now() + IDLE_POSITION;
                let prepared = batch.take();
                acknowledger.lags.writes(prepared.received_at);
                writing = writing.start(prepared);
            } else if !is_open && writing.is_idle() && writing.analyze_at().is_some() {
                writing = writing.start_analyze();
            } else if !is_open && batch.is_empty() && writing.is_idle() {
                return Ok(totals);
            }
            let analyze_at = writing.analyze_at();
            tokio::select! {
                biased;
                written = writing.written() => match written? {
                    Some(written) => {
                        acknowledger.lags.writes(None);
                        totals += written.applied;
                        acknowledger.acknowledge(&written.positions);
                    }
                    None => return Ok(totals),
                },
                delivery = received.next(), if is_open && batch.has_room() => match delivery {
                    Some(received) => {
                        let source = received.delivery.source;
                        batch.add(received, clock.now());
                        acknowledger.lags.received(source, batch.last_event_at(source));
                    }
                    None => is_open = false,
                },
                // After the deliveries: sources are compared only when all that waits has been received.
                _ = monitor.tick(), if is_open && batch.has_room() => batch.compare_sources(),
                () = sleep_until(positions_due), if is_open && !batch.is_empty() && writing.is_idle() => {}
                () = sleep_until(analyze_at.unwrap_or(positions_due)), if analyze_at.is_some() => {
                    writing = writing.start_analyze();
                }
            }
        }
    }
}

/// The writer, idle or at work on a task of its own, so that the next batch is decoded meanwhile.
enum WriteTask {
    /// Since when.
    Idle(Box<Writer>, Instant),
    Busy(AbortOnDropHandle<(Box<Writer>, WriteOutcome)>),
    /// Its task has panicked.
    Gone,
}

/// None when the writer gave up because it was cancelled.
type WriteOutcome = Result<Option<Written>, IngestError>;

impl WriteTask {
    fn is_idle(&self) -> bool {
        matches!(self, Self::Idle(..))
    }

    /// When the pause is long enough to take statistics in, if that is worthwhile.
    fn analyze_at(&self) -> Option<Instant> {
        match self {
            Self::Idle(writer, since) if writer.is_analyze_worthwhile() => Some(*since + PAUSE),
            _ => None,
        }
    }

    fn start(self, batch: PreparedBatch) -> Self {
        self.spawn(|mut writer| async move {
            let outcome = writer.write(batch).await;
            (writer, outcome)
        })
    }

    fn start_analyze(self) -> Self {
        self.spawn(|mut writer| async move {
            writer.analyze().await;
            (writer, Ok(Some(Written::default())))
        })
    }

    fn spawn<F>(self, work: impl FnOnce(Box<Writer>) -> F) -> Self
    where
        F: Future<Output = (Box<Writer>, WriteOutcome)> + Send + 'static,
    {
        let Self::Idle(writer, _) = self else { return self };
        Self::Busy(AbortOnDropHandle::new(tokio::spawn(work(writer))))
    }

    /// Waits for what is being written, if anything is. Dropped while it waits, it loses nothing: the next call goes on.
    async fn written(&mut self) -> WriteOutcome {
        let Self::Busy(task) = self else { return std::future::pending().await };
        match task.await {
            Ok((writer, outcome)) => {
                *self = Self::Idle(writer, Instant::now());
                outcome
            }
            Err(error) => {
                *self = Self::Gone;
                Err(IngestError::task_ended("writes", &error))
            }
        }
    }
}

fn ticks(every: Duration) -> Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
