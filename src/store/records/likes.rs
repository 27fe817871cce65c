//! Likes: one row per path, live or tombstone. The counts follow by the triggers of migration 2.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::held::{ChangedRevs, RepoUpTo};
use crate::{
    atproto::Tid,
    model::{ActorId, CidId, TrackId},
    store::{Written, place},
};

/// One path and what it comes to.
#[derive(Debug, Clone, Copy)]
pub struct LikeRow {
    /// The liker.
    pub actor_id: ActorId,
    /// The record key, a TID.
    pub rkey: Tid,
    /// The commit's rev.
    pub rev: Tid,
    /// What the record says; none for a tombstone.
    pub live: Option<LiveLike>,
}

/// What a live row says.
#[derive(Debug, Clone, Copy)]
pub struct LiveLike {
    /// The track.
    pub subject_id: TrackId,
    /// The version of the track.
    pub subject_cid_id: CidId,
    /// What orders pages: the earlier of `created_at` and the time of the rev.
    pub sort_at: DateTime<Utc>,
    /// What the record says.
    pub created_at: DateTime<Utc>,
    /// The first eight bytes of the record's digest.
    pub cid: i64,
}

/// Writes each row whose path was never seen, or whose rev is greater than the one stored there. Each path at most once.
///
/// Runs in the transaction of [`crate::store::begin_apply`], whose lock keeps the paths as they were found. What is new is copied, the
/// rest updated: each of the count triggers sees one kind of change.
pub async fn write(
    connection: &mut PgConnection,
    rows: &[LikeRow],
    indexed_at: DateTime<Utc>,
) -> sqlx::Result<Written> {
    if rows.is_empty() {
        return Ok(Written::default());
    }
    // Neighbours in three of the indexes are written one after the other, which saves a quarter of the time.
    let mut rows = rows.to_vec();
    rows.sort_unstable_by_key(|row| (row.actor_id, row.rkey));
    let mut is_seen = vec![false; rows.len()];
    for at in load_seen(connection, &rows).await? {
        is_seen[at] = true;
    }
    let unseen = || rows.iter().zip(&is_seen).filter(|(_, is_seen)| !**is_seen).map(|(row, _)| row);
    let seen: Vec<LikeRow> = rows.iter().zip(&is_seen).filter(|(_, is_seen)| **is_seen).map(|(row, _)| *row).collect();
    let mut written = Written::default();
    if seen.len() < rows.len() {
        written += copy(connection, unseen(), indexed_at).await?;
    }
    written += update_older(connection, &seen, indexed_at).await?;
    Ok(written)
}

/// The places of those rows whose path has a row.
async fn load_seen(connection: &mut PgConnection, rows: &[LikeRow]) -> sqlx::Result<Vec<usize>> {
    let (actor_ids, rkeys): (Vec<i64>, Vec<i64>) =
        rows.iter().map(|row| (row.actor_id.number(), row.rkey.number())).unzip();
    let places = sqlx::query_scalar!(
        r#"SELECT r.place AS "place!" FROM UNNEST($1::bigint[], $2::bigint[]) WITH ORDINALITY AS r (actor_id, rkey, place)
        JOIN likes l ON l.actor_id = r.actor_id AND l.rkey = r.rkey"#,
        &actor_ids,
        &rkeys
    )
    .fetch_all(connection)
    .await?;
    Ok(places.into_iter().map(place).collect())
}

/// Inserts rows by COPY, which writes a page at a time where INSERT writes a row. They go in pieces: the server writes one while
/// the next is put together.
async fn copy(
    connection: &mut PgConnection,
    rows: impl Iterator<Item = &LikeRow>,
    indexed_at: DateTime<Utc>,
) -> sqlx::Result<Written> {
    let mut copy = connection
        .copy_in_raw(
            "COPY likes (actor_id, rkey, rev, indexed_at, subject_id, subject_cid_id, sort_at, created_at, cid)
            FROM STDIN (FORMAT binary)",
        )
        .await?;
    let mut lines = CopyLines::new();
    for row in rows {
        if lines.0.len() > PIECE_LENGTH {
            copy.send(lines.0.as_slice()).await?;
            lines.0.clear();
        }
        lines.push(row, indexed_at);
    }
    lines.finish();
    copy.send(lines.0.as_slice()).await?;
    let applied = copy.finish().await?;
    Ok(Written { applied, anomalies: 0 })
}

/// Rows in the binary format of COPY, <https://www.postgresql.org/docs/current/sql-copy.html>.
struct CopyLines(Vec<u8>);

/// Columns in a row.
const COLUMNS: i16 = 9;
/// Bytes after which a piece is sent.
const PIECE_LENGTH: usize = 64 * 1024;
/// Microseconds from 1970 to 2000, where Postgres begins to count.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

impl CopyLines {
    fn new() -> Self {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(b"PGCOPY\n\xff\r\n\0");
        // Neither flags nor an extension of the header.
        bytes.extend_from_slice(&[0; 8]);
        Self(bytes)
    }

    fn push(&mut self, row: &LikeRow, indexed_at: DateTime<Utc>) {
        self.0.extend_from_slice(&COLUMNS.to_be_bytes());
        for number in [row.actor_id.number(), row.rkey.number(), row.rev.number()] {
            self.number(Some(number));
        }
        self.time(Some(indexed_at));
        let live = row.live.as_ref();
        self.number(live.map(|like| like.subject_id.number()));
        self.number(live.map(|like| like.subject_cid_id.number()));
        self.time(live.map(|like| like.sort_at));
        self.time(live.map(|like| like.created_at));
        self.number(live.map(|like| like.cid));
    }

    /// A field is its length and its bytes; a length of -1 stands for null.
    fn number(&mut self, number: Option<i64>) {
        if let Some(number) = number {
            self.0.extend_from_slice(&8_i32.to_be_bytes());
            self.0.extend_from_slice(&number.to_be_bytes());
        } else {
            self.0.extend_from_slice(&(-1_i32).to_be_bytes());
        }
    }

    fn time(&mut self, time: Option<DateTime<Utc>>) {
        self.number(time.map(|time| time.timestamp_micros() - POSTGRES_EPOCH_US));
    }

    fn finish(&mut self) {
        self.0.extend_from_slice(&(-1_i16).to_be_bytes());
    }
}

/// Writes each row whose rev is greater than the one stored.
async fn update_older(
    connection: &mut PgConnection,
    rows: &[LikeRow],
    indexed_at: DateTime<Utc>,
) -> sqlx::Result<Written> {
    if rows.is_empty() {
        return Ok(Written::default());
    }
    let numbers = |read: fn(&LikeRow) -> i64| rows.iter().map(read).collect::<Vec<i64>>();
    let live = |read: fn(&LiveLike) -> i64| rows.iter().map(|row| row.live.as_ref().map(read)).collect::<Vec<_>>();
    let times = |read: fn(&LiveLike) -> DateTime<Utc>| {
        rows.iter().map(|row| row.live.as_ref().map(read)).collect::<Vec<Option<DateTime<Utc>>>>()
    };
    let done = sqlx::query!(
        r#"WITH rows AS (
            SELECT unnest($1::bigint[]) AS actor_id, unnest($2::bigint[]) AS rkey, unnest($3::bigint[]) AS rev,
                unnest($4::bigint[]) AS subject_id, unnest($5::bigint[]) AS subject_cid_id,
                unnest($6::timestamptz[]) AS sort_at, unnest($7::timestamptz[]) AS created_at, unnest($8::bigint[]) AS cid
        ), written AS (
            UPDATE likes l SET rev = r.rev, subject_id = r.subject_id, subject_cid_id = r.subject_cid_id,
                sort_at = r.sort_at, created_at = r.created_at, cid = r.cid, indexed_at = $9
            FROM rows r WHERE l.actor_id = r.actor_id AND l.rkey = r.rkey AND l.rev < r.rev
            RETURNING 1
        )
        SELECT (SELECT count(*) FROM written) AS "applied!",
            (SELECT count(*) FROM rows r JOIN likes l ON l.actor_id = r.actor_id AND l.rkey = r.rkey AND l.rev = r.rev
                AND l.cid IS DISTINCT FROM r.cid) AS "anomalies!""#,
        &numbers(|row| row.actor_id.number()),
        &numbers(|row| row.rkey.number()),
        &numbers(|row| row.rev.number()),
        &live(|like| like.subject_id.number()) as &[Option<i64>],
        &live(|like| like.subject_cid_id.number()) as &[Option<i64>],
        &times(|like| like.sort_at) as &[Option<DateTime<Utc>>],
        &times(|like| like.created_at) as &[Option<DateTime<Utc>>],
        &live(|like| like.cid) as &[Option<i64>],
        indexed_at
    )
    .fetch_one(connection)
    .await?;
    Ok(Written::of(done.applied, done.anomalies))
}

/// What the index holds of one repo, live or tombstone: a part of the statement of [`super::load_held`].
pub(super) const HELD: &str = "SELECT rkey, NULL::text, rev, cid, NULL::bytea FROM likes WHERE actor_id = actor.id";

/// The greatest rev that the index holds of one repo.
pub async fn find_newest_rev(connection: &mut PgConnection, actor_id: ActorId) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!("SELECT max(rev) FROM likes WHERE actor_id = $1", actor_id.number()).fetch_one(connection).await
}

/// Puts rows to a lower rev, and with them what is kept of an actor with many likes.
pub(super) async fn lower_revs(connection: &mut PgConnection, change: ChangedRevs<'_>) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE likes SET rev = $3 WHERE actor_id = $1 AND rev = ANY ($2)",
        change.actor_id.number(),
        change.revs,
        change.to.number()
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE many_likers SET newest_rev = (SELECT max(rev) FROM likes WHERE actor_id = $1) WHERE actor_id = $1",
        change.actor_id.number()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes at most `rows_max` rows of one repo. Answers how many there were.
pub async fn purge(connection: &mut PgConnection, repo: RepoUpTo, rows_max: i64) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "DELETE FROM likes WHERE actor_id = $1 AND rkey = ANY (
            ARRAY(SELECT rkey FROM likes WHERE actor_id = $1 AND rev <= $2 LIMIT $3)
        )",
        repo.actor_id.number(),
        repo.rev.number(),
        rows_max
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// How many are live.
pub async fn count(connection: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM likes WHERE subject_id IS NOT NULL"#)
        .fetch_one(connection)
        .await
}
