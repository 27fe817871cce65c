use std::time::Duration;

use chrono::TimeDelta;
use sqlx::Connection as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Relay, ResyncError, discover, figures,
    standing::{Standing, repeat},
};
use crate::{
    crawl::Context,
    model::ResyncCause,
    store::{
        actors::tombstones,
        in_time,
        repos::{self, discoveries},
    },
};

/// Between two looks at new authors.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Authors looked at in one statement.
const AUTHORS_MAX: i64 = 5_000;
/// A number may become visible after a greater one: so far back it is looked again.
const AUTHORS_AGAIN: i64 = 1_000;
/// Between two looks at which repos have moved.
const MOVED_EVERY: Duration = Duration::from_secs(15);
/// Between two attempts at a relay that does not answer.
const RELAY_RETRY: Duration = Duration::from_mins(5);

/// Enqueues the repo of every author once: of those in the streams as soon as their first record has come, and of those that a relay
/// lists, at the first start and every `discover_every` from then on. Runs until cancelled.
pub async fn enroll(
    context: Context,
    relay: Option<Relay>,
    discover_every: Duration,
    cancel: CancellationToken,
) -> Result<(), ResyncError> {
    let discover_every = TimeDelta::from_std(discover_every).unwrap_or(TimeDelta::MAX);
    let (relay_from, moved_from) = (Instant::now(), Instant::now());
    let enrollment = Enrollment { context, relay, discover_every, enrolled: 0, relay_from, moved_from };
    repeat(enrollment, LOOK_EVERY, cancel).await
}

struct Enrollment {
    context: Context,
    relay: Option<Relay>,
    discover_every: TimeDelta,
    /// The greatest number of an author that was looked at.
    enrolled: i64,
    /// The relay is not asked before.
    relay_from: Instant,
    /// Nor is it looked which repos have moved, and how many there are.
    moved_from: Instant,
}

impl Standing for Enrollment {
    const WAITS: &'static str = "the database is away: new repos are not enrolled";

    async fn step(&mut self) -> Result<(), ResyncError> {
        self.enqueue_new().await?;
        in_time(self.enqueue_restored()).await?;
        in_time(self.enqueue_moved()).await?;
        self.discover_if_due().await
    }
}

impl Enrollment {
    async fn enqueue_new(&mut self) -> Result<(), ResyncError> {
        loop {
            let (from, now) = (self.enrolled.saturating_sub(AUTHORS_AGAIN), self.context.clock.now().utc());
            let last = in_time(async {
                let mut connection = self.context.pool.acquire().await?;
                repos::enqueue_authors(&mut connection, from, AUTHORS_MAX, now).await
            })
            .await?;
            match last.filter(|last| *last > self.enrolled) {
                Some(last) => self.enrolled = last,
                None => return Ok(()),
            }
        }
    }

    /// Accounts that came back after having been deleted have their repos read again: from here on the table of repos knows.
    async fn enqueue_restored(&self) -> Result<(), ResyncError> {
        let mut connection = self.context.pool.acquire().await?;
        let restored = tombstones::list_pending_resync(&mut connection, AUTHORS_MAX).await?;
        let now = self.context.clock.now().utc();
        for (actor_id, did) in restored {
            let mut transaction = connection.begin().await?;
            repos::enqueue(&mut transaction, &[did.as_str()], ResyncCause::Account, now).await?;
            tombstones::mark_resynced(&mut transaction, actor_id).await?;
            transaction.commit().await?;
        }
        Ok(())
    }

    /// Of what was written while an account moved, one of the two hosts may have reported nothing.
    async fn enqueue_moved(&mut self) -> Result<(), ResyncError> {
        if Instant::now() < self.moved_from {
            return Ok(());
        }
        self.moved_from = Instant::now() + MOVED_EVERY;
        let mut connection = self.context.pool.acquire().await?;
        repos::enqueue_moved(&mut connection, self.context.clock.now().utc()).await?;
        figures::measure(&repos::count(&mut connection).await?);
        Ok(())
    }

    async fn discover_if_due(&mut self) -> Result<(), ResyncError> {
        let Some(relay) = self.relay.as_ref().filter(|_| Instant::now() >= self.relay_from) else { return Ok(()) };
        let discovered_at = in_time(async {
            let mut connection = self.context.pool.acquire().await?;
            discoveries::find(&mut connection, &relay.server.url().to_string()).await
        })
        .await?;
        if discovered_at.is_some_and(|at| self.context.clock.now().utc() - at < self.discover_every) {
            self.relay_from = Instant::now() + RELAY_RETRY;
            return Ok(());
        }
        match discover(&self.context, relay).await {
            Ok(found) => tracing::info!(listed = found.listed, new = found.new, "the relay has listed all repos"),
            Err(error @ ResyncError::Relay { .. }) => {
                self.relay_from = Instant::now() + RELAY_RETRY;
                tracing::warn!(%error, "repos that are in no stream are not found for now");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
