//! The last commit of each of our collections that each source delivered.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// Proofs to store, each (source, collection) at most once.
#[derive(Debug, Default)]
pub struct NewProofs<'a> {
    /// The sources' names.
    pub sources: Vec<&'a str>,
    /// The collections, without their namespace.
    pub collections: Vec<&'a str>,
    /// The number spaces.
    pub kinds: Vec<&'a str>,
    /// The numbers.
    pub values: Vec<i64>,
    /// When the upstream saw the messages.
    pub times: Vec<Option<DateTime<Utc>>>,
}

/// Stores proofs, in the transaction of the rows. What was proven last stands, also while a source is read again.
pub async fn write(connection: &mut PgConnection, proofs: &NewProofs<'_>, now: DateTime<Utc>) -> sqlx::Result<()> {
    if proofs.sources.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO last_delivered (source, collection, kind, value, event_at, delivered_at)
        SELECT source, collection, kind, value, event_at, $6
        FROM UNNEST($1::text[], $2::text[], $3::text[], $4::bigint[], $5::timestamptz[])
            AS new (source, collection, kind, value, event_at)
        ON CONFLICT (source, collection) DO UPDATE SET kind = EXCLUDED.kind, value = EXCLUDED.value,
            event_at = EXCLUDED.event_at, delivered_at = EXCLUDED.delivered_at",
        &proofs.sources as &[&str],
        &proofs.collections as &[&str],
        &proofs.kinds as &[&str],
        &proofs.values,
        &proofs.times as &[Option<DateTime<Utc>>],
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A proof as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredProof {
    /// The number space.
    pub kind: String,
    /// The number.
    pub value: i64,
    /// When the upstream saw the message.
    pub event_at: Option<DateTime<Utc>>,
}

/// The earliest of a source's last proofs for some collections; none where one of them was never delivered.
pub async fn find(
    connection: &mut PgConnection,
    source: &str,
    collections: &[&str],
) -> sqlx::Result<Option<StoredProof>> {
    let rows = sqlx::query_as!(
        StoredProof,
        "SELECT kind, value, event_at FROM last_delivered WHERE source = $1 AND collection = ANY ($2) ORDER BY value",
        source,
        collections as &[&str]
    )
    .fetch_all(connection)
    .await?;
    Ok(if rows.len() == collections.len() { rows.into_iter().next() } else { None })
}
