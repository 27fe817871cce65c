use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{PgConnection, PgPool, Postgres, pool::PoolConnection};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    prepared::{PreparedBatch, Provenance},
    source_key::SourceKey,
};
use crate::{
    apply::{Applied, Applier, ApplyError, Batch, Origin, Reached},
    decode::Reject,
    ingest::{GRACE, IngestError, observe},
    model::{Event, EventBody, Operation, Position, RecordPath, RejectReason},
    retry::Retry,
    store,
};

/// Applies batches, one at a time, over a connection that it keeps.
pub struct Writer {
    options: WriterOptions,
    connection: Option<PoolConnection<Postgres>>,
    /// Rows written since statistics were taken.
    unanalyzed: u64,
}

/// What a writer works with.
pub struct WriterOptions {
    /// The database.
    pub pool: PgPool,
    /// Knows the ids.
    pub applier: Applier,
    /// All sources, by their place.
    pub sources: Arc<[SourceKey]>,
    /// The committed position that was acknowledged to each source.
    pub acknowledged: Vec<watch::Receiver<Option<Position>>>,
    /// Stop trying when the database is away: nothing is lost, the sources deliver it again.
    pub cancel: CancellationToken,
}

/// What has been committed.
#[derive(Debug, Default)]
pub struct Written {
    /// What it did.
    pub applied: Applied,
    /// The positions that are stored now.
    pub positions: Vec<Reached>,
}

/// Rows after which statistics are taken again: at once, or in the first pause.
const ANALYZE_AFTER: u64 = 500_000;
const ANALYZE_IN_PAUSE_AFTER: u64 = 10_000;
/// How long a batch may take at first before the database counts as silent: far longer than it does. A database that needs longer
/// than any such time for one is slow, and not gone: each attempt has twice the time of the one before.
const BATCH_TIME: Duration = Duration::from_secs(15);
const BATCH_TIME_MAX: Duration = Duration::from_mins(16);
/// How long statistics may take: of a large table they take seconds.
const ANALYZE_TIME_MAX: Duration = Duration::from_mins(5);

impl Writer {
    /// A writer that has written nothing.
    pub fn new(options: WriterOptions) -> Self {
        Self { options, connection: None, unanalyzed: 0 }
    }

    /// Applies a batch, however long the database is away. None when cancelled before that.
    ///
    /// An event that the database refuses becomes a reject and costs itself alone. Any other refusal is an error.
    pub async fn write(&mut self, batch: PreparedBatch) -> Result<Option<Written>, IngestError> {
        let mut written = Written::default();
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            let started = Instant::now();
            match self.apply(&part.batch).await {
                Ok(Some(applied)) => {
                    observe::committed(&applied, part.batch.events.len(), started.elapsed());
                    self.unanalyzed += applied.applied;
                    written.applied += applied;
                    written.positions.extend_from_slice(&part.batch.positions);
                    drop_elsewhere(part);
                }
                Ok(None) => {
                    tracing::warn!(
                        "stopped while the database was away: the last batch is not committed, it comes again"
                    );
                    return Ok(None);
                }
                Err(IngestError::Apply(error)) if error.is_about_a_row() && !part.batch.events.is_empty() => {
                    if let Some((event, provenance)) = part.single() {
                        let (origin, reject) = self.refuse(event, provenance, &error);
                        parts.push(part.refused(origin, reject));
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
        Ok(Some(written))
    }

    /// Whether so much was written that a pause is to be used for statistics.
    pub fn is_analyze_worthwhile(&self) -> bool {
        self.unanalyzed >= ANALYZE_IN_PAUSE_AFTER
    }

    /// Takes statistics. They are an aid: without them answers are slower, not wrong.
    pub async fn analyze(&mut self) {
        self.unanalyzed = 0;
        if let Some(connection) = &mut self.connection
            && let Err(error) = store::within(ANALYZE_TIME_MAX, store::records::analyze(connection)).await
        {
            tracing::warn!(%error, "statistics could not be taken");
            self.connection = None;
        }
    }

    /// Applies one batch, again and again while the database is away. None when cancelled before that.
    async fn apply(&mut self, batch: &Batch) -> Result<Option<Applied>, IngestError> {
        let mut retry = Retry::of_database("the database is away: reading waits, nothing is lost");
        let mut give_up: Option<Instant> = None;
        let mut time = BATCH_TIME;
        loop {
            let error = match store::within(time, self.try_apply(batch)).await {
                Ok(applied) => {
                    retry.succeeded();
                    return Ok(Some(applied));
                }
                Err(error) if error.is_unavailable() => error,
                Err(error) => return Err(error),
            };
            self.connection = None;
            time = (time * 2).min(BATCH_TIME_MAX);
            let pause = retry.failed(&error);
            let is_stopping = self.options.cancel.is_cancelled();
            if is_stopping && *give_up.get_or_insert_with(|| Instant::now() + GRACE) <= Instant::now() {
                return Ok(None);
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn try_apply(&mut self, batch: &Batch) -> Result<Applied, IngestError> {
        let connection = if let Some(connection) = &mut self.connection {
            connection
        } else {
            self.options.applier.forget();
            let mut connection = self.options.pool.acquire().await?;
            self.options.check_positions(&mut connection, batch).await?;
            self.connection.insert(connection)
        };
        Ok(self.options.applier.apply(connection, batch).await?)
    }

    fn refuse(&self, event: &Event, provenance: &Provenance, error: &ApplyError) -> (Origin, Reject) {
        tracing::error!(%error, "an event that we decoded was refused by the database");
        observe::rejected(RejectReason::NotStorable);
        let source = &self.options.sources[provenance.source];
        let origin = Origin { source: source.name.clone(), kind: source.kind, position: provenance.position };
        let reject = Reject {
            reason: RejectReason::NotStorable,
            field: None,
            detail: format!("the database refused an event of {}: {error}", event.kind().as_str()),
            path: put_path(event),
            raw_format: provenance.format,
            raw: provenance.message[..provenance.message.len().min(Reject::RAW_MAX)].to_vec(),
            raw_length: provenance.message.len(),
        };
        (origin, reject)
    }
}

/// Freeing what thousands of events hold takes time; the next batch need not wait for it.
fn drop_elsewhere(batch: PreparedBatch) {
    if batch.batch.events.len() > 1_000 {
        tokio::task::spawn_blocking(move || drop(batch));
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

impl WriterOptions {
    /// Makes sure that the database still holds the positions that were acknowledged to the sources: one that was restored, or a
    /// replica that was promoted without its last transactions, lacks rows that no source would deliver again.
    async fn check_positions(&self, connection: &mut PgConnection, batch: &Batch) -> Result<(), IngestError> {
        let stored = store::sources::positions::list(connection).await?;
        for (source, acknowledged) in self.sources.iter().zip(&self.acknowledged) {
            let Some(expected) = acknowledged.borrow().as_ref().map(|position| position.value) else { continue };
            let held = stored.iter().find(|position| *position.source == *source.name).map(|position| position.value);
            // A batch whose commit was not answered may be in, and its number may take the place of a greater one.
            let is_ours = |held| batch.positions.iter().any(|it| it.source == source.name && it.value == held);
            if held.is_none_or(|held| held < expected && !is_ours(held)) {
                return Err(IngestError::WentBack { name: source.name.to_string() });
            }
        }
        Ok(())
    }
}
