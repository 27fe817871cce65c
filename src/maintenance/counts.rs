//! What keeps the like counts right beside the batches: they follow actors that were hidden or shown, the places by popularity follow
//! them, rows of deleted accounts are removed, and a few tracks a minute are counted again.
//!
//! Each step is a short transaction under the lock of the batches, which are let in between.

use std::{convert::Infallible, time::Duration};

use metrics::counter;
use sqlx::PgConnection;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::{
    clock::Clock,
    retry::Retry,
    store::{
        self, Leader,
        actors::tombstones,
        counts::{checks, ranks, uncounted},
        sources::lease::Token,
    },
};

/// Rows that one step moves or removes, so that no batch waits longer for it than a few hundredths of a second.
const STEP_ROWS: i64 = 500;
/// How often to look for accounts that were hidden, shown or purged.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Moves the counts after accounts that were hidden or shown, and places after counts, then removes what is left of deleted accounts.
/// Returns the number of steps that it took.
pub async fn follow_accounts(connection: &mut PgConnection, token: Option<Token>) -> sqlx::Result<u64> {
    let mut steps = 0;
    while tombstones::has_work(connection).await? {
        let mut transaction = store::begin_apply(connection, token).await?;
        let moved = uncounted::move_counts(&mut transaction, STEP_ROWS).await?
            | ranks::follow_counts(&mut transaction, STEP_ROWS).await?;
        if !moved && !tombstones::purge(&mut transaction, STEP_ROWS).await? {
            break;
        }
        transaction.commit().await?;
        steps += 1;
    }
    Ok(steps)
}

/// Counts the next tracks again, and what one of the actors with many likes likes, and corrects what has drifted: then there is a bug, and
/// it is logged.
/// Returns how many.
pub async fn check_counts(
    connection: &mut PgConnection,
    token: Option<Token>,
    tracks: i64,
    clock: &Clock,
) -> sqlx::Result<u64> {
    let drifts = checks::check_next(connection, tracks, clock.now().utc()).await?;
    let mut corrected = 0;
    for drift in drifts {
        let mut transaction = store::begin_apply(connection, token).await?;
        // Counted once more, under the lock that keeps writers out.
        let drift = checks::correct(&mut transaction, drift.track_id, clock.now().utc()).await?;
        transaction.commit().await?;
        if let Some(drift) = drift {
            tracing::error!(
                track = %drift.track_id,
                kept = drift.kept,
                counted = drift.counted,
                "a like count had drifted"
            );
            counter!("plyr_count_drift_total").increment(1);
            corrected += 1;
        }
    }
    if let Some(actor_id) = checks::check_next_liker(connection).await? {
        let mut transaction = store::begin_apply(connection, token).await?;
        let was_wrong = checks::correct_liker(&mut transaction, actor_id).await?;
        transaction.commit().await?;
        if was_wrong {
            tracing::error!(actor = %actor_id, "the count of what an actor likes had drifted");
            counter!("plyr_count_drift_total").increment(1);
            corrected += 1;
        }
    }
    Ok(corrected)
}

/// Does both, again and again. A database that is away is asked again at the next turn.
pub(super) async fn keep(leader: &Leader, recounts_per_minute: u32) -> Infallible {
    let mut looks = ticks(LOOK_EVERY);
    let mut retry = Retry::of_database("the like counts are not maintained now");
    let mut recounts = (recounts_per_minute > 0).then(|| ticks(Duration::from_mins(1) / recounts_per_minute));
    loop {
        let outcome = tokio::select! {
            _ = looks.tick() => store::in_time(follow_hidden(leader)).await,
            () = next(&mut recounts) => store::in_time(recount(leader)).await,
        };
        match outcome {
            Ok(()) => retry.succeeded(),
            Err(error) => tokio::time::sleep(retry.failed(&error)).await,
        }
    }
}

fn ticks(every: Duration) -> Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Never comes where there are no ticks.
async fn next(ticks: &mut Option<Interval>) {
    match ticks {
        Some(ticks) => {
            ticks.tick().await;
        }
        None => std::future::pending().await,
    }
}

async fn follow_hidden(leader: &Leader) -> sqlx::Result<()> {
    follow_accounts(&mut *leader.pool.acquire().await?, Some(leader.token)).await.map(drop)
}

async fn recount(leader: &Leader) -> sqlx::Result<()> {
    check_counts(&mut *leader.pool.acquire().await?, Some(leader.token), 1, &leader.clock).await.map(drop)
}
