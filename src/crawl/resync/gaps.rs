use std::time::Duration;

use sqlx::PgConnection;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Relay, ResyncError, discover,
    standing::{Standing, repeat},
};
use crate::{
    crawl::Context,
    model::{GapReason, ResyncCause},
    store::{
        gaps::{self, By, StoredGap, repairs},
        in_time, repos,
    },
};

/// Between two looks at the gaps.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Gaps taken up at one look.
const GAPS_MAX: i64 = 1_000;
/// Between two attempts at a relay that does not answer.
const RELAY_RETRY: Duration = Duration::from_mins(1);
/// A repo that no host has given for so long keeps no gap open: it stays pending, and is counted as failed.
const HOPELESS_AFTER: Duration = Duration::from_hours(24);

/// Closes gaps, until cancelled: enqueues every repo that one may concern, and closes it when all have been read.
///
/// That are all repos that we know of, and those that the relay lists, for a gap in a source; the one repo for a `#sync`. Where
/// there is no relay, or it does not answer, it is not known whose first like fell into a gap of a source: it stays open.
pub async fn close_gaps(context: Context, relay: Option<Relay>, cancel: CancellationToken) -> Result<(), ResyncError> {
    let repair = GapRepair { context, relay, relay_from: Instant::now() };
    repeat(repair, LOOK_EVERY, cancel).await
}

struct GapRepair {
    context: Context,
    relay: Option<Relay>,
    /// The relay is not asked before.
    relay_from: Instant,
}

impl Standing for GapRepair {
    const WAITS: &'static str = "the database is away: gaps are not closed";

    async fn step(&mut self) -> Result<(), ResyncError> {
        let of_sources = in_time(self.take_up_open_repos()).await?;
        if !of_sources.is_empty() && Instant::now() >= self.relay_from {
            self.take_up_sources(&of_sources).await?;
        }
        in_time(self.close_repaired()).await
    }
}

impl GapRepair {
    /// Takes up the open gaps of repos, and gives those of sources.
    async fn take_up_open_repos(&self) -> Result<Vec<StoredGap>, ResyncError> {
        let mut connection = self.context.pool.acquire().await?;
        let open = gaps::list_open(&mut connection, GAPS_MAX).await?;
        let (of_repos, of_sources): (Vec<_>, Vec<_>) =
            open.into_iter().filter(has_ended).partition(|gap| gap.did.is_some());
        self.take_up_repos(&mut connection, &of_repos).await?;
        Ok(of_sources)
    }

    async fn take_up_repos(&self, connection: &mut PgConnection, found: &[StoredGap]) -> Result<(), ResyncError> {
        for gap in found {
            let Some(did) = &gap.did else { continue };
            let now = self.context.clock.now().utc();
            if repairs::take_up(connection, gap.id, now).await? {
                let cause = match gap.reason {
                    GapReason::Sync => ResyncCause::Sync,
                    GapReason::Undelivered => ResyncCause::Undelivered,
                    _ => ResyncCause::Chain,
                };
                repos::enqueue(connection, &[did.as_str()], cause, now).await?;
            }
        }
        Ok(())
    }

    /// The gaps are taken up before the repos are enqueued: what is read from then on counts.
    async fn take_up_sources(&mut self, found: &[StoredGap]) -> Result<(), ResyncError> {
        let Some(relay) = &self.relay else { return Ok(()) };
        match discover(&self.context, relay).await {
            Ok(_) => {}
            Err(error @ ResyncError::Relay { .. }) => {
                tracing::warn!(%error, "gaps of sources stay open for now");
                self.relay_from = Instant::now() + RELAY_RETRY;
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let enqueued = in_time(async {
            let (mut connection, now) = (self.context.pool.acquire().await?, self.context.clock.now().utc());
            for gap in found {
                repairs::take_up(&mut connection, gap.id, now).await?;
            }
            Ok::<_, ResyncError>(repos::enqueue_all(&mut connection, ResyncCause::Gap, now).await?)
        })
        .await?;
        tracing::info!(gaps = found.len(), repos = enqueued, "repos are read to close gaps");
        Ok(())
    }

    async fn close_repaired(&self) -> Result<(), ResyncError> {
        let (mut connection, now) = (self.context.pool.acquire().await?, self.context.clock.now().utc());
        for gap in repairs::list_mended(&mut connection, now - HOPELESS_AFTER).await? {
            let note = match gap.given_up {
                0 => "all repos that it may concern have been read since".to_owned(),
                count => format!("all repos that it may concern have been read since, but {count} that no host gives"),
            };
            if gaps::close(&mut connection, gap.id, By::Repair, Some(&note), now).await? {
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
