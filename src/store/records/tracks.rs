//! Tracks: a stable id from the first time a URI is mentioned, and the record while there is one.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, types::Json};

use crate::store::Written;

/// Ids of those URIs that have one, in pairs of (place in `uris`, id).
pub async fn load_ids(connection: &mut PgConnection, uris: &[&str]) -> sqlx::Result<Vec<(usize, i64)>> {
    let rows = sqlx::query!(
        r#"SELECT u.place AS "place!", t.id FROM UNNEST($1::text[]) WITH ORDINALITY AS u (uri, place)
        JOIN tracks t ON t.uri = u.uri"#,
        uris as &[&str]
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (crate::store::place(row.place), row.id)).collect())
}

/// Gives an id and a count of zero to each URI that has none, and answers with these; does nothing for the others.
pub async fn insert(
    connection: &mut PgConnection,
    uris: &[&str],
    artist_ids: &[i64],
) -> sqlx::Result<Vec<(String, i64)>> {
    if uris.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query!(
        "WITH added AS (
            INSERT INTO tracks (uri, artist_id) SELECT * FROM UNNEST($1::text[], $2::bigint[])
            ON CONFLICT (uri) DO NOTHING RETURNING uri, id
        ), counted AS (INSERT INTO track_counts (track_id) SELECT id FROM added)
        SELECT uri, id FROM added",
        uris as &[&str],
        artist_ids
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.uri, row.id)).collect())
}

/// A track's record, or, where `title` is none, the news that it is gone. Fields as in the table.
#[derive(Debug, Default)]
#[expect(missing_docs, reason = "the lexicon says what each field is")]
pub struct TrackRow<'a> {
    pub uri: String,
    pub artist_id: i64,
    pub rev: i64,
    pub sort_at: Option<DateTime<Utc>>,
    pub created_at: Option<DateTime<Utc>>,
    pub duration: Option<i64>,
    /// The binary CID.
    pub cid: Option<Vec<u8>>,
    pub title: Option<&'a str>,
    pub artist: Option<&'a str>,
    pub file_type: Option<&'a str>,
    pub album: Option<&'a str>,
    pub description: Option<&'a str>,
    pub audio_url: Option<&'a str>,
    pub audio_cid: Option<&'a str>,
    pub image_url: Option<&'a str>,
    /// A DID a line.
    pub features: String,
    pub labels: &'a [String],
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
    let numbers = |read: fn(&TrackRow<'_>) -> i64| rows.iter().map(read).collect::<Vec<i64>>();
    let times = |read: fn(&TrackRow<'_>) -> Option<DateTime<Utc>>| rows.iter().map(read).collect::<Vec<_>>();
    let applied = sqlx::query_scalar!(
        r#"WITH written AS (
            INSERT INTO tracks AS t (uri, artist_id, rev, sort_at, created_at, duration, cid, title, artist, file_type,
                album, description, audio_url, audio_cid, image_url, features, labels, support_gate, indexed_at)
            SELECT r.uri, r.artist_id, r.rev, r.sort_at, r.created_at, r.duration, r.cid, r.title, r.artist, r.file_type,
                r.album, r.description, r.audio_url, r.audio_cid, r.image_url, string_to_array(r.features, E'\n'),
                ARRAY(SELECT json_array_elements_text(r.labels)), r.support_gate, $19
            FROM UNNEST($1::text[], $2::bigint[], $3::bigint[], $4::timestamptz[], $5::timestamptz[], $6::bigint[],
                $7::bytea[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[],
                $15::text[], $16::text[], $17::json[], $18::jsonb[])
                AS r (uri, artist_id, rev, sort_at, created_at, duration, cid, title, artist, file_type, album,
                    description, audio_url, audio_cid, image_url, features, labels, support_gate)
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
        &uris(rows) as &[&str],
        &numbers(|row| row.artist_id),
        &numbers(|row| row.rev),
        &times(|row| row.sort_at) as &[Option<DateTime<Utc>>],
        &times(|row| row.created_at) as &[Option<DateTime<Utc>>],
        &rows.iter().map(|row| row.duration).collect::<Vec<_>>() as &[Option<i64>],
        &cids(rows) as &[Option<&[u8]>],
        &texts(rows, |row| row.title) as &[Option<&str>],
        &texts(rows, |row| row.artist) as &[Option<&str>],
        &texts(rows, |row| row.file_type) as &[Option<&str>],
        &texts(rows, |row| row.album) as &[Option<&str>],
        &texts(rows, |row| row.description) as &[Option<&str>],
        &texts(rows, |row| row.audio_url) as &[Option<&str>],
        &texts(rows, |row| row.audio_cid) as &[Option<&str>],
        &texts(rows, |row| row.image_url) as &[Option<&str>],
        &rows.iter().map(|row| row.features.as_str()).collect::<Vec<_>>() as &[&str],
        &rows.iter().map(|row| Json(row.labels)).collect::<Vec<_>>() as _,
        &rows.iter().map(|row| row.support_gate.map(Json)).collect::<Vec<_>>() as _,
        indexed_at
    )
    .fetch_one(&mut *connection)
    .await?;
    let applied = u64::try_from(applied).unwrap_or_default();
    let anomalies = if applied < rows.len() as u64 { count_anomalies(connection, rows).await? } else { 0 };
    Ok(Written { applied, anomalies })
}

fn uris<'r>(rows: &'r [TrackRow<'_>]) -> Vec<&'r str> {
    rows.iter().map(|row| row.uri.as_str()).collect()
}

fn cids<'r>(rows: &'r [TrackRow<'_>]) -> Vec<Option<&'r [u8]>> {
    rows.iter().map(|row| row.cid.as_deref()).collect()
}

fn texts<'a>(rows: &[TrackRow<'a>], read: fn(&TrackRow<'a>) -> Option<&'a str>) -> Vec<Option<&'a str>> {
    rows.iter().map(read).collect()
}

/// Counts the rows that stand in the table with the same rev and another CID.
async fn count_anomalies(connection: &mut PgConnection, rows: &[TrackRow<'_>]) -> sqlx::Result<u64> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM UNNEST($1::text[], $2::bigint[], $3::bytea[]) AS r (uri, rev, cid)
        JOIN tracks t ON t.uri = r.uri AND t.rev = r.rev AND t.cid IS DISTINCT FROM r.cid"#,
        &uris(rows) as &[&str],
        &rows.iter().map(|row| row.rev).collect::<Vec<i64>>(),
        &cids(rows) as &[Option<&[u8]>]
    )
    .fetch_one(connection)
    .await?;
    Ok(u64::try_from(count).unwrap_or_default())
}
