//! How the sources do beside each other.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// The score of one source.
#[derive(Debug, Clone)]
pub struct NewScore<'a> {
    /// Its name.
    pub source: &'a str,
    /// Compared commits that it delivered in time.
    pub delivered: i64,
    /// Of these before all others.
    pub first: i64,
    /// Compared commits that it did not deliver in time.
    pub missed: i64,
    /// Of the missed those that came later.
    pub late: i64,
    /// How much later than the first, at worst.
    pub late_max_ms: i64,
    /// Connections that have brought something.
    pub connections: i64,
    /// How often it was told to go back to its last proof.
    pub rewinds: i64,
    /// While it is blind: since when.
    pub blind_since: Option<DateTime<Utc>>,
    /// While it is blind: to which collections, without their namespace.
    pub blind_to: Vec<&'a str>,
}

/// Stores the score of one source.
pub async fn write(connection: &mut PgConnection, score: &NewScore<'_>, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO source_scores (source, delivered, first, missed, late, late_max_ms, connections, rewinds, incomplete_since,
            incomplete_collections, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        ON CONFLICT (source) DO UPDATE SET delivered = EXCLUDED.delivered, first = EXCLUDED.first,
            missed = EXCLUDED.missed, late = EXCLUDED.late, late_max_ms = EXCLUDED.late_max_ms,
            connections = EXCLUDED.connections, rewinds = EXCLUDED.rewinds, incomplete_since = EXCLUDED.incomplete_since,
            incomplete_collections = EXCLUDED.incomplete_collections, updated_at = EXCLUDED.updated_at",
        score.source,
        score.delivered,
        score.first,
        score.missed,
        score.late,
        score.late_max_ms,
        score.connections,
        score.rewinds,
        score.blind_since,
        &score.blind_to as &[&str],
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets all of them: whoever follows the sources counts anew.
pub async fn clear(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM source_scores").execute(connection).await?;
    Ok(())
}
