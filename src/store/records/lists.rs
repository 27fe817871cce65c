//! Lists: one row per path, live or tombstone, with the items in the owner's order.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::held::{ChangedRevs, RepoUpTo};
use crate::{atproto::Tid, model::ActorId, store::Written};

/// One path and what it comes to.
#[derive(Debug)]
pub struct ListRow<'a> {
    /// The owner.
    pub actor_id: ActorId,
    /// The record key, a TID.
    pub rkey: Tid,
    /// The commit's rev.
    pub rev: Tid,
    /// What the record says; none for a tombstone.
    pub live: Option<LiveList<'a>>,
}

/// What a live row says. Fields as in the table.
#[derive(Debug)]
#[expect(missing_docs, reason = "the lexicon says what each field is")]
pub struct LiveList<'a> {
    /// What orders pages: the earlier of `created_at` and the time of the rev.
    pub sort_at: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
    pub updated_at: Option<DateTime<Utc>>,
    /// The binary CID.
    pub cid: Vec<u8>,
    pub name: Option<&'a str>,
    pub list_type: Option<&'a str>,
    /// In order, a line each: neither a URI nor a CID holds a line break.
    pub item_uris: String,
    /// Likewise.
    pub item_cids: String,
}

/// Writes each row whose rev is greater than the one stored at its path. Each path at most once.
pub async fn write(
    connection: &mut PgConnection,
    rows: &[ListRow<'_>],
    indexed_at: DateTime<Utc>,
) -> sqlx::Result<Written> {
    if rows.is_empty() {
        return Ok(Written::default());
    }
    let live = || rows.iter().map(|row| row.live.as_ref());
    let done = sqlx::query!(
        "INSERT INTO lists AS l (actor_id, rkey, rev, sort_at, created_at, updated_at, cid, name, list_type,
            item_uris, item_cids, indexed_at)
        SELECT r.actor_id, r.rkey, r.rev, r.sort_at, r.created_at, r.updated_at, r.cid, r.name, r.list_type,
            string_to_array(r.item_uris, E'\\n'), string_to_array(r.item_cids, E'\\n'), $12
        FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[],
            $7::bytea[], $8::text[], $9::text[], $10::text[], $11::text[])
            AS r (actor_id, rkey, rev, sort_at, created_at, updated_at, cid, name, list_type, item_uris, item_cids)
        ON CONFLICT (actor_id, rkey) DO UPDATE SET rev = EXCLUDED.rev, sort_at = EXCLUDED.sort_at,
            created_at = EXCLUDED.created_at, updated_at = EXCLUDED.updated_at, cid = EXCLUDED.cid,
            name = EXCLUDED.name, list_type = EXCLUDED.list_type, item_uris = EXCLUDED.item_uris,
            item_cids = EXCLUDED.item_cids, indexed_at = EXCLUDED.indexed_at
        WHERE l.rev < EXCLUDED.rev",
        &numbers(rows, |row| row.actor_id.number()),
        &numbers(rows, |row| row.rkey.number()),
        &numbers(rows, |row| row.rev.number()),
        &live().map(|list| list.map(|list| list.sort_at)).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        &live().map(|list| list.map(|list| list.created_at)).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        &live().map(|list| list.and_then(|list| list.updated_at)).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        &cids(rows) as &[Option<&[u8]>],
        &live().map(|list| list.and_then(|list| list.name)).collect::<Vec<_>>() as &[Option<&str>],
        &live().map(|list| list.and_then(|list| list.list_type)).collect::<Vec<_>>() as &[Option<&str>],
        &live().map(|list| list.map_or("", |list| &list.item_uris)).collect::<Vec<_>>() as &[&str],
        &live().map(|list| list.map_or("", |list| &list.item_cids)).collect::<Vec<_>>() as &[&str],
        indexed_at
    )
    .execute(&mut *connection)
    .await?;
    let applied = done.rows_affected();
    let anomalies = if applied < rows.len() as u64 { count_anomalies(connection, rows).await? } else { 0 };
    Ok(Written { applied, anomalies })
}

fn numbers(rows: &[ListRow<'_>], read: fn(&ListRow<'_>) -> i64) -> Vec<i64> {
    rows.iter().map(read).collect()
}

fn cids<'r>(rows: &'r [ListRow<'_>]) -> Vec<Option<&'r [u8]>> {
    rows.iter().map(|row| row.live.as_ref().map(|list| list.cid.as_slice())).collect()
}

/// Counts the rows that stand in the table with the same rev and another CID.
async fn count_anomalies(connection: &mut PgConnection, rows: &[ListRow<'_>]) -> sqlx::Result<u64> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[])
            AS r (actor_id, rkey, rev, cid)
        JOIN lists l ON l.actor_id = r.actor_id AND l.rkey = r.rkey AND l.rev = r.rev AND l.cid IS DISTINCT FROM r.cid"#,
        &numbers(rows, |row| row.actor_id.number()),
        &numbers(rows, |row| row.rkey.number()),
        &numbers(rows, |row| row.rev.number()),
        &cids(rows) as &[Option<&[u8]>]
    )
    .fetch_one(connection)
    .await?;
    Ok(u64::try_from(count).unwrap_or_default())
}

/// What the index holds of one repo, live or tombstone: a part of the statement of [`super::load_held`].
pub(super) const HELD: &str = "SELECT rkey, NULL::text, rev, NULL::bigint, cid FROM lists WHERE actor_id = actor.id";

/// The greatest rev that the index holds of one repo.
pub async fn find_newest_rev(connection: &mut PgConnection, actor_id: ActorId) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!("SELECT max(rev) FROM lists WHERE actor_id = $1", actor_id.number()).fetch_one(connection).await
}

/// Puts rows to a lower rev.
pub(super) async fn lower_revs(connection: &mut PgConnection, change: ChangedRevs<'_>) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE lists SET rev = $3 WHERE actor_id = $1 AND rev = ANY ($2)",
        change.actor_id.number(),
        change.revs,
        change.to.number()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes at most `rows_max` rows of one repo. Answers how many there were.
pub async fn purge(connection: &mut PgConnection, repo: RepoUpTo, rows_max: i64) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "DELETE FROM lists WHERE actor_id = $1 AND rkey = ANY (
            ARRAY(SELECT rkey FROM lists WHERE actor_id = $1 AND rev <= $2 LIMIT $3)
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
    sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM lists WHERE cid IS NOT NULL"#).fetch_one(connection).await
}
