//! What each source last told of its connection.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// Stores the state of one source: `starting`, `connected`, `waiting` or `refused`, the last two with their reason; since when
/// it is so, and that whoever follows it is alive.
pub async fn write(
    connection: &mut PgConnection,
    source: &str,
    (state, reason): (&str, Option<&str>),
    (changed_at, alive_at): (DateTime<Utc>, DateTime<Utc>),
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO sources (source, state, reason, changed_at, alive_at) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (source) DO UPDATE SET state = EXCLUDED.state, reason = EXCLUDED.reason,
            changed_at = EXCLUDED.changed_at, alive_at = EXCLUDED.alive_at",
        source,
        state,
        reason,
        changed_at,
        alive_at
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
