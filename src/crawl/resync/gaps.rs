use std::time::Duration;

use sqlx::{PgConnection, PgPool};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{ReconcileError, discover};
use crate::{
    clock::Clock,
    model::{Collections, GapReason, ResyncCause},
    pds::Server,
    store::{
        gaps::{self, By, StoredGap, repairs},
        repos,
    },
};

/// Between two looks at the gaps.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Gaps taken up at one look.
const GAPS_MAX: i64 = 1_000;
/// Between two attempts at a relay that does not answer.
const RELAY_RETRY: Duration = Duration::from_mins(1);
/// A repo that nobody has given for so long keeps no gap open: it stays to be read, and is counted as failed.
const HOPELESS_AFTER: Duration = Duration::from_hours(24);

/// Closes gaps, until told to stop: asks for every repo that one may concern to be read, and closes it when all have been.
///
/// That are all repos that we know of, and those that the relay knows of, for a gap in a source; the one repo for a `#sync`. Where
/// there is no relay, or it does not answer, nobody can tell whose first like fell into a gap of a source: it stays open.
pub async fn mend_gaps(
    pool: PgPool,
    relay: Option<Server>,
    (collections, clock): (Collections, Clock),
    cancel: CancellationToken,
) {
    let mut mender = Mender { pool, relay, relay_from: Instant::now(), collections, clock };
    while !cancel.is_cancelled() {
        let look = mender.look();
        if let Some(Err(error)) = cancel.run_until_cancelled(look).await {
            tracing::warn!(%error, "gaps are not being closed for now");
        }
        cancel.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await;
    }
}

struct Mender {
    pool: PgPool,
    relay: Option<Server>,
    /// The relay is not asked before.
    relay_from: Instant,
    collections: Collections,
    clock: Clock,
}

impl Mender {
    async fn look(&mut self) -> Result<(), ReconcileError> {
        let mut connection = self.pool.acquire().await?;
        let open = gaps::list_open(&mut connection, GAPS_MAX).await?;
        let (of_repos, of_sources): (Vec<_>, Vec<_>) =
            open.into_iter().filter(has_ended).partition(|gap| gap.did.is_some());
        self.take_up_repos(&mut connection, &of_repos).await?;
        if !of_sources.is_empty() && Instant::now() >= self.relay_from {
            self.take_up_sources(&mut connection, &of_sources).await?;
        }
        self.close_mended(&mut connection).await
    }

    async fn take_up_repos(&self, connection: &mut PgConnection, found: &[StoredGap]) -> Result<(), ReconcileError> {
        for gap in found {
            let Some(did) = &gap.did else { continue };
            let now = self.clock.now().utc();
            if repairs::take_up(connection, gap.id, now).await? {
                let cause = if gap.reason == GapReason::Sync { ResyncCause::Sync } else { ResyncCause::Chain };
                repos::ask(connection, &[did.as_str()], cause, (now, now)).await?;
            }
        }
        Ok(())
    }

    /// The gaps are taken up before the repos are asked for: what is read from then on counts.
    async fn take_up_sources(
        &mut self,
        connection: &mut PgConnection,
        found: &[StoredGap],
    ) -> Result<(), ReconcileError> {
        let Some(relay) = &self.relay else { return Ok(()) };
        match discover(&self.pool, relay, (&self.collections, &self.clock), |_| {}).await {
            Ok(_) => {}
            Err(error @ ReconcileError::Relay { .. }) => {
                tracing::warn!(%error, "gaps of sources stay open for now");
                self.relay_from = Instant::now() + RELAY_RETRY;
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let now = self.clock.now().utc();
        for gap in found {
            repairs::take_up(connection, gap.id, now).await?;
        }
        let asked = repos::ask_all(connection, ResyncCause::Gap, now).await?;
        tracing::info!(gaps = found.len(), repos = asked, "repos are read to close gaps");
        Ok(())
    }

    async fn close_mended(&self, connection: &mut PgConnection) -> Result<(), ReconcileError> {
        let now = self.clock.now().utc();
        for gap in repairs::list_mended(connection, now - HOPELESS_AFTER).await? {
            let note = match gap.given_up {
                0 => "all repos that it may concern have been read since".to_owned(),
                count => format!("all repos that it may concern have been read since, but {count} that no host gives"),
            };
            if gaps::close(connection, gap.id, By::Repair, (Some(&note), now)).await? {
                tracing::info!(gap = gap.id, note, "a gap is closed");
            }
        }
        Ok(())
    }
}

/// An incomplete source goes on missing things: what is read now would not be the last of it.
fn has_ended(gap: &StoredGap) -> bool {
    gap.reason != GapReason::Incomplete || gap.to.at.is_some() || gap.to.value.is_some()
}
