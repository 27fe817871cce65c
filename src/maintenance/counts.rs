//! What keeps the like counts right beside the batches: they follow actors that were hidden or shown, rows of deleted accounts are
//! removed, and a few tracks a minute are counted again.
//!
//! Each step is a short transaction under the lock of the batches, which are let in between.

use std::{convert::Infallible, time::Duration};

use metrics::counter;
use sqlx::PgConnection;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::{
    clock::Clock,
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
