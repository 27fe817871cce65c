use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use metrics::counter;
use sqlx::PgPool;
use tokio::time::sleep;

use crate::{
    retry::Retry,
    store::{self, rejects::expired},
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

/// Deletes rejects that are too old or too many, now and every few minutes. Deleted ones stay counted.
pub(super) async fn sweep(pool: &PgPool, retention: Retention) -> Infallible {
    let mut retry = Retry::of_database("expired rejects could not be deleted");
    loop {
        let pause = match store::in_time(sweep_once(pool, retention)).await {
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
async fn sweep_once(pool: &PgPool, retention: Retention) -> sqlx::Result<()> {
    let bytes_max = i64::from(retention.megabytes_max) * MEGABYTE;
    let mut connection = pool.acquire().await?;
    let mut excess = expired::measure(&mut connection, bytes_max).await?.saturating_sub(bytes_max);
    let mut gone: BTreeMap<String, i64> = BTreeMap::new();
    loop {
        let page = expired::expire_oldest(&mut connection, retention.days_max, excess).await?;
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
