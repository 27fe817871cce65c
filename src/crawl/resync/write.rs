use std::collections::HashMap;

use sqlx::{Connection as _, PgPool};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{ResyncError, diff::Drift, repo::Repair};
use crate::{
    apply::{Applier, Batch},
    atproto::{Did, Tid, Timestamp},
    clock::Clock,
    model::{Collections, ResyncCause},
    pds::HeldBytes,
    retry::Retry,
    store::{
        actors::account_checks,
        in_time,
        repos::{
            self, Reading, TakenRepo, commit_chains,
            drift::{self, NewDrift},
        },
    },
};

/// A repo that has been read and compared.
#[derive(Debug)]
pub(super) struct Prepared {
    /// Whose.
    pub did: Did,
    /// Why it was read.
    pub cause: ResyncCause,
    /// The host that it was read from, if there is one.
    pub host: Option<String>,
    /// The rev that it had; none where no host gives the repo.
    pub rev: Option<Tid>,
    /// When the reading began.
    pub began_at: Timestamp,
    /// What is to be written.
    pub repair: Repair,
    /// The bytes of it, until it is written.
    #[expect(dead_code, reason = "it is held until it is dropped")]
    pub memory: Option<HeldBytes>,
}

impl Prepared {
    /// A repo that no host gives: nothing is to be written.
    pub(super) fn nothing(repo: &TakenRepo, host: Option<String>, began_at: Timestamp) -> Self {
        let (did, cause, repair) = (repo.did.clone(), repo.cause, Repair::default());
        Self { did, cause, host, rev: None, began_at, repair, memory: None }
    }

    fn reading(&self) -> Reading<'_> {
        let count = |kind| i32::try_from(self.repair.drift.get(&kind).copied().unwrap_or_default()).unwrap_or(i32::MAX);
        Reading {
            did: &self.did,
            rev: self.rev,
            began_at: self.began_at.utc(),
            host: self.host.as_deref(),
            drift: Drift::ALL.map(count),
        }
    }
}

/// What has been done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// Repos read completely.
    pub repos: u64,
    /// Repos that could not be read this time.
    pub failed: u64,
    /// Records compared.
    pub records: u64,
    /// Paths that differed, by how.
    pub drift: HashMap<Drift, u64>,
    /// Records refused, kept as rejects.
    pub rejected: u64,
}

/// Events in a transaction: as long as it lasts the live stream waits.
const EVENTS_MAX: usize = 2_000;

/// Writes what readers have prepared, several repos in a transaction where they come quickly.
pub(super) struct Writer {
    pool: PgPool,
    clock: Clock,
    applier: Applier,
    done: Done,
}

impl Writer {
    /// A writer that has written nothing.
    pub(super) fn new(pool: PgPool, collections: Collections, clock: Clock) -> Self {
        let applier = Applier::new(collections, clock.clone());
        Self { pool, clock, applier, done: Done::default() }
    }

    /// Runs until no reader is left; when cancelled, waits for no database any longer. `on_progress` is called after each transaction.
    pub(super) async fn run(
        mut self,
        mut prepared: mpsc::Receiver<Prepared>,
        on_progress: impl Fn(&Done),
        cancel: CancellationToken,
    ) -> Result<Done, ResyncError> {
        let mut next = prepared.recv().await;
        while let Some(first) = next.take() {
            let mut events = first.repair.batch.events.len();
            let mut together = vec![first];
            // What would make a second, small transaction of it goes with the next.
            while next.is_none() {
                let Ok(more) = prepared.try_recv() else { break };
                events += more.repair.batch.events.len();
                if events > EVENTS_MAX {
                    next = Some(more);
                } else {
                    together.push(more);
                }
            }
            let began = Instant::now();
            self.write(together, &cancel).await?;
            metrics::histogram!("plyr_repos_write_seconds").record(began.elapsed().as_secs_f64());
            on_progress(&self.done);
            if next.is_none() {
                next = prepared.recv().await;
            }
        }
        Ok(self.done)
    }

    /// Writes, however long the database is away. What is given up when cancelled is read again.
    async fn write(&mut self, mut together: Vec<Prepared>, cancel: &CancellationToken) -> Result<(), ResyncError> {
        let batches = take_batches(&mut together);
        let mut retry = Retry::of_database("the database is away: what was read of repos waits");
        while let Err(error) = self.try_write(&together, &batches).await {
            if !error.is_unavailable() {
                return Err(error);
            }
            self.applier.forget();
            if cancel.run_until_cancelled(tokio::time::sleep(retry.failed(&error))).await.is_none() {
                return Ok(());
            }
        }
        retry.succeeded();
        self.count(&together, &batches);
        Ok(())
    }

    /// Some transactions for the rows, then one for the notes: a crash between them has the repos read again, which changes
    /// nothing.
    async fn try_write(&mut self, together: &[Prepared], batches: &[Batch]) -> Result<(), ResyncError> {
        for batch in batches {
            in_time(async {
                let mut connection = self.pool.acquire().await?;
                self.applier.apply(&mut connection, batch).await
            })
            .await?;
        }
        in_time(self.write_notes(together)).await
    }

    async fn write_notes(&self, together: &[Prepared]) -> Result<(), ResyncError> {
        let (mut connection, now) = (self.pool.acquire().await?, self.clock.now());
        let mut transaction = connection.begin().await?;
        drift::add(&mut transaction, &found(together), now.utc()).await?;
        let read: Vec<(&Did, bool)> = together.iter().map(|prepared| (&prepared.did, prepared.rev.is_some())).collect();
        account_checks::request_for_repos(&mut transaction, &read, now.utc()).await?;
        let dids: Vec<&str> = together.iter().map(|prepared| prepared.did.as_str()).collect();
        commit_chains::forget_above(&mut transaction, &dids, Tid::newest_possible(now).number()).await?;
        let readings: Vec<Reading<'_>> = together.iter().map(Prepared::reading).collect();
        repos::finish(&mut transaction, &readings).await?;
        Ok(transaction.commit().await?)
    }

    fn count(&mut self, together: &[Prepared], batches: &[Batch]) {
        self.done.rejected += batches.iter().map(|batch| batch.rejects.len() as u64).sum::<u64>();
        self.done.repos += together.len() as u64;
        for prepared in together {
            self.done.records += prepared.repair.compared;
            for (kind, count) in &prepared.repair.drift {
                *self.done.drift.entry(*kind).or_default() += count;
                let labels = [("cause", prepared.cause.as_str()), ("kind", kind.as_str())];
                metrics::counter!("plyr_drift_total", &labels).increment(*count);
            }
        }
    }
}

/// The differences, by cause, kind and host.
fn found(together: &[Prepared]) -> Vec<NewDrift<'_>> {
    let mut counts: HashMap<(ResyncCause, Drift, &str), u64> = HashMap::new();
    for prepared in together {
        for (kind, count) in &prepared.repair.drift {
            let host = prepared.host.as_deref().unwrap_or_default();
            *counts.entry((prepared.cause, *kind, host)).or_default() += count;
        }
    }
    let row = |((cause, kind, host), count): ((_, Drift, _), _)| NewDrift {
        cause,
        kind: kind.as_str(),
        host,
        count: i64::try_from(count).unwrap_or(i64::MAX),
    };
    counts.into_iter().map(row).collect()
}

/// What is to be written, in parts that each are a transaction.
fn take_batches(together: &mut [Prepared]) -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut batch = Batch::default();
    for prepared in together {
        let Batch { events, rejects, lowered, .. } = std::mem::take(&mut prepared.repair.batch);
        batch.lowered.extend(lowered);
        for event in events {
            if batch.events.len() >= EVENTS_MAX {
                batches.push(std::mem::take(&mut batch));
            }
            batch.events.push(event);
        }
        batch.rejects.extend(rejects);
    }
    if !batch.events.is_empty() || !batch.rejects.is_empty() {
        batches.push(batch);
    }
    batches
}
