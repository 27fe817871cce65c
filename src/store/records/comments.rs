//! Comments: the fifth collection of a test build, whose table the test makes. So these statements are not checked.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::held::{ChangedRevs, RepoUpTo};
use crate::{
    atproto::Tid,
    model::{ActorId, TrackId},
    store::Written,
};

/// The table.
pub const TABLE: &str = "CREATE TABLE comments (
    actor_id bigint, rkey bigint, rev bigint NOT NULL, subject_id bigint, text text, created_at timestamptz,
    cid bigint, indexed_at timestamptz NOT NULL, PRIMARY KEY (actor_id, rkey))";

/// One path and what it comes to.
#[derive(Debug)]
pub struct CommentRow<'a> {
    /// The author.
    pub actor_id: ActorId,
    /// The record key, a TID.
    pub rkey: Tid,
    /// The commit's rev.
    pub rev: Tid,
    /// What the record says; none for a tombstone.
    pub live: Option<LiveComment<'a>>,
}

/// What a live row says.
#[derive(Debug)]
pub struct LiveComment<'a> {
    /// The track.
    pub subject_id: TrackId,
    /// What the author says.
    pub text: &'a str,
    /// What the record says.
    pub created_at: DateTime<Utc>,
    /// The first eight bytes of the record's digest.
    pub cid: i64,
}

/// Writes each row whose rev is greater than the one stored at its path. Each path at most once.
pub async fn write(
    connection: &mut PgConnection,
    rows: &[CommentRow<'_>],
    indexed_at: DateTime<Utc>,
) -> sqlx::Result<Written> {
    let mut written = Written::default();
    for row in rows {
        let live = row.live.as_ref();
        let done = sqlx::query(
            "INSERT INTO comments AS c VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
            ON CONFLICT (actor_id, rkey) DO UPDATE SET rev = EXCLUDED.rev, subject_id = EXCLUDED.subject_id,
                text = EXCLUDED.text, created_at = EXCLUDED.created_at, cid = EXCLUDED.cid
            WHERE c.rev < EXCLUDED.rev",
        )
        .bind(row.actor_id.number())
        .bind(row.rkey.number())
        .bind(row.rev.number())
        .bind(live.map(|comment| comment.subject_id.number()))
        .bind(live.map(|comment| comment.text))
        .bind(live.map(|comment| comment.created_at))
        .bind(live.map(|comment| comment.cid))
        .bind(indexed_at)
        .execute(&mut *connection)
        .await?;
        written.applied += done.rows_affected();
    }
    Ok(written)
}

/// What the index holds of one repo, live or tombstone: a part of the statement of [`super::load_held`].
pub(super) const HELD: &str = "SELECT rkey, NULL::text, rev, cid, NULL::bytea FROM comments WHERE actor_id = actor.id";

/// The greatest rev that the index holds of one repo.
pub async fn find_newest_rev(connection: &mut PgConnection, actor_id: ActorId) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar("SELECT max(rev) FROM comments WHERE actor_id = $1")
        .bind(actor_id.number())
        .fetch_one(connection)
        .await
}

/// Puts rows to a lower rev.
pub(super) async fn lower_revs(connection: &mut PgConnection, change: ChangedRevs<'_>) -> sqlx::Result<()> {
    sqlx::query("UPDATE comments SET rev = $3 WHERE actor_id = $1 AND rev = ANY ($2)")
        .bind(change.actor_id.number())
        .bind(change.revs)
        .bind(change.to.number())
        .execute(connection)
        .await?;
    Ok(())
}

/// Removes at most `rows_max` rows of one repo. Answers how many there were.
pub async fn purge(connection: &mut PgConnection, repo: RepoUpTo, rows_max: i64) -> sqlx::Result<u64> {
    let done = sqlx::query(
        "DELETE FROM comments WHERE actor_id = $1 AND rkey = ANY (
            ARRAY(SELECT rkey FROM comments WHERE actor_id = $1 AND rev <= $2 LIMIT $3))",
    )
    .bind(repo.actor_id.number())
    .bind(repo.rev.number())
    .bind(rows_max)
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// How many are live.
pub async fn count(connection: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT count(*) FROM comments WHERE cid IS NOT NULL").fetch_one(connection).await
}
