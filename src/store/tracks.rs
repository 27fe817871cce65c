//! Tracks: a stable id from the first time a URI is mentioned, and the record while there is one.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, types::Json};

use super::Written;

/// Ids of those URIs that have one, in pairs of (place in `uris`, id).
pub async fn load_ids(connection: &mut PgConnection, uris: &[&str]) -> sqlx::Result<Vec<(usize, i64)>> {
    let rows = sqlx::query!(
        r#"SELECT u.place AS "place!", t.id FROM UNNEST($1::text[]) WITH ORDINALITY AS u (uri, place)
        JOIN tracks t ON t.uri = u.uri"#,
        uris as &[&str]
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (super::place(row.place), row.id)).collect())
}

/// Gives an id and a count of zero to each URI that has none; does nothing for the others.
pub async fn insert(connection: &mut PgConnection, uris: &[&str], artist_ids: &[i64]) -> sqlx::Result<()> {
    sqlx::query!(
        "WITH added AS (
            INSERT INTO tracks (uri, artist_id) SELECT * FROM UNNEST($1::text[], $2::bigint[])
            ON CONFLICT (uri) DO NOTHING RETURNING id
        )
        INSERT INTO track_counts (track_id) SELECT id FROM added",
        uris as &[&str],
        artist_ids
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A track's record, or, where `title` is none, the news that it is gone. Fields as in the table.
#[derive(Debug, Default, Serialize)]
#[expect(missing_docs, reason = "the lexicon says what each field is")]
pub struct TrackRow<'a> {
    pub uri: String,
    pub artist_id: i64,
    pub rev: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<i64>,
    /// The binary CID in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artist: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub album: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_cid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_url: Option<&'a str>,
    pub features: Vec<&'a str>,
    pub labels: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub support_gate: Option<&'a serde_json::Value>,
}

/// Writes each row whose rev is greater than the stored one; a URI that has no id gets one, and a count of zero. Each URI at
/// most once.
pub async fn write(
    connection: &mut PgConnection,
    rows: &[TrackRow<'_>],
    indexed_at: DateTime<Utc>,
) -> sqlx::Result<Written> {
    if rows.is_empty() {
        return Ok(Written::default());
    }
    let applied = sqlx::query_scalar!(
        r#"WITH rows AS (
            SELECT * FROM json_to_recordset($1::json) AS r (
                uri text, artist_id bigint, rev bigint, sort_at timestamptz, created_at timestamptz, duration bigint,
                cid text, title text, artist text, file_type text, album text, description text, audio_url text,
                audio_cid text, image_url text, features text[], labels text[], support_gate jsonb)
        ), written AS (
            INSERT INTO tracks AS t (uri, artist_id, rev, sort_at, created_at, indexed_at, duration, cid, title, artist,
                file_type, album, description, audio_url, audio_cid, image_url, features, labels, support_gate)
            SELECT uri, artist_id, rev, sort_at, created_at, $2, duration, decode(cid, 'hex'), title, artist,
                file_type, album, description, audio_url, audio_cid, image_url, features, labels, support_gate
            FROM rows
            ON CONFLICT (uri) DO UPDATE SET rev = EXCLUDED.rev, sort_at = EXCLUDED.sort_at,
                created_at = EXCLUDED.created_at, indexed_at = EXCLUDED.indexed_at, duration = EXCLUDED.duration,
                cid = EXCLUDED.cid, title = EXCLUDED.title, artist = EXCLUDED.artist, file_type = EXCLUDED.file_type,
                album = EXCLUDED.album, description = EXCLUDED.description, audio_url = EXCLUDED.audio_url,
                audio_cid = EXCLUDED.audio_cid, image_url = EXCLUDED.image_url, features = EXCLUDED.features,
                labels = EXCLUDED.labels, support_gate = EXCLUDED.support_gate
            WHERE t.rev IS NULL OR t.rev < EXCLUDED.rev
            RETURNING id
        ), counted AS (
            INSERT INTO track_counts (track_id) SELECT id FROM written ON CONFLICT DO NOTHING
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
async fn count_anomalies(connection: &mut PgConnection, rows: &[TrackRow<'_>]) -> sqlx::Result<u64> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM json_to_recordset($1::json) AS r (uri text, rev bigint, cid text)
        JOIN tracks t ON t.uri = r.uri AND t.rev = r.rev
            AND t.cid IS DISTINCT FROM decode(r.cid, 'hex')"#,
        Json(rows) as _
    )
    .fetch_one(connection)
    .await?;
    Ok(u64::try_from(count).unwrap_or_default())
}
