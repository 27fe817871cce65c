//! Gaps in the hands of a repair: a gap is mended when every repo that it may concern has been read since the repair took it up.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::gaps::State;
use crate::atproto::Did;

/// Takes an open gap up. Answers false where somebody else has, or it is closed.
pub async fn take_up(connection: &mut PgConnection, id: i64, now: DateTime<Utc>) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE gaps SET state = $2, repair_at = $3 WHERE id = $1 AND state = $4",
        id,
        State::Repairing.as_str(),
        now,
        State::Open.as_str()
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// A gap that a repair has taken up.
#[derive(Debug, Clone)]
pub struct Repairing {
    /// Its number.
    pub id: i64,
    /// The one repo that it is about, if it is about one.
    pub did: Option<Did>,
    /// When it was taken up.
    pub repair_at: DateTime<Utc>,
    /// Repos that it may concern and that have not been read since, and may yet be.
    pub unread: i64,
    /// Those of them whose host has not given them for so long that nobody waits for them.
    pub given_up: i64,
}

/// All gaps in repair, and how far that is. A repo that has failed since before `hopeless_before` is not waited for.
pub async fn list_repairing(
    connection: &mut PgConnection,
    hopeless_before: DateTime<Utc>,
) -> sqlx::Result<Vec<Repairing>> {
    let rows = sqlx::query!(
        r#"SELECT g.id, g.did, g.repair_at AS "repair_at!", r.unread AS "unread!", r.given_up AS "given_up!"
        FROM gaps g CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE NOT is_hopeless) AS unread, count(*) FILTER (WHERE is_hopeless) AS given_up
            FROM (
                SELECT r.state = 'failed' AND r.requested_at < $1 AS is_hopeless FROM repos r
                WHERE (g.did IS NULL OR r.did = g.did) AND (r.read_at IS NULL OR r.read_at < g.repair_at)
            ) AS late
        ) AS r
        WHERE g.state = 'repairing' AND g.repair_at IS NOT NULL ORDER BY g.id"#,
        hopeless_before
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Repairing {
                id: row.id,
                did: row.did.map(|did| super::views::stored_did(&did)).transpose()?,
                repair_at: row.repair_at,
                unread: row.unread,
                given_up: row.given_up,
            })
        })
        .collect()
}
