//! Rejects: what was refused, why, and the bytes to try again with.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// A reject to store. Fields as in the table.
#[derive(Debug)]
#[expect(missing_docs, reason = "the migration says what each column is")]
pub struct NewReject<'a> {
    pub digest: [u8; 32],
    pub source: &'a str,
    pub kind: Option<&'a str>,
    pub position: Option<i64>,
    pub reason: &'a str,
    pub field: Option<Cow<'a, str>>,
    pub detail: Cow<'a, str>,
    pub did: Option<&'a str>,
    pub collection: Option<&'a str>,
    pub rkey: Option<&'a str>,
    pub rev: Option<i64>,
    pub cid: Option<Vec<u8>>,
    pub raw_format: &'a str,
    pub raw: &'a [u8],
    pub raw_length: i64,
}

/// Stores a reject unless it is there, or its account was deleted since. Answers whether it was new.
pub async fn insert(connection: &mut PgConnection, reject: &NewReject<'_>, at: DateTime<Utc>) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "INSERT INTO rejects (digest, source, kind, position, reason, field, detail, did, collection, rkey, rev, cid,
            raw_format, raw, raw_length, at)
        SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16 WHERE NOT EXISTS (
            SELECT FROM account_tombstones t JOIN actors a ON a.id = t.actor_id WHERE a.did = $8 AND t.rev >= $11
        ) ON CONFLICT (digest) DO NOTHING",
        &reject.digest,
        reject.source,
        reject.kind,
        reject.position,
        reject.reason,
        reject.field.as_deref(),
        &reject.detail,
        reject.did,
        reject.collection,
        reject.rkey,
        reject.rev,
        reject.cid,
        reject.raw_format,
        reject.raw,
        reject.raw_length,
        at
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// What is needed to try a reject again.
#[derive(Debug)]
#[expect(missing_docs, reason = "the migration says what each column is")]
pub struct StoredReject {
    pub id: i64,
    pub reason: String,
    pub source: String,
    pub kind: Option<String>,
    pub position: Option<i64>,
    pub did: Option<String>,
    pub collection: Option<String>,
    pub rkey: Option<String>,
    pub rev: Option<i64>,
    pub cid: Option<Vec<u8>>,
    pub raw_format: String,
    pub raw: Vec<u8>,
    pub raw_length: i64,
}

/// The next rejects after an id, oldest first; only those of `ids` when it is not empty.
pub async fn list_after(
    connection: &mut PgConnection,
    after: i64,
    ids: &[i64],
    limit: i64,
) -> sqlx::Result<Vec<StoredReject>> {
    sqlx::query_as!(
        StoredReject,
        "SELECT id, reason, source, kind, position, did, collection, rkey, rev, cid, raw_format, raw, raw_length FROM rejects
        WHERE id > $1 AND (cardinality($2::bigint[]) = 0 OR id = ANY ($2)) ORDER BY id LIMIT $3",
        after,
        ids,
        limit
    )
    .fetch_all(connection)
    .await
}

/// Removes a reject that has been applied.
pub async fn delete(connection: &mut PgConnection, id: i64) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM rejects WHERE id = $1", id).execute(connection).await?;
    Ok(())
}
