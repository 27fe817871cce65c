//! Likes: one row per path, live or tombstone. The counts follow by the triggers of migration 2.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Written;

/// Rows as columns, for UNNEST. Each path at most once. A row without a subject is a tombstone.
#[derive(Debug, Default)]
pub struct LikeRows {
    actor_ids: Vec<i64>,
    rkeys: Vec<i64>,
    revs: Vec<i64>,
    subject_ids: Vec<Option<i64>>,
    subject_cid_ids: Vec<Option<i64>>,
    sort_ats: Vec<Option<DateTime<Utc>>>,
    created_ats: Vec<Option<DateTime<Utc>>>,
    cids: Vec<Option<Uuid>>,
}

/// One path and its rev.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LikePath {
    /// The liker.
    pub actor_id: i64,
    /// The record key, a TID.
    pub rkey: i64,
    /// The commit's rev.
    pub rev: i64,
}

/// What a live row says.
#[derive(Debug, Clone, Copy)]
pub struct LiveLike {
    /// The track.
    pub subject_id: i64,
    /// The version of the track.
    pub subject_cid_id: i64,
    /// What orders pages: the earlier of `created_at` and the time of the rev.
    pub sort_at: DateTime<Utc>,
    /// What the record says.
    pub created_at: DateTime<Utc>,
    /// The first half of the record's digest.
    pub cid: Uuid,
}

impl LikeRows {
    /// Adds a row.
    pub fn push(&mut self, path: LikePath, live: Option<LiveLike>) {
        self.actor_ids.push(path.actor_id);
        self.rkeys.push(path.rkey);
        self.revs.push(path.rev);
        self.subject_ids.push(live.map(|like| like.subject_id));
        self.subject_cid_ids.push(live.map(|like| like.subject_cid_id));
        self.sort_ats.push(live.map(|like| like.sort_at));
        self.created_ats.push(live.map(|like| like.created_at));
        self.cids.push(live.map(|like| like.cid));
    }

    fn len(&self) -> usize {
        self.revs.len()
    }

    fn is_empty(&self) -> bool {
        self.revs.is_empty()
    }
}

/// Writes each row whose rev is greater than the one stored at its path, or whose path was never seen.
///
/// Two statements, so that each of the count triggers sees one kind of change. Runs in the transaction of
/// [`super::begin_apply`], whose lock makes the two one.
pub async fn write(connection: &mut PgConnection, rows: &LikeRows, indexed_at: DateTime<Utc>) -> sqlx::Result<Written> {
    if rows.is_empty() {
        return Ok(Written::default());
    }
    let inserted = insert_unseen(&mut *connection, rows, indexed_at).await?;
    if inserted == rows.len() as u64 {
        return Ok(Written { applied: inserted, anomalies: 0 });
    }
    let updated = update_older(connection, rows, indexed_at).await?;
    Ok(Written { applied: inserted + updated.applied, anomalies: updated.anomalies })
}

async fn insert_unseen(connection: &mut PgConnection, rows: &LikeRows, indexed_at: DateTime<Utc>) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "INSERT INTO likes (actor_id, rkey, rev, subject_id, subject_cid_id, sort_at, created_at, cid, indexed_at)
        SELECT r.*, $9 FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],
            $6::timestamptz[], $7::timestamptz[], $8::uuid[]) AS r
        ON CONFLICT (actor_id, rkey) DO NOTHING",
        &rows.actor_ids,
        &rows.rkeys,
        &rows.revs,
        &rows.subject_ids as &[Option<i64>],
        &rows.subject_cid_ids as &[Option<i64>],
        &rows.sort_ats as &[Option<DateTime<Utc>>],
        &rows.created_ats as &[Option<DateTime<Utc>>],
        &rows.cids as &[Option<Uuid>],
        indexed_at
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

async fn update_older(
    connection: &mut PgConnection,
    rows: &LikeRows,
    indexed_at: DateTime<Utc>,
) -> sqlx::Result<Written> {
    let done = sqlx::query!(
        r#"WITH rows AS (
            SELECT * FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],
                $6::timestamptz[], $7::timestamptz[], $8::uuid[])
                AS r (actor_id, rkey, rev, subject_id, subject_cid_id, sort_at, created_at, cid)
        ), written AS (
            UPDATE likes l SET rev = r.rev, subject_id = r.subject_id, subject_cid_id = r.subject_cid_id,
                sort_at = r.sort_at, created_at = r.created_at, cid = r.cid, indexed_at = $9
            FROM rows r WHERE l.actor_id = r.actor_id AND l.rkey = r.rkey AND l.rev < r.rev
            RETURNING 1
        )
        SELECT (SELECT count(*) FROM written) AS "applied!",
            (SELECT count(*) FROM rows r JOIN likes l ON l.actor_id = r.actor_id AND l.rkey = r.rkey AND l.rev = r.rev
                AND l.cid IS DISTINCT FROM r.cid) AS "anomalies!""#,
        &rows.actor_ids,
        &rows.rkeys,
        &rows.revs,
        &rows.subject_ids as &[Option<i64>],
        &rows.subject_cid_ids as &[Option<i64>],
        &rows.sort_ats as &[Option<DateTime<Utc>>],
        &rows.created_ats as &[Option<DateTime<Utc>>],
        &rows.cids as &[Option<Uuid>],
        indexed_at
    )
    .fetch_one(connection)
    .await?;
    Ok(Written::of(done.applied, done.anomalies))
}
