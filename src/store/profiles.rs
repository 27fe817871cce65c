//! Profiles: one row per actor, live or tombstone.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, types::Json};

use super::Written;

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
    let done = sqlx::query!(
        r#"WITH rows AS (
            SELECT * FROM jsonb_to_recordset($1::jsonb) AS r (
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
        SELECT (SELECT count(*) FROM written) AS "applied!",
            (SELECT count(*) FROM rows r JOIN profiles p ON p.actor_id = r.actor_id AND p.rev = r.rev
                AND p.cid IS DISTINCT FROM decode(r.cid, 'hex')) AS "anomalies!""#,
        Json(rows) as _,
        indexed_at
    )
    .fetch_one(connection)
    .await?;
    Ok(Written::of(done.applied, done.anomalies))
}
