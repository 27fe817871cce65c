//! What each source last told of its connection.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// Stores the state of one source: `starting`, `connected`, `waiting` or `refused`, the last two with their reason.
pub async fn write(
    connection: &mut PgConnection,
    source: &str,
    (state, reason): (&str, Option<&str>),
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO sources (source, state, reason, changed_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT (source) DO UPDATE SET state = EXCLUDED.state, reason = EXCLUDED.reason,
            changed_at = EXCLUDED.changed_at",
        source,
        state,
        reason,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets the state of sources that the settings no longer name.
pub async fn delete_others(connection: &mut PgConnection, sources: &[String]) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM sources WHERE source <> ALL ($1)", sources).execute(connection).await?;
    Ok(())
}
