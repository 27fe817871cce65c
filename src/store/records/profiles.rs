//! Profiles: one row per actor, live or tombstone.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, types::Json};

use super::held::{ChangedRevs, RepoUpTo};
use crate::{model::ActorId, store::Written};

/// A profile's record, or, where `cid` is none, the news that it is gone. Fields as in the table.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the lexicon says what each field is")]
pub struct ProfileRow<'a> {
    pub actor_id: i64,
    pub rev: i64,
    pub created_at: Option<DateTime<Utc>>,
    pub updated_at: Option<DateTime<Utc>>,
    /// The binary CID in hexadecimal.
    pub cid: Option<String>,
    pub avatar: Option<&'a str>,
    pub bio: Option<&'a str>,
}

/// Writes each row whose rev is greater than the stored one. Each actor at most once.
pub async fn write(
    connection: &mut PgConnection,
    rows: &[ProfileRow<'_>],
    indexed_at: DateTime<Utc>,
) -> sqlx::Result<Written> {
    if rows.is_empty() {
        return Ok(Written::default());
    }
    let applied = sqlx::query_scalar!(
        r#"WITH rows AS (
            SELECT * FROM json_to_recordset($1::json) AS r (
                actor_id bigint, rev bigint, created_at timestamptz, updated_at timestamptz, cid text, avatar text,
                bio text)
        ), written AS (
            INSERT INTO profiles AS p (actor_id, rev, created_at, updated_at, cid, avatar, bio, indexed_at)
            SELECT actor_id, rev, created_at, updated_at, decode(cid, 'hex'), avatar, bio, $2 FROM rows
            ON CONFLICT (actor_id) DO UPDATE SET rev = EXCLUDED.rev, created_at = EXCLUDED.created_at,
                updated_at = EXCLUDED.updated_at, cid = EXCLUDED.cid, avatar = EXCLUDED.avatar, bio = EXCLUDED.bio,
                indexed_at = EXCLUDED.indexed_at
            WHERE p.rev < EXCLUDED.rev
            RETURNING 1
        )
        SELECT count(*) AS "applied!" FROM written"#,
        Json(rows) as _,
        indexed_at
    )
    .fetch_one(&mut *connection)
    .await?;
    let applied = u64::try_from(applied).unwrap_or_default();
    let anomalies = if applied < rows.len() as u64 { count_anomalies(connection, rows).await? } else { 0 };
    Ok(Written { applied, anomalies })
}

/// Counts the rows that stand in the table with the same rev and another CID.
async fn count_anomalies(connection: &mut PgConnection, rows: &[ProfileRow<'_>]) -> sqlx::Result<u64> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM json_to_recordset($1::json) AS r (actor_id bigint, rev bigint, cid text)
        JOIN profiles p ON p.actor_id = r.actor_id AND p.rev = r.rev
            AND p.cid IS DISTINCT FROM decode(r.cid, 'hex')"#,
        Json(rows) as _
    )
    .fetch_one(connection)
    .await?;
    Ok(u64::try_from(count).unwrap_or_default())
}

/// What the index holds of one repo, live or tombstone: a part of the statement of [`super::load_held`].
pub(super) const HELD: &str =
    "SELECT NULL::bigint, NULL::text, rev, NULL::bigint, cid FROM profiles WHERE actor_id = actor.id";

/// The greatest rev that the index holds of one repo.
pub async fn find_newest_rev(connection: &mut PgConnection, actor_id: ActorId) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!("SELECT max(rev) FROM profiles WHERE actor_id = $1", actor_id.number())
        .fetch_one(connection)
        .await
}

/// Puts rows to a lower rev.
pub(super) async fn lower_revs(connection: &mut PgConnection, change: ChangedRevs<'_>) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE profiles SET rev = $3 WHERE actor_id = $1 AND rev = ANY ($2)",
        change.actor_id.number(),
        change.revs,
        change.to.number()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes the row of one repo. Answers how many there were.
pub async fn purge(connection: &mut PgConnection, repo: RepoUpTo) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "DELETE FROM profiles WHERE actor_id = $1 AND rev <= $2",
        repo.actor_id.number(),
        repo.rev.number()
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// How many are live.
pub async fn count(connection: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM profiles WHERE cid IS NOT NULL"#)
        .fetch_one(connection)
        .await
}
