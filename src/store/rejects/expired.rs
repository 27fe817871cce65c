//! Rejects that were deleted because they were too old or too many: counted by reason.

use sqlx::PgConnection;

/// What one statement deleted, of one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expired {
    /// Why they had been refused.
    pub reason: String,
    /// How many they were.
    pub count: i64,
    /// How many bytes they took on disk, about.
    pub bytes: i64,
}

/// How many bytes all rejects take on disk, about. Counted out only if their files are larger than `enough`: those hold what
/// was deleted, too, until its room is used again.
pub async fn measure(connection: &mut PgConnection, enough: i64) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT CASE WHEN pg_total_relation_size('rejects') <= $1 THEN 0 ELSE
            (SELECT coalesce(sum(400 + pg_column_size(raw) + pg_column_size(detail)), 0)::bigint FROM rejects) END AS "bytes!""#,
        enough
    )
    .fetch_one(connection)
    .await
}

/// Deletes some of the oldest rejects: those that are older than so many days, and those that come before so many bytes are
/// free. They are counted in the same transaction. Empty when none was left to go.
pub async fn expire_oldest(connection: &mut PgConnection, days_max: u32, bytes: i64) -> sqlx::Result<Vec<Expired>> {
    sqlx::query_as!(
        Expired,
        r#"WITH oldest AS (
            SELECT id, at, 400 + pg_column_size(raw) + pg_column_size(detail) AS bytes FROM rejects ORDER BY id LIMIT 500
        ), marked AS (
            SELECT id, at, bytes, sum(bytes) OVER (ORDER BY id) - bytes AS before FROM oldest
        ), gone AS (
            DELETE FROM rejects r USING marked m WHERE r.id = m.id
                AND (m.at < clock_timestamp() - make_interval(days => $1) OR m.before < $2) RETURNING r.reason, m.bytes
        ), expired AS (
            SELECT reason, count(*) AS count, sum(bytes) AS bytes FROM gone GROUP BY reason
        ), counted AS (
            INSERT INTO rejects_expired AS e (reason, count, last_at) SELECT reason, count, clock_timestamp() FROM expired
            ON CONFLICT (reason) DO UPDATE SET count = e.count + EXCLUDED.count, last_at = EXCLUDED.last_at
        )
        SELECT reason, count AS "count!", bytes AS "bytes!" FROM expired"#,
        i32::try_from(days_max).unwrap_or(i32::MAX),
        bytes
    )
    .fetch_all(connection)
    .await
}
