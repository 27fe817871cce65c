use std::{io::Read, sync::Arc, time::Instant};

use sqlx::PgPool;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    IngestError,
    follow::DELIVERIES_MAX,
    gaps::Continuities,
    observe::Ages,
    pump::{Feed, Feeder, Inlet, Writer},
    verify::{Claims, Intake},
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

/// Applies a recorded Jetstream v1 log, plain or zstd. `progress` is told how many bytes have been read.
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
    let feeders: Arc<[Feeder]> = Arc::new([Feeder::of_log()]);
    let (deliveries, inlet) = mpsc::channel(DELIVERIES_MAX);
    let reader = tokio::task::spawn_blocking(move || source::read_log(log, deliveries, progress));
    let wanted = Arc::new(Semaphore::new(0));
    let (shipments, shipments_receiver) = mpsc::channel(1);
    let feed = Feed {
        intake: Intake::of(inlet),
        shipments,
        wanted: wanted.clone(),
        collections: collections.clone(),
        feeders: feeders.clone(),
        continuities: Continuities::default(),
        claims: Claims::default(),
        clock: clock.clone(),
        monitor: None,
    };
    let feed = tokio::spawn(feed.run());
    let ages = Arc::new(Ages::new(Vec::new(), clock.clone()));
    let inlet = Inlet { shipments: shipments_receiver, wanted, feeders, committed: Vec::new(), ages };
    let writer = Writer::new(inlet, pool, Applier::new(collections, clock), CancellationToken::new());
    let outcome = writer.run().await;
    let ended = |task| move |error: tokio::task::JoinError| IngestError::TaskEnded { task, reason: error.to_string() };
    feed.await.map_err(ended("decodes"))?;
    let read = reader.await.map_err(ended("reads the log"))?;
    let done = outcome?;
    read?;
    Ok(Summary {
        applied: done.applied,
        ignored: done.ignored,
        rejected: done.rejected,
        seconds: started.elapsed().as_secs_f64(),
    })
}
