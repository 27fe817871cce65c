//! Positions: where we are in each upstream.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::model::PositionKind;

/// One position, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPosition {
    /// The source's name.
    pub source: String,
    /// The number space.
    pub kind: PositionKind,
    /// The number.
    pub value: i64,
    /// When the upstream saw that message.
    pub event_at: Option<DateTime<Utc>>,
    /// When the upstream saw the last message of our collections.
    pub ours_at: Option<DateTime<Utc>>,
    /// Until when nothing more had come, although the upstream answered.
    pub quiet_until: Option<DateTime<Utc>>,
    /// When we stored it.
    pub updated_at: DateTime<Utc>,
    /// Until when the index had all that the upstream had, as far as its follower could know.
    pub complete_until: Option<DateTime<Utc>>,
}

/// A position to store.
#[derive(Debug, Clone, Copy)]
pub struct NewPosition<'a> {
    /// The source's name.
    pub source: &'a str,
    /// The number space.
    pub kind: PositionKind,
    /// The number.
    pub value: i64,
    /// When the upstream saw that message; none keeps what is stored.
    pub event_at: Option<DateTime<Utc>>,
    /// When the upstream saw the last message of our collections; none keeps what is stored.
    pub ours_at: Option<DateTime<Utc>>,
    /// The number takes the place of what is stored, even if that is greater, and so does `event_at`: what was stored is of
    /// no use any more.
    pub restarts: bool,
}

/// Stores one position, in the transaction of the rows that it stands for.
///
/// Microseconds never go back: a Jetstream is asked again from a margin before, and what comes first is then older than what
/// is stored. Sequence numbers are taken as they come, because a server may begin again.
pub async fn write(connection: &mut PgConnection, position: NewPosition<'_>, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO positions AS p (source, kind, value, event_at, last_record_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (source) DO UPDATE SET kind = EXCLUDED.kind,
            value = CASE WHEN EXCLUDED.kind = 'jetstream_v1_us' AND p.kind = EXCLUDED.kind AND NOT $7
                THEN GREATEST(EXCLUDED.value, p.value) ELSE EXCLUDED.value END,
            event_at = CASE WHEN $7 THEN EXCLUDED.event_at ELSE COALESCE(EXCLUDED.event_at, p.event_at) END,
            last_record_at = COALESCE(GREATEST(EXCLUDED.last_record_at, p.last_record_at), p.last_record_at), updated_at = EXCLUDED.updated_at",
        position.source,
        position.kind.as_str(),
        position.value,
        position.event_at,
        position.ours_at,
        now,
        position.restarts
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Stores until when a source was quiet, if it has a position.
pub async fn write_quiet(connection: &mut PgConnection, source: &str, until: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!("UPDATE positions SET quiet_until = GREATEST(quiet_until, $2) WHERE source = $1", source, until)
        .execute(connection)
        .await?;
    Ok(())
}

/// All of them, by source.
pub async fn list(connection: &mut PgConnection) -> sqlx::Result<Vec<StoredPosition>> {
    let rows = sqlx::query!(
        "SELECT source, kind, value, event_at, last_record_at, quiet_until, updated_at,
            coalesce(s.behind_since, s.alive_at) AS complete_until
        FROM positions LEFT JOIN sources s USING (source) ORDER BY source"
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let unknown = || sqlx::Error::Decode(format!("{} is no kind of positions", row.kind).into());
            Ok(StoredPosition {
                kind: PositionKind::parse(&row.kind).ok_or_else(unknown)?,
                source: row.source,
                value: row.value,
                event_at: row.event_at,
                ours_at: row.last_record_at,
                quiet_until: row.quiet_until,
                updated_at: row.updated_at,
                complete_until: row.complete_until,
            })
        })
        .collect()
}
