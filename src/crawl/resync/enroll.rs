use std::time::Duration;

use sqlx::{Connection as _, PgPool};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{ReconcileError, discover, figures};
use crate::{
    clock::Clock,
    model::{Collections, ResyncCause},
    pds::Server,
    store::{
        actors::accounts,
        repos::{self, discoveries},
    },
};

/// Between two looks at new actors.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Actors looked at in one statement.
const ACTORS_MAX: i64 = 5_000;
/// An id may become visible after a greater one: so far back it is looked again.
const ACTORS_AGAIN: i64 = 1_000;
/// Between two looks at who has moved.
const MOVED_EVERY: Duration = Duration::from_secs(15);
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
    let mut roll = Roll {
        pool,
        relay,
        discover_every,
        collections,
        clock,
        enrolled: 0,
        relay_from: Instant::now(),
        moved_from: Instant::now(),
    };
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
    /// Nor is it looked who has moved, and how many repos there are.
    moved_from: Instant,
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
        self.ask_for_restored().await?;
        self.ask_for_moved().await?;
        self.discover_if_due().await
    }

    /// Accounts that came back after having been deleted have their repos read again: from here on the table of repos knows.
    async fn ask_for_restored(&self) -> Result<(), ReconcileError> {
        let mut connection = self.pool.acquire().await?;
        let restored = accounts::list_to_read(&mut connection, ACTORS_MAX).await?;
        let now = self.clock.now().utc();
        for (actor_id, did) in restored {
            let mut transaction = connection.begin().await?;
            repos::ask(&mut transaction, &[did.as_str()], ResyncCause::Account, (now, now)).await?;
            accounts::mark_read(&mut transaction, actor_id).await?;
            transaction.commit().await?;
        }
        Ok(())
    }

    /// What somebody wrote while moving, one of the two hosts may have told nobody of.
    async fn ask_for_moved(&mut self) -> Result<(), ReconcileError> {
        if Instant::now() < self.moved_from {
            return Ok(());
        }
        self.moved_from = Instant::now() + MOVED_EVERY;
        let mut connection = self.pool.acquire().await?;
        let now = self.clock.now().utc();
        repos::ask_moved(&mut connection, now).await?;
        figures::tell(&repos::count(&mut connection).await?);
        Ok(())
    }

    async fn discover_if_due(&mut self) -> Result<(), ReconcileError> {
        let Some(relay) = self.relay.as_ref().filter(|_| Instant::now() >= self.relay_from) else { return Ok(()) };
        let told_at = {
            let mut connection = self.pool.acquire().await?;
            discoveries::find(&mut connection, &relay.url().to_string()).await?
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
