//! Rejects, as the operator sees them.

use sqlx::PgConnection;

use crate::atproto::Timestamp;

/// A reject as the operator sees it in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectView {
    /// Its number.
    pub id: i64,
    /// Why, in one word.
    pub reason: String,
    /// The field at fault.
    pub field: Option<String>,
    /// Why, in one sentence.
    pub detail: String,
    /// Where it came from.
    pub source: String,
    /// Which number it had there.
    pub position: Option<i64>,
    /// Whose record it is, where that could be read.
    pub did: Option<String>,
    /// The record's collection, as the last part of its NSID.
    pub collection: Option<String>,
    /// The record's key.
    pub rkey: Option<String>,
    /// When it was refused.
    pub at: Timestamp,
}

/// What was refused, in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectRaw {
    /// How to read the bytes.
    pub format: String,
    /// The bytes, perhaps cut.
    pub bytes: Vec<u8>,
    /// How many there were.
    pub length: i64,
}

/// The newest rejects: of one number, of one reason, or all.
pub async fn list_rejects(
    connection: &mut PgConnection,
    id: Option<i64>,
    reason: Option<&str>,
    limit: i64,
) -> sqlx::Result<Vec<RejectView>> {
    let rows = sqlx::query!(
        "SELECT id, reason, field, detail, source, position, did, collection, rkey, at FROM rejects
        WHERE ($1::bigint IS NULL OR id = $1) AND ($2::text IS NULL OR reason = $2) ORDER BY id DESC LIMIT $3",
        id,
        reason,
        limit
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| RejectView {
            id: row.id,
            reason: row.reason,
            field: row.field,
            detail: row.detail,
            source: row.source,
            position: row.position,
            did: row.did,
            collection: row.collection,
            rkey: row.rkey,
            at: Timestamp::from_utc(row.at),
        })
        .collect())
}

/// The bytes of one reject.
pub async fn find_reject_raw(connection: &mut PgConnection, id: i64) -> sqlx::Result<Option<RejectRaw>> {
    sqlx::query_as!(
        RejectRaw,
        "SELECT raw_format AS format, raw AS bytes, raw_length AS length FROM rejects WHERE id = $1",
        id
    )
    .fetch_optional(connection)
    .await
}
