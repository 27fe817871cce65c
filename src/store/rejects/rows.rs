//! Rejects: what was refused, why, and the bytes to try again with.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    atproto::{Cid, Did},
    model::{RejectReason, UntrustedText},
};

/// A reject to store. Fields as in the table.
#[derive(Debug)]
#[expect(missing_docs, reason = "the migration says what each column is")]
pub struct NewReject<'a> {
    pub digest: [u8; 32],
    pub source: &'a str,
    pub kind: Option<&'a str>,
    pub position: Option<i64>,
    pub reason: &'a str,
    pub field: Option<UntrustedText>,
    pub detail: UntrustedText,
    pub did: Option<&'a str>,
    pub collection: Option<&'a str>,
    pub rkey: Option<&'a str>,
    pub rev: Option<i64>,
    pub cid: Option<Vec<u8>>,
    pub raw_format: &'a str,
    pub raw: &'a [u8],
    pub raw_length: i64,
}

/// Stores rejects in one statement, but those that are there, or whose account was deleted since. Answers how many were new.
pub async fn insert(connection: &mut PgConnection, rejects: &[NewReject<'_>], at: DateTime<Utc>) -> sqlx::Result<u64> {
    if rejects.is_empty() {
        return Ok(0);
    }
    let done = sqlx::query!(
        "INSERT INTO rejects (digest, source, kind, position, reason, field, detail, did, collection, rkey, rev, cid,
            raw_format, raw, raw_length, at)
        SELECT r.*, $16 FROM UNNEST($1::bytea[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[],
            $9::text[], $10::text[], $11::bigint[], $12::bytea[], $13::text[], $14::bytea[], $15::bigint[])
            AS r (digest, source, kind, position, reason, field, detail, did, collection, rkey, rev, cid, raw_format, raw, raw_length)
        WHERE NOT EXISTS (
            SELECT FROM account_tombstones t JOIN actors a ON a.id = t.actor_id WHERE a.did = r.did AND t.rev >= r.rev
        ) ON CONFLICT (digest) DO NOTHING",
        &rejects.iter().map(|reject| reject.digest.as_slice()).collect::<Vec<_>>() as &[&[u8]],
        &rejects.iter().map(|reject| reject.source).collect::<Vec<_>>() as &[&str],
        &rejects.iter().map(|reject| reject.kind).collect::<Vec<_>>() as &[Option<&str>],
        &rejects.iter().map(|reject| reject.position).collect::<Vec<_>>() as &[Option<i64>],
        &rejects.iter().map(|reject| reject.reason).collect::<Vec<_>>() as &[&str],
        &rejects.iter().map(|reject| reject.field.as_ref().map(UntrustedText::as_str)).collect::<Vec<_>>() as &[Option<&str>],
        &rejects.iter().map(|reject| reject.detail.as_str()).collect::<Vec<_>>() as &[&str],
        &rejects.iter().map(|reject| reject.did).collect::<Vec<_>>() as &[Option<&str>],
        &rejects.iter().map(|reject| reject.collection).collect::<Vec<_>>() as &[Option<&str>],
        &rejects.iter().map(|reject| reject.rkey).collect::<Vec<_>>() as &[Option<&str>],
        &rejects.iter().map(|reject| reject.rev).collect::<Vec<_>>() as &[Option<i64>],
        &rejects.iter().map(|reject| reject.cid.as_deref()).collect::<Vec<_>>() as &[Option<&[u8]>],
        &rejects.iter().map(|reject| reject.raw_format).collect::<Vec<_>>() as &[&str],
        &rejects.iter().map(|reject| reject.raw).collect::<Vec<_>>() as &[&[u8]],
        &rejects.iter().map(|reject| reject.raw_length).collect::<Vec<_>>(),
        at
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
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

/// A record that was refused.
#[derive(Debug, Clone)]
pub struct RefusedRecord {
    /// The NSID of its collection.
    pub collection: String,
    /// Its key.
    pub rkey: String,
    /// Its version.
    pub cid: Cid,
}

/// The records of one repo that were refused because of what they hold: their versions need not be read again.
pub async fn list_refused(connection: &mut PgConnection, did: &Did) -> sqlx::Result<Vec<RefusedRecord>> {
    let reasons = RejectReason::ALL.iter().filter(|reason| !reason.is_of_delivery()).map(|reason| reason.as_str());
    let reasons: Vec<&str> = reasons.collect();
    let rows = sqlx::query!(
        r#"SELECT collection AS "collection!", rkey AS "rkey!", cid AS "cid!" FROM rejects
        WHERE did = $1 AND reason = ANY ($2) AND collection IS NOT NULL AND rkey IS NOT NULL AND cid IS NOT NULL"#,
        did.as_str(),
        &reasons as &[&str]
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let cid = Cid::from_bytes(&row.cid).map_err(|error| sqlx::Error::Decode(error.into()))?;
            Ok(RefusedRecord { collection: row.collection, rkey: row.rkey, cid })
        })
        .collect()
}
