use std::time::Duration;

use metrics::gauge;
use sqlx::PgPool;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::model::GapReason;
use crate::store::{self, gaps::OpenCount};

/// Counted periodically, because the operator and the repairs close gaps elsewhere.
const COUNT_EVERY: Duration = Duration::from_secs(15);

/// Reports how many gaps are open, until cancelled: then the next leader reports it.
pub async fn report_open(pool: PgPool, cancel: CancellationToken) {
    let mut ticks = interval(COUNT_EVERY);
    while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
        match cancel.run_until_cancelled(store::in_time(count_open(&pool))).await {
            Some(Ok(counts)) => report(&counts),
            Some(Err(error)) => tracing::debug!(%error, "the gaps cannot be counted now"),
            None => break,
        }
    }
    report(&[]);
}

async fn count_open(pool: &PgPool) -> sqlx::Result<Vec<OpenCount>> {
    let mut connection = pool.acquire().await?;
    store::gaps::count_open(&mut connection, i64::MAX).await
}

fn report(counts: &[OpenCount]) {
    for reason in GapReason::ALL {
        let count = counts.iter().find(|count| count.reason == reason.as_str()).map_or(0, |count| count.count);
        #[expect(clippy::cast_precision_loss, reason = "there are fewer than 2^52 gaps")]
        gauge!("plyr_gaps_open", "reason" => reason.as_str()).set(count as f64);
    }
}
