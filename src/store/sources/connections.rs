//! What each source last reported of its connection.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::lease::Token;
use crate::model::UntrustedText;

/// The state of a source's connection.
#[derive(Debug, Clone)]
pub struct ConnectionState<'a> {
    /// The source's name.
    pub source: &'a str,
    /// `starting`, `paused`, `connected`, `waiting` or `refused`.
    pub state: &'a str,
    /// Why it waits or was refused.
    pub reason: Option<UntrustedText>,
    /// Since when it is in this state.
    pub changed_at: DateTime<Utc>,
    /// Since when the index may lack something that the source has; none while it has everything.
    pub behind_since: Option<DateTime<Utc>>,
    /// The heartbeat of the index that follows it.
    pub alive_at: DateTime<Utc>,
}

/// Stores the state of one source's connection. Does nothing without the lease.
pub async fn write(connection: &mut PgConnection, token: Token, new: ConnectionState<'_>) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO sources (source, state, reason, changed_at, behind_since, alive_at)
        SELECT $1, $2, $3, $4, $5, $6 FROM lease WHERE token = $7
        ON CONFLICT (source) DO UPDATE SET state = EXCLUDED.state, reason = EXCLUDED.reason,
            changed_at = EXCLUDED.changed_at, behind_since = EXCLUDED.behind_since, alive_at = EXCLUDED.alive_at",
        new.source,
        new.state,
        new.reason.as_ref().map(UntrustedText::as_str),
        new.changed_at,
        new.behind_since,
        new.alive_at,
        token.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends the heartbeat of a source that is not followed from now on, unless another indexer follows it by now.
pub async fn silence(
    connection: &mut PgConnection,
    token: Token,
    source: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE sources SET alive_at = NULL, behind_since = coalesce(behind_since, $3)
        WHERE source = $1 AND EXISTS (SELECT FROM lease WHERE token = $2)",
        source,
        token.0,
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
