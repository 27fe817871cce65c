//! Differences between the index and the repos that were found, by what they were and why the repo was read.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::model::ResyncCause;

/// Differences that were found, of one kind and for one cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriftCount {
    /// Why the repos were read.
    pub cause: String,
    /// `missing`, `extra` or `differing`.
    pub kind: String,
    /// The host that they were read from.
    pub host: String,
    /// How many, ever.
    pub count: i64,
    /// When the last was found.
    pub last_at: DateTime<Utc>,
}

/// The differences that were ever found, the latest first, so many at most.
pub async fn list(connection: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<DriftCount>> {
    sqlx::query_as!(
        DriftCount,
        "SELECT cause, kind, host, count, last_at FROM drift ORDER BY last_at DESC, cause, kind, host LIMIT $1",
        limit
    )
    .fetch_all(connection)
    .await
}

/// Differences of one kind that were found just now.
#[derive(Debug, Clone, Copy)]
pub struct NewDrift<'a> {
    /// Why the repos were read.
    pub cause: ResyncCause,
    /// `missing`, `extra` or `differing`.
    pub kind: &'static str,
    /// The host that they were read from.
    pub host: &'a str,
    /// How many.
    pub count: i64,
}

/// Adds to the differences that were found. Cause, kind and host together at most once.
pub async fn add(connection: &mut PgConnection, found: &[NewDrift<'_>], now: DateTime<Utc>) -> sqlx::Result<()> {
    if found.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO drift AS d (cause, kind, host, count, last_at)
        SELECT cause, kind, host, count, $5 FROM UNNEST($1::text[], $2::text[], $3::text[], $4::bigint[])
            AS f (cause, kind, host, count)
        ON CONFLICT (cause, kind, host) DO UPDATE SET count = d.count + EXCLUDED.count, last_at = EXCLUDED.last_at",
        &found.iter().map(|found| found.cause.as_str()).collect::<Vec<_>>() as &[&str],
        &found.iter().map(|found| found.kind).collect::<Vec<_>>() as &[&str],
        &found.iter().map(|found| found.host).collect::<Vec<_>>() as &[&str],
        &found.iter().map(|found| found.count).collect::<Vec<_>>(),
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}
