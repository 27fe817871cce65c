//! Tracks: a stable id from the first time a URI is mentioned, and the record while there is one.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, types::Json};

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
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the lexicon says what each field is")]
pub struct TrackRow<'a> {
    pub id: i64,
    pub rev: i64,
    pub sort_at: Option<DateTime<Utc>>,
    pub created_at: Option<DateTime<Utc>>,
    pub duration: Option<i64>,
    /// The binary CID in hexadecimal.
    pub cid: Option<String>,
    pub title: Option<&'a str>,
    pub artist: Option<&'a str>,
    pub file_type: Option<&'a str>,
    pub album: Option<&'a str>,
    pub description: Option<&'a str>,
    pub audio_url: Option<&'a str>,
    pub audio_cid: Option<&'a str>,
    pub image_url: Option<&'a str>,
    pub features: Vec<&'a str>,
    pub labels: Vec<&'a str>,
    pub support_gate: Option<&'a serde_json::Value>,
}

/// Writes each row whose rev is greater than the stored one. Each id at most once.
pub async fn update(
    connection: &mut PgConnection,
    rows: &[TrackRow<'_>],
    indexed_at: DateTime<Utc>,
) -> sqlx::Result<super::Written> {
    if rows.is_empty() {
        return Ok(super::Written::default());
    }
    let done = sqlx::query!(
        r#"WITH rows AS (
            SELECT * FROM jsonb_to_recordset($1::jsonb) AS r (
                id bigint, rev bigint, sort_at timestamptz, created_at timestamptz, duration bigint, cid text, title text,
                artist text, file_type text, album text, description text, audio_url text, audio_cid text,
                image_url text, features text[], labels text[], support_gate jsonb)
        ), written AS (
            UPDATE tracks t SET rev = r.rev, sort_at = r.sort_at, created_at = r.created_at, indexed_at = $2,
                duration = r.duration, cid = decode(r.cid, 'hex'), title = r.title, artist = r.artist,
                file_type = r.file_type, album = r.album, description = r.description, audio_url = r.audio_url,
                audio_cid = r.audio_cid, image_url = r.image_url, features = r.features, labels = r.labels,
                support_gate = r.support_gate
            FROM rows r WHERE t.id = r.id AND (t.rev IS NULL OR t.rev < r.rev) RETURNING 1
        )
        SELECT (SELECT count(*) FROM written) AS "applied!",
            (SELECT count(*) FROM rows r JOIN tracks t ON t.id = r.id AND t.rev = r.rev
                AND t.cid IS DISTINCT FROM decode(r.cid, 'hex')) AS "anomalies!""#,
        Json(rows) as _,
        indexed_at
    )
    .fetch_one(connection)
    .await?;
    Ok(super::Written::of(done.applied, done.anomalies))
}
