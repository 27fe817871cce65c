//! The last commit of each of our collections that each source delivered.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::model::{Collection, PositionKind};

/// A commit of one collection that a source delivered.
#[derive(Debug, Clone, Copy)]
pub struct Delivered<'a> {
    /// The source's name.
    pub source: &'a str,
    /// Of what.
    pub collection: Collection,
    /// The number space.
    pub kind: PositionKind,
    /// The number.
    pub value: i64,
    /// When the upstream saw the message.
    pub event_at: Option<DateTime<Utc>>,
}

/// Stores what was delivered last, in the transaction of the rows: also an earlier message than the one that is stored, while a
/// source is read again. Each source and collection at most once.
pub async fn write(connection: &mut PgConnection, rows: &[Delivered<'_>], now: DateTime<Utc>) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO last_delivered (source, collection, kind, value, event_at, delivered_at)
        SELECT source, collection, kind, value, event_at, $6
        FROM UNNEST($1::text[], $2::text[], $3::text[], $4::bigint[], $5::timestamptz[])
            AS new (source, collection, kind, value, event_at)
        ON CONFLICT (source, collection) DO UPDATE SET kind = EXCLUDED.kind, value = EXCLUDED.value,
            event_at = EXCLUDED.event_at, delivered_at = EXCLUDED.delivered_at",
        &rows.iter().map(|row| row.source).collect::<Vec<_>>() as &[&str],
        &rows.iter().map(|row| row.collection.suffix()).collect::<Vec<_>>() as &[&str],
        &rows.iter().map(|row| row.kind.as_str()).collect::<Vec<_>>() as &[&str],
        &rows.iter().map(|row| row.value).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.event_at).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Where a source delivered something last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastDelivered {
    /// The number, in the number space of the source.
    pub value: i64,
    /// When the upstream saw the message.
    pub event_at: Option<DateTime<Utc>>,
}

/// The earliest of what a source delivered last of some collections; none where it never delivered one of them.
pub async fn find(
    connection: &mut PgConnection,
    source: &str,
    collections: &[&str],
) -> sqlx::Result<Option<LastDelivered>> {
    let rows = sqlx::query_as!(
        LastDelivered,
        "SELECT value, event_at FROM last_delivered WHERE source = $1 AND collection = ANY ($2) ORDER BY value",
        source,
        collections as &[&str]
    )
    .fetch_all(connection)
    .await?;
    Ok(if rows.len() == collections.len() { rows.into_iter().next() } else { None })
}
