//! Tracks: a stable id from the first time a URI is mentioned, and the record while there is one.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, types::Json};

use super::held::{ChangedRevs, RepoUpTo};
use crate::{
    atproto::Tid,
    model::{ActorId, TrackId},
    store::{Written, place},
};

/// Ids of those URIs that have one, in pairs of (place in `uris`, id).
pub async fn load_ids(connection: &mut PgConnection, uris: &[&str]) -> sqlx::Result<Vec<(usize, TrackId)>> {
    let rows = sqlx::query!(
        r#"SELECT u.place AS "place!", t.id FROM UNNEST($1::text[]) WITH ORDINALITY AS u (uri, place)
        JOIN tracks t ON t.uri = u.uri"#,
        uris as &[&str]
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (place(row.place), row.id.into())).collect())
}

/// Gives an id and a count of zero to each URI that has none, and answers with these; does nothing for the others.
pub async fn insert(
    connection: &mut PgConnection,
    uris: &[&str],
    artist_ids: &[ActorId],
) -> sqlx::Result<Vec<(String, TrackId)>> {
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
        &artist_ids.iter().map(|id| id.number()).collect::<Vec<i64>>()
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.uri, row.id.into())).collect())
}

/// One URI and what it comes to.
#[derive(Debug)]
pub struct TrackRow<'a> {
    /// The track.
    pub uri: String,
    /// The DID in the URI.
    pub artist_id: ActorId,
    /// The commit's rev.
    pub rev: Tid,
    /// What the record says; none for a tombstone.
    pub live: Option<LiveTrack<'a>>,
}

/// What a live row says. Fields as in the table.
#[derive(Debug)]
#[expect(missing_docs, reason = "the lexicon says what each field is")]
pub struct LiveTrack<'a> {
    /// What orders pages: the earlier of `created_at` and the time of the rev.
    pub sort_at: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
    pub duration: Option<i64>,
    /// The binary CID.
    pub cid: Vec<u8>,
    pub title: &'a str,
    pub artist: &'a str,
    pub file_type: &'a str,
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
    let live = || rows.iter().map(|row| row.live.as_ref());
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
        &rows.iter().map(|row| row.artist_id.number()).collect::<Vec<i64>>(),
        &revs(rows),
        &of_live(rows, |track| Some(track.sort_at)) as &[Option<DateTime<Utc>>],
        &of_live(rows, |track| Some(track.created_at)) as &[Option<DateTime<Utc>>],
        &of_live(rows, |track| track.duration) as &[Option<i64>],
        &cids(rows) as &[Option<&[u8]>],
        &of_live(rows, |track| Some(track.title)) as &[Option<&str>],
        &of_live(rows, |track| Some(track.artist)) as &[Option<&str>],
        &of_live(rows, |track| Some(track.file_type)) as &[Option<&str>],
        &of_live(rows, |track| track.album) as &[Option<&str>],
        &of_live(rows, |track| track.description) as &[Option<&str>],
        &of_live(rows, |track| track.audio_url) as &[Option<&str>],
        &of_live(rows, |track| track.audio_cid) as &[Option<&str>],
        &of_live(rows, |track| track.image_url) as &[Option<&str>],
        &live().map(|track| track.map_or("", |track| &track.features)).collect::<Vec<_>>() as &[&str],
        &live().map(|track| Json(track.map_or(&[] as &[String], |track| track.labels))).collect::<Vec<_>>() as _,
        &of_live(rows, |track| track.support_gate.map(Json)) as _,
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
    rows.iter().map(|row| row.live.as_ref().map(|track| track.cid.as_slice())).collect()
}

fn revs(rows: &[TrackRow<'_>]) -> Vec<i64> {
    rows.iter().map(|row| row.rev.number()).collect()
}

fn of_live<'a, T>(rows: &[TrackRow<'a>], read: fn(&LiveTrack<'a>) -> Option<T>) -> Vec<Option<T>> {
    rows.iter().map(|row| row.live.as_ref().and_then(read)).collect()
}

/// Counts the rows that stand in the table with the same rev and another CID.
async fn count_anomalies(connection: &mut PgConnection, rows: &[TrackRow<'_>]) -> sqlx::Result<u64> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM UNNEST($1::text[], $2::bigint[], $3::bytea[]) AS r (uri, rev, cid)
        JOIN tracks t ON t.uri = r.uri AND t.rev = r.rev AND t.cid IS DISTINCT FROM r.cid"#,
        &uris(rows) as &[&str],
        &revs(rows),
        &cids(rows) as &[Option<&[u8]>]
    )
    .fetch_one(connection)
    .await?;
    Ok(u64::try_from(count).unwrap_or_default())
}

/// What the index holds of one repo, live or tombstone: a part of the statement of [`super::load_held`].
pub(super) const HELD: &str =
    "SELECT NULL::bigint, uri, rev, NULL::bigint, cid FROM tracks WHERE artist_id = actor.id AND rev IS NOT NULL";

/// The greatest rev that the index holds of one repo.
pub async fn find_newest_rev(connection: &mut PgConnection, actor_id: ActorId) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!("SELECT max(rev) FROM tracks WHERE artist_id = $1", actor_id.number())
        .fetch_one(connection)
        .await
}

/// Puts rows to a lower rev.
pub(super) async fn lower_revs(connection: &mut PgConnection, change: ChangedRevs<'_>) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE tracks SET rev = $3 WHERE artist_id = $1 AND rev = ANY ($2)",
        change.actor_id.number(),
        change.revs,
        change.to.number()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes the records of at most `rows_max` tracks of one repo. Answers how many there were.
///
/// A track keeps its id, which others' likes name, and loses its record and its rev, as if it had only been named: where the
/// account comes back with its repo as it was, the record is taken again at that very rev.
pub async fn purge(connection: &mut PgConnection, repo: RepoUpTo, rows_max: i64) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "UPDATE tracks SET rev = NULL, sort_at = NULL, created_at = NULL, duration = NULL, cid = NULL, title = NULL, artist = NULL,
            file_type = NULL, album = NULL, description = NULL, audio_url = NULL, audio_cid = NULL, image_url = NULL,
            features = '{}', labels = '{}', support_gate = NULL
        WHERE id = ANY (ARRAY(SELECT id FROM tracks WHERE artist_id = $1 AND rev <= $2 LIMIT $3))",
        repo.actor_id.number(),
        repo.rev.number(),
        rows_max
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// How many are live.
pub async fn count(connection: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM tracks WHERE title IS NOT NULL"#)
        .fetch_one(connection)
        .await
}
