use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{PgConnection, PgPool, Postgres, pool::PoolConnection};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::batch::{Feeder, Shipment, Trace};
use crate::{
    apply::{Applied, Applier, ApplyError, Batch, Origin, kind},
    decode::Reject,
    ingest::{
        IngestError,
        observe::{self, Ages},
    },
    model::{Event, EventBody, Operation, Position, PositionKind, RecordPath, RejectReason},
    retry::Retry,
    store,
};

/// Applies shipments one after the other.
pub struct Writer {
    /// From the decoder.
    pub shipments: mpsc::Receiver<Shipment>,
    /// Gets a permit for each shipment that is wanted.
    pub wanted: Arc<Semaphore>,
    /// The database.
    pub pool: PgPool,
    /// Knows the ids.
    pub applier: Applier,
    /// Who delivers.
    pub feeders: Arc<[Feeder]>,
    /// Where each feeder learns what has been committed.
    pub committed: Vec<watch::Sender<Option<Position>>>,
    /// Tells how far the sources are behind.
    pub ages: Arc<Ages>,
    /// Stop trying when the database is away: nothing is lost, the sources bring it again.
    pub cancel: CancellationToken,
    connection: Option<PoolConnection<Postgres>>,
    totals: Applied,
    unanalyzed: u64,
}

/// Rows after which statistics are taken again: at once, or in the first pause.
const ANALYZE_AFTER: u64 = 500_000;
const ANALYZE_IN_PAUSE_AFTER: u64 = 10_000;
const PAUSE: Duration = Duration::from_secs(1);
/// How long a stop waits for a database that is away.
const GRACE: Duration = Duration::from_secs(5);

/// What a writer needs.
pub struct Inlet {
    /// See [`Writer::shipments`].
    pub shipments: mpsc::Receiver<Shipment>,
    /// See [`Writer::wanted`].
    pub wanted: Arc<Semaphore>,
    /// See [`Writer::feeders`].
    pub feeders: Arc<[Feeder]>,
    /// See [`Writer::committed`].
    pub committed: Vec<watch::Sender<Option<Position>>>,
    /// See [`Writer::ages`].
    pub ages: Arc<Ages>,
}

impl Writer {
    /// A writer that has written nothing.
    pub fn new(inlet: Inlet, pool: PgPool, applier: Applier, cancel: CancellationToken) -> Self {
        Self {
            shipments: inlet.shipments,
            wanted: inlet.wanted,
            pool,
            applier,
            feeders: inlet.feeders,
            committed: inlet.committed,
            ages: inlet.ages,
            cancel,
            connection: None,
            totals: Applied::default(),
            unanalyzed: 0,
        }
    }

    /// Runs until the decoder has stopped, and answers with what all batches did.
    ///
    /// A batch that the database refuses for another reason than a row or its own state ends the writer with that error.
    pub async fn run(mut self) -> Result<Applied, IngestError> {
        loop {
            self.wanted.add_permits(1);
            let Some(shipment) = self.next_shipment().await else { break };
            if !self.write(shipment).await? {
                tracing::warn!(
                    "stopped while the database was away: the last batch is not committed and will come again"
                );
                return Ok(self.totals);
            }
        }
        if self.unanalyzed >= ANALYZE_IN_PAUSE_AFTER {
            self.analyze().await;
        }
        Ok(self.totals)
    }

    /// Waits for a shipment, and uses a pause before it.
    async fn next_shipment(&mut self) -> Option<Shipment> {
        if self.unanalyzed >= ANALYZE_IN_PAUSE_AFTER {
            match tokio::time::timeout(PAUSE, self.shipments.recv()).await {
                Ok(next) => return next,
                Err(_) => self.analyze().await,
            }
        }
        self.shipments.recv().await
    }

    /// Applies one shipment, however long the database is away. False when told to stop before that.
    async fn write(&mut self, shipment: Shipment) -> Result<bool, IngestError> {
        let mut parts = vec![shipment];
        while let Some(part) = parts.pop() {
            let started = Instant::now();
            match self.apply(&part.batch).await {
                Ok(Some(applied)) => {
                    self.note(&part, &applied, started);
                    drop_elsewhere(part);
                }
                Ok(None) => return Ok(false),
                Err(IngestError::Apply(error)) if error.is_about_a_row() && !part.batch.events.is_empty() => {
                    if let Some((event, trace)) = part.single() {
                        let refused = self.refuse(event, trace, &error);
                        parts.push(part.refused(refused));
                    } else {
                        let (first, second) = part.split();
                        parts.push(second);
                        parts.push(first);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        if self.unanalyzed >= ANALYZE_AFTER {
            self.analyze().await;
        }
        Ok(true)
    }

    /// Applies one batch, again and again while the database is away. None when told to stop before that.
    async fn apply(&mut self, batch: &Batch) -> Result<Option<Applied>, IngestError> {
        let mut retry = Retry::of_database("the database is away: reading waits, nothing is lost");
        let mut give_up: Option<Instant> = None;
        loop {
            let error = match self.try_apply(batch).await {
                Ok(applied) => {
                    retry.succeeded();
                    return Ok(Some(applied));
                }
                Err(error) if error.is_permanent() => return Err(error),
                Err(error) => error,
            };
            self.connection = None;
            let pause = retry.failed(&error);
            if self.cancel.is_cancelled() && *give_up.get_or_insert_with(|| Instant::now() + GRACE) <= Instant::now() {
                return Ok(None);
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn try_apply(&mut self, batch: &Batch) -> Result<Applied, IngestError> {
        let connection = if let Some(connection) = &mut self.connection {
            connection
        } else {
            self.applier.forget();
            let mut connection = self.pool.acquire().await?;
            check_positions(&mut connection, (&self.feeders, &self.committed), batch).await?;
            self.connection.insert(connection)
        };
        Ok(self.applier.apply(connection, batch).await?)
    }

    /// Tells the sources and the numbers what has been committed.
    fn note(&mut self, shipment: &Shipment, applied: &Applied, started: Instant) {
        observe::committed(applied, shipment.batch.events.len(), started.elapsed());
        self.totals += *applied;
        self.unanalyzed += applied.applied;
        for reached in &shipment.batch.positions {
            let Some(place) = self.feeders.iter().position(|feeder| feeder.name == reached.source) else { continue };
            self.ages.reached(place, reached);
            if let (Some(kind), Some(sender)) = (PositionKind::parse(reached.kind), self.committed.get(place)) {
                let position = Some(Position { source: reached.source.clone(), kind, value: reached.value });
                sender.send_modify(|held| {
                    let ahead = kind == PositionKind::JetstreamV1Micros && *held > position && !reached.restarts;
                    if !ahead {
                        *held = position;
                    }
                });
            }
        }
    }

    fn refuse(&self, event: &Event, trace: &Trace, error: &ApplyError) -> (Origin, Reject) {
        tracing::error!(%error, "an event that we decoded was refused by the database");
        observe::rejected(RejectReason::NotStorable);
        let feeder = &self.feeders[trace.feeder];
        let origin = Origin {
            source: feeder.name.clone(),
            kind: feeder.kind.map(PositionKind::as_str),
            position: trace.position,
        };
        let reject = Reject {
            reason: RejectReason::NotStorable,
            field: None,
            detail: format!("the database refused an event of {}: {error}", kind(event)),
            path: put_path(event),
            raw_format: trace.format,
            raw: trace.message[..trace.message.len().min(Reject::RAW_MAX)].to_vec(),
            raw_length: trace.message.len(),
        };
        (origin, reject)
    }

    /// Statistics are an aid: without them answers are slower, not wrong.
    async fn analyze(&mut self) {
        self.unanalyzed = 0;
        if let Some(connection) = &mut self.connection
            && let Err(error) = store::analyze(connection).await
        {
            tracing::warn!(%error, "statistics could not be taken");
            self.connection = None;
        }
    }
}

/// Freeing what thousands of events hold takes a while; the next batch need not wait for it.
fn drop_elsewhere(shipment: Shipment) {
    if shipment.batch.events.len() > 1_000 {
        tokio::task::spawn_blocking(move || drop(shipment));
    }
}

/// The record that an event puts, if it does: the path no longer holds what it held.
fn put_path(event: &Event) -> Option<RecordPath> {
    let EventBody::Commit(commit) = &event.body else { return None };
    let Operation::Put { cid, .. } = &commit.operation else { return None };
    Some(RecordPath {
        did: event.did.clone(),
        collection: commit.collection,
        rkey: commit.rkey.clone(),
        rev: commit.rev,
        cid: Some(*cid),
    })
}

/// Makes sure that the database still holds the positions that the sources have been told: one that was restored, or a
/// follower that took over without its last transactions, lacks rows that nobody would bring again.
async fn check_positions(
    connection: &mut PgConnection,
    (feeders, committed): (&[Feeder], &[watch::Sender<Option<Position>>]),
    batch: &Batch,
) -> Result<(), IngestError> {
    let stored = store::sources::positions::list(connection).await?;
    for (feeder, told) in feeders.iter().zip(committed) {
        let Some(told) = told.borrow().as_ref().map(|position| position.value) else { continue };
        let held = stored.iter().find(|position| *position.source == *feeder.name).map(|position| position.value);
        // A batch whose commit was not answered may be in, and its number may take the place of a greater one.
        let is_ours = |held| batch.positions.iter().any(|it| it.source == feeder.name && it.value == held);
        if held.is_none_or(|held| held < told && !is_ours(held)) {
            return Err(IngestError::WentBack { name: feeder.name.to_string() });
        }
    }
    Ok(())
}
