//! When each relay last listed all repos.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// When a relay last listed all repos, if it ever did.
pub async fn find(connection: &mut PgConnection, relay: &str) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!("SELECT finished_at FROM discoveries WHERE relay = $1", relay).fetch_optional(connection).await
}

/// Notes that a relay has listed all repos.
pub async fn finish(connection: &mut PgConnection, relay: &str, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO discoveries (relay, finished_at) VALUES ($1, $2)
        ON CONFLICT (relay) DO UPDATE SET finished_at = EXCLUDED.finished_at",
        relay,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}
