use std::time::Duration;

use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{ReconcileError, discover};
use crate::{clock::Clock, decode::Collections, pds::Server, store::repos};

/// Between two looks at new actors.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Actors looked at in one statement.
const ACTORS_MAX: i64 = 5_000;
/// An id may become visible after a greater one: so far back it is looked again.
const ACTORS_AGAIN: i64 = 1_000;
/// Between two attempts at a relay that does not answer.
const RELAY_RETRY: Duration = Duration::from_mins(5);

/// Has the repo of every actor read once: those that the streams tell of, as soon as their first record has come, and those that a
/// relay knows of, at the first start and every `discover_every` from then on. Runs until told to stop.
pub async fn enroll(
    pool: PgPool,
    (relay, discover_every): (Option<Server>, Duration),
    (collections, clock): (Collections, Clock),
    cancel: CancellationToken,
) {
    let mut roll = Roll { pool, relay, discover_every, collections, clock, enrolled: 0, relay_from: Instant::now() };
    while !cancel.is_cancelled() {
        if let Some(Err(error)) = cancel.run_until_cancelled(roll.look()).await {
            tracing::debug!(%error, "repos are not enrolled for now");
        }
        cancel.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await;
    }
}

struct Roll {
    pool: PgPool,
    relay: Option<Server>,
    discover_every: Duration,
    collections: Collections,
    clock: Clock,
    /// The greatest id of an actor that was looked at.
    enrolled: i64,
    /// The relay is not asked before.
    relay_from: Instant,
}

impl Roll {
    async fn look(&mut self) -> Result<(), ReconcileError> {
        loop {
            let mut connection = self.pool.acquire().await?;
            let from = self.enrolled.saturating_sub(ACTORS_AGAIN);
            let last = repos::ask_actors(&mut connection, from, ACTORS_MAX, self.clock.now().utc()).await?;
            let Some(last) = last.filter(|last| *last > self.enrolled) else { break };
            self.enrolled = last;
        }
        self.discover_if_due().await
    }

    async fn discover_if_due(&mut self) -> Result<(), ReconcileError> {
        let Some(relay) = self.relay.as_ref().filter(|_| Instant::now() >= self.relay_from) else { return Ok(()) };
        let told_at = {
            let mut connection = self.pool.acquire().await?;
            repos::find_discovery(&mut connection, &relay.url().to_string()).await?
        };
        if told_at.is_some_and(|at| self.clock.now().utc() - at < discover_every(self.discover_every)) {
            self.relay_from = Instant::now() + RELAY_RETRY;
            return Ok(());
        }
        match discover(&self.pool, relay, (&self.collections, &self.clock), |_| {}).await {
            Ok(found) => tracing::info!(listed = found.listed, new = found.new, "the relay has told of all repos"),
            Err(error @ ReconcileError::Relay { .. }) => {
                self.relay_from = Instant::now() + RELAY_RETRY;
                tracing::warn!(%error, "repos that no stream tells of are not found for now");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

fn discover_every(every: Duration) -> chrono::TimeDelta {
    chrono::TimeDelta::from_std(every).unwrap_or(chrono::TimeDelta::MAX)
}
