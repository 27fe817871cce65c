//! What each source last told of its connection.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::lease::Token;

/// Stores the state of one source: `starting`, `connected`, `waiting` or `refused`, the last two with their reason; since when
/// it is so, and that whoever follows it is alive. Whoever has lost the lease tells nothing.
pub async fn write(
    connection: &mut PgConnection,
    (source, token): (&str, Token),
    (state, reason): (&str, Option<&str>),
    (changed_at, alive_at): (DateTime<Utc>, DateTime<Utc>),
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO sources (source, state, reason, changed_at, alive_at)
        SELECT $1, $2, $3, $4, $5 FROM lease WHERE token = $6
        ON CONFLICT (source) DO UPDATE SET state = EXCLUDED.state, reason = EXCLUDED.reason,
            changed_at = EXCLUDED.changed_at, alive_at = EXCLUDED.alive_at",
        source,
        state,
        reason,
        changed_at,
        alive_at,
        token.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Stores that nobody follows a source any more, unless another indexer does by now.
pub async fn silence(connection: &mut PgConnection, (source, token): (&str, Token)) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE sources SET alive_at = NULL WHERE source = $1 AND EXISTS (SELECT FROM lease WHERE token = $2)",
        source,
        token.0
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
