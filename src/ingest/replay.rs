use std::{io::Read, sync::Arc, time::Instant};

use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    IngestError,
    follow::DELIVERIES_MAX,
    lag::Lags,
    pump::{Acknowledger, BatchBuilder, Detectors, Pump, SourceKey, Writer, WriterOptions},
    verify::ReceivedQueue,
};
use crate::{apply::Applier, clock::Clock, model::Collections, source};

/// What a replay did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Events that changed a row.
    pub applied: u64,
    /// Events that changed nothing.
    pub ignored: u64,
    /// Messages and records that were refused.
    pub rejected: u64,
    /// From the first byte to the last commit, statistics included.
    pub seconds: f64,
}

/// Applies a recorded Jetstream v1 log, plain or zstd. `progress` is called with the number of bytes read so far.
///
/// A log that breaks off is applied as far as it goes, and then reported.
pub async fn replay(
    pool: PgPool,
    collections: Collections,
    clock: Clock,
    log: Box<dyn Read + Send>,
    progress: impl Fn(u64) + Send + 'static,
) -> Result<Summary, IngestError> {
    let started = Instant::now();
    let sources: Arc<[SourceKey]> = Arc::new([SourceKey::of_log()]);
    let (deliveries, inbox) = mpsc::channel(DELIVERIES_MAX);
    let reader = tokio::task::spawn_blocking(move || source::read_log(log, deliveries, progress));
    let writer = Writer::new(WriterOptions {
        pool,
        applier: Applier::new(collections.clone(), clock.clone()),
        sources: sources.clone(),
        acknowledged: Vec::new(),
        cancel: CancellationToken::new(),
    });
    let lags = Arc::new(Lags::new(clock.clone()));
    let pump = Pump {
        received: ReceivedQueue::of(inbox),
        batch: BatchBuilder::new(collections, sources.clone(), Detectors::default()),
        writer,
        acknowledger: Acknowledger { sources, committed: Vec::new(), lags },
        clock,
    };
    let outcome = pump.run().await;
    let read = reader.await.map_err(|error| IngestError::task_ended("reads the log", &error))?;
    let done = outcome?;
    read?;
    Ok(Summary {
        applied: done.applied,
        ignored: done.ignored,
        rejected: done.rejected,
        seconds: started.elapsed().as_secs_f64(),
    })
}
