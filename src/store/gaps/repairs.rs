//! Gaps in the hands of a repair: a gap is mended when every repo that it may concern has been read since the repair took it up.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::words::State;

/// Takes an open gap up. Answers false where it is taken up already, or closed.
pub async fn take_up(connection: &mut PgConnection, id: i64, now: DateTime<Utc>) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE gaps SET state = $2, repair_started_at = $3 WHERE id = $1 AND state = $4",
        id,
        State::Repairing.as_str(),
        now,
        State::Open.as_str()
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// A gap of which every repo that it may concern has been read since it was taken up, or is not waited for.
#[derive(Debug, Clone, Copy)]
pub struct Mended {
    /// Its number.
    pub id: i64,
    /// Repos that are not waited for, since their hosts have not given them for too long.
    pub given_up: i64,
}

/// Gaps in repair that may be closed. A repo that has failed since before `hopeless_before` is not waited for.
pub async fn list_mended(connection: &mut PgConnection, hopeless_before: DateTime<Utc>) -> sqlx::Result<Vec<Mended>> {
    // A gap of one repo looks at that repo's row, and one of a source at all of them, up to the first that is not read.
    sqlx::query_as!(
        Mended,
        r#"SELECT g.id, CASE WHEN g.did IS NULL THEN (
                SELECT count(*) FROM repos r WHERE r.state = 'failed' AND r.requested_at < $1
                    AND (r.read_at IS NULL OR r.read_at < g.repair_started_at))
            ELSE (
                SELECT count(*) FROM repos r WHERE r.did = g.did AND r.state = 'failed' AND r.requested_at < $1
                    AND (r.read_at IS NULL OR r.read_at < g.repair_started_at))
            END AS "given_up!"
        FROM gaps g
        WHERE g.state = 'repairing' AND g.repair_started_at IS NOT NULL AND CASE WHEN g.did IS NULL THEN NOT EXISTS (
                SELECT FROM repos r WHERE NOT (r.state = 'failed' AND r.requested_at < $1)
                    AND (r.read_at IS NULL OR r.read_at < g.repair_started_at))
            ELSE NOT EXISTS (
                SELECT FROM repos r WHERE r.did = g.did AND NOT (r.state = 'failed' AND r.requested_at < $1)
                    AND (r.read_at IS NULL OR r.read_at < g.repair_started_at))
            END
        ORDER BY g.id"#,
        hopeless_before
    )
    .fetch_all(connection)
    .await
}
