//! Lists: one row per path, live or tombstone, with the items in the owner's order.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, types::Json};

use super::Written;

/// A list's record, or, where `cid` is none, the news that it is gone. Fields as in the table.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the lexicon says what each field is")]
pub struct ListRow<'a> {
    pub actor_id: i64,
    pub rkey: i64,
    pub rev: i64,
    pub sort_at: Option<DateTime<Utc>>,
    pub created_at: Option<DateTime<Utc>>,
    pub updated_at: Option<DateTime<Utc>>,
    /// The binary CID in hexadecimal.
    pub cid: Option<String>,
    pub name: Option<&'a str>,
    pub list_type: Option<&'a str>,
    pub item_uris: Vec<String>,
    pub item_cids: Vec<String>,
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
    let applied = sqlx::query_scalar!(
        r#"WITH rows AS (
            SELECT * FROM json_to_recordset($1::json) AS r (
                actor_id bigint, rkey bigint, rev bigint, sort_at timestamptz, created_at timestamptz,
                updated_at timestamptz, cid text, name text, list_type text, item_uris text[], item_cids text[])
        ), written AS (
            INSERT INTO lists AS l (actor_id, rkey, rev, sort_at, created_at, updated_at, cid, name, list_type,
                item_uris, item_cids, indexed_at)
            SELECT actor_id, rkey, rev, sort_at, created_at, updated_at, decode(cid, 'hex'), name, list_type,
                item_uris, item_cids, $2 FROM rows
            ON CONFLICT (actor_id, rkey) DO UPDATE SET rev = EXCLUDED.rev, sort_at = EXCLUDED.sort_at,
                created_at = EXCLUDED.created_at, updated_at = EXCLUDED.updated_at, cid = EXCLUDED.cid,
                name = EXCLUDED.name, list_type = EXCLUDED.list_type, item_uris = EXCLUDED.item_uris,
                item_cids = EXCLUDED.item_cids, indexed_at = EXCLUDED.indexed_at
            WHERE l.rev < EXCLUDED.rev
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
async fn count_anomalies(connection: &mut PgConnection, rows: &[ListRow<'_>]) -> sqlx::Result<u64> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM json_to_recordset($1::json) AS r (actor_id bigint, rkey bigint, rev bigint, cid text)
        JOIN lists l ON l.actor_id = r.actor_id AND l.rkey = r.rkey AND l.rev = r.rev
            AND l.cid IS DISTINCT FROM decode(r.cid, 'hex')"#,
        Json(rows) as _
    )
    .fetch_one(connection)
    .await?;
    Ok(u64::try_from(count).unwrap_or_default())
}
