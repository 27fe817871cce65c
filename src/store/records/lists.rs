//! Lists: one row per path, live or tombstone, with the items in the owner's order.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::store::Written;

/// A list's record, or, where `cid` is none, the news that it is gone. Fields as in the table.
#[derive(Debug)]
#[expect(missing_docs, reason = "the lexicon says what each field is")]
pub struct ListRow<'a> {
    pub actor_id: i64,
    pub rkey: i64,
    pub rev: i64,
    pub sort_at: Option<DateTime<Utc>>,
    pub created_at: Option<DateTime<Utc>>,
    pub updated_at: Option<DateTime<Utc>>,
    /// The binary CID.
    pub cid: Option<Vec<u8>>,
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
    let numbers = |read: fn(&ListRow<'_>) -> i64| rows.iter().map(read).collect::<Vec<i64>>();
    let times = |read: fn(&ListRow<'_>) -> Option<DateTime<Utc>>| rows.iter().map(read).collect::<Vec<_>>();
    let cids: Vec<Option<&[u8]>> = rows.iter().map(|row| row.cid.as_deref()).collect();
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
        &numbers(|row| row.actor_id),
        &numbers(|row| row.rkey),
        &numbers(|row| row.rev),
        &times(|row| row.sort_at) as &[Option<DateTime<Utc>>],
        &times(|row| row.created_at) as &[Option<DateTime<Utc>>],
        &times(|row| row.updated_at) as &[Option<DateTime<Utc>>],
        &cids as &[Option<&[u8]>],
        &rows.iter().map(|row| row.name).collect::<Vec<_>>() as &[Option<&str>],
        &rows.iter().map(|row| row.list_type).collect::<Vec<_>>() as &[Option<&str>],
        &rows.iter().map(|row| row.item_uris.as_str()).collect::<Vec<_>>() as &[&str],
        &rows.iter().map(|row| row.item_cids.as_str()).collect::<Vec<_>>() as &[&str],
        indexed_at
    )
    .execute(&mut *connection)
    .await?;
    let applied = done.rows_affected();
    let anomalies = if applied < rows.len() as u64 { count_anomalies(connection, rows).await? } else { 0 };
    Ok(Written { applied, anomalies })
}

/// Counts the rows that stand in the table with the same rev and another CID.
async fn count_anomalies(connection: &mut PgConnection, rows: &[ListRow<'_>]) -> sqlx::Result<u64> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[])
            AS r (actor_id, rkey, rev, cid)
        JOIN lists l ON l.actor_id = r.actor_id AND l.rkey = r.rkey AND l.rev = r.rev AND l.cid IS DISTINCT FROM r.cid"#,
        &rows.iter().map(|row| row.actor_id).collect::<Vec<i64>>(),
        &rows.iter().map(|row| row.rkey).collect::<Vec<i64>>(),
        &rows.iter().map(|row| row.rev).collect::<Vec<i64>>(),
        &rows.iter().map(|row| row.cid.as_deref()).collect::<Vec<_>>() as &[Option<&[u8]>]
    )
    .fetch_one(connection)
    .await?;
    Ok(u64::try_from(count).unwrap_or_default())
}
