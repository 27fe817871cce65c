use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use chrono::TimeDelta;
use metrics::counter;
use sqlx::{PgConnection, PgPool};
use tokio::time::sleep;

use crate::{
    clock::Clock,
    retry::Retry,
    store::{self, Leader, gaps, rejects::expired},
};

/// How long and how many rejects are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Older ones are deleted, in days.
    pub days_max: u32,
    /// What they take on disk, in megabytes; above it the oldest are deleted.
    pub megabytes_max: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { days_max: 90, megabytes_max: 512 }
    }
}

/// Between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_mins(2);
const MEGABYTE: i64 = 1 << 20;
/// A closed gap is kept for so long: an operator who looks into a bad week still finds it. An account can have as many as it likes, so that their
/// number has a bound too.
const CLOSED_GAPS_KEPT: TimeDelta = TimeDelta::days(30);
const CLOSED_GAPS_MAX: i64 = 100_000;

/// Deletes rejects and closed gaps that are too old or too many, now and every few minutes. Deleted ones stay counted.
pub(super) async fn sweep(leader: &Leader, retention: Retention) -> Infallible {
    let mut retry = Retry::of_database("expired rejects and gaps could not be deleted");
    loop {
        let swept = sweep_once(&leader.pool, &leader.clock, retention);
        let pause = match store::in_time(swept).await {
            Ok(()) => {
                retry.succeeded();
                SWEEP_EVERY
            }
            Err(error) => retry.failed(&error),
        };
        sleep(pause).await;
    }
}

/// One sweep, in statements that are each short.
async fn sweep_once(pool: &PgPool, clock: &Clock, retention: Retention) -> sqlx::Result<()> {
    let mut connection = pool.acquire().await?;
    sweep_gaps(&mut connection, clock).await?;
    sweep_rejects(&mut connection, retention).await
}

async fn sweep_gaps(connection: &mut PgConnection, clock: &Clock) -> sqlx::Result<()> {
    loop {
        let gone = gaps::delete_closed(connection, clock.now().utc() - CLOSED_GAPS_KEPT, CLOSED_GAPS_MAX).await?;
        if gone.is_empty() {
            return Ok(());
        }
        for (reason, count) in gone {
            counter!("plyr_gaps_expired_total", "reason" => reason).increment(count.unsigned_abs());
        }
    }
}

async fn sweep_rejects(connection: &mut PgConnection, retention: Retention) -> sqlx::Result<()> {
    let bytes_max = i64::from(retention.megabytes_max) * MEGABYTE;
    let mut excess = expired::measure(connection, bytes_max).await?.saturating_sub(bytes_max);
    let mut gone: BTreeMap<String, i64> = BTreeMap::new();
    loop {
        let page = expired::expire_oldest(connection, retention.days_max, excess).await?;
        if page.is_empty() {
            break;
        }
        for expired in page {
            excess -= expired.bytes;
            counter!("plyr_rejects_expired_total", "reason" => expired.reason.clone())
                .increment(expired.count.unsigned_abs());
            *gone.entry(expired.reason).or_default() += expired.count;
        }
    }
    if !gone.is_empty() {
        let count: i64 = gone.values().sum();
        let reasons: Vec<String> = gone.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        tracing::info!(count, reasons = reasons.join(", "), "deleted rejects that were too old or too many");
    }
    Ok(())
}
