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

/// Writes live rows: each whose path was never seen, or whose rev is greater than the one stored there.
///
/// Most puts are of paths never seen, so inserting comes first. It and the update are two statements, so that each of the
/// count triggers sees one kind of change; the lock of [`super::begin_apply`] makes the two one.
pub async fn write_puts(
    connection: &mut PgConnection,
    rows: &LikeRows,
    indexed_at: DateTime<Utc>,
) -> sqlx::Result<Written> {
    if rows.is_empty() {
        return Ok(Written::default());
    }
    let inserted = insert_unseen(connection, rows, indexed_at).await?;
    if inserted == rows.len() as u64 {
        return Ok(Written { applied: inserted, anomalies: 0 });
    }
    let mut written = update_older(connection, rows, indexed_at).await?;
    written.applied += inserted;
    Ok(written)
}

/// Writes tombstones: over each row whose rev is smaller, and at each path never seen. Most deletes are of paths that are
/// there, so updating comes first.
pub async fn write_deletes(
    connection: &mut PgConnection,
    rows: &LikeRows,
    indexed_at: DateTime<Utc>,
) -> sqlx::Result<Written> {
    if rows.is_empty() {
        return Ok(Written::default());
    }
    let mut written = update_older(connection, rows, indexed_at).await?;
    if written.applied < rows.len() as u64 {
        written.applied += insert_unseen(connection, rows, indexed_at).await?;
    }
    Ok(written)
}

async fn insert_unseen(connection: &mut PgConnection, rows: &LikeRows, indexed_at: DateTime<Utc>) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "INSERT INTO likes (actor_id, rkey, rev, subject_id, subject_cid_id, sort_at, created_at, cid, indexed_at)
        SELECT unnest($1::bigint[]) AS actor_id, unnest($2::bigint[]) AS rkey, unnest($3::bigint[]) AS rev,
            unnest($4::bigint[]) AS subject_id, unnest($5::bigint[]) AS subject_cid_id,
            unnest($6::timestamptz[]) AS sort_at, unnest($7::timestamptz[]) AS created_at, unnest($8::uuid[]) AS cid, $9
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
            SELECT unnest($1::bigint[]) AS actor_id, unnest($2::bigint[]) AS rkey, unnest($3::bigint[]) AS rev,
                unnest($4::bigint[]) AS subject_id, unnest($5::bigint[]) AS subject_cid_id,
                unnest($6::timestamptz[]) AS sort_at, unnest($7::timestamptz[]) AS created_at, unnest($8::uuid[]) AS cid
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
