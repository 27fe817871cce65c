//! How the sources compare with each other.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// The score of one source.
#[derive(Debug, Clone)]
pub struct NewScore<'a> {
    /// Its name.
    pub source: &'a str,
    /// Compared commits that it delivered in time.
    pub delivered: i64,
    /// Compared commits that it did not deliver in time.
    pub missed: i64,
    /// Of the missed those that came later.
    pub late: i64,
    /// While it is incomplete: since when.
    pub incomplete_since: Option<DateTime<Utc>>,
    /// While it is incomplete: in which collections, without their namespace.
    pub incomplete_in: Vec<&'a str>,
}

/// Stores these scores in the place of all others.
pub async fn replace(connection: &mut PgConnection, scores: &[NewScore<'_>], now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM source_scores").execute(&mut *connection).await?;
    for score in scores {
        sqlx::query!(
            "INSERT INTO source_scores (source, delivered, missed, late, incomplete_since, incomplete_in, updated_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7)",
            score.source,
            score.delivered,
            score.missed,
            score.late,
            score.incomplete_since,
            &score.incomplete_in as &[&str],
            now
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
