//! Tracks: the keys of a page in its order, and the tracks behind keys. A track is shown while its record is there and its artist
//! is not hidden.

use sqlx::PgConnection;

use super::{Page, Place, avatar_url, numbers};
use crate::atproto::{AtUri, Cid, Did, Handle, Timestamp};
use crate::model::{ActorId, TrackId};
use crate::store::stored::{moment, stored_cid, stored_did, stored_handle, stored_uri};

/// A track with what is known to show of it.
#[derive(Debug, Clone, PartialEq)]
pub struct TrackView {
    /// Our number, stable for the URI.
    pub id: TrackId,
    /// Where its record is.
    pub uri: AtUri,
    /// Which version of its record.
    pub cid: Option<Cid>,
    /// Whose repo.
    pub artist_did: Did,
    /// Their handle, if known.
    pub artist_handle: Option<Handle>,
    /// Where their picture is.
    pub artist_avatar: Option<String>,
    /// Title as written.
    pub title: String,
    /// Artist's name as written.
    pub artist: Option<String>,
    /// Such as `mp3`.
    pub file_type: Option<String>,
    /// Album's name.
    pub album: Option<String>,
    /// Seconds.
    pub duration: Option<i64>,
    /// Where the cover is.
    pub image_url: Option<String>,
    /// Where the audio is, when the record says so.
    pub audio_url: Option<String>,
    /// Text of the artist.
    pub description: Option<String>,
    /// Featured artists.
    pub features: Vec<FeatureView>,
    /// Values of the artist's own labels.
    pub labels: Vec<String>,
    /// What the artist's clock said.
    pub created_at: Option<Timestamp>,
    /// When the record came to us.
    pub indexed_at: Option<Timestamp>,
    /// Distinct actors who like it.
    pub like_count: i64,
    /// Whether the viewer does.
    pub liked: bool,
}

/// A featured artist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureView {
    /// Who.
    pub did: Did,
    /// Their handle, if known.
    pub handle: Option<Handle>,
    /// What they call themselves.
    pub display_name: Option<String>,
}

/// A track's key in a page by time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackKey {
    /// The track.
    pub id: TrackId,
    /// Where it stands: of tracks of one time the later met comes first.
    pub place: Place<i64>,
}

/// A track's key in a page by popularity. Of equally popular tracks the later met comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PopularKey {
    /// Distinct actors who like it.
    pub like_count: i64,
    /// The track.
    pub id: TrackId,
}

/// The tracks of these ids that are shown, in the order asked. `viewer` is the id of the actor who looks.
pub async fn load_tracks(
    connection: &mut PgConnection,
    ids: &[TrackId],
    viewer: Option<ActorId>,
) -> sqlx::Result<Vec<TrackView>> {
    let rows = sqlx::query!(
        "SELECT t.id AS \"id!\", t.uri AS \"uri!\", t.cid, a.did, a.handle, p.avatar AS \"avatar?\", b.avatar_cid AS \"avatar_cid?\",
            b.host AS \"host?\", t.title AS \"title!\", t.artist, t.file_type, t.album,
            t.duration, t.image_url, t.audio_url, t.description, t.features AS \"features!\", t.labels AS \"labels!\", t.created_at, t.indexed_at,
            ARRAY(SELECT f.handle FROM unnest(t.features) WITH ORDINALITY AS named (did, n)
                LEFT JOIN visible_actors f ON f.did = named.did
                ORDER BY named.n) AS \"handles!: Vec<Option<String>>\",
            ARRAY(SELECT g.display_name FROM unnest(t.features) WITH ORDINALITY AS named (did, n)
                LEFT JOIN visible_actors f ON f.did = named.did
                LEFT JOIN bluesky_profiles g ON g.actor_id = f.id
                ORDER BY named.n) AS \"display_names!: Vec<Option<String>>\",
            coalesce(c.like_count, 0) AS \"like_count!\",
            ((SELECT l.rkey FROM likes l WHERE l.actor_id = $2 AND l.subject_id = t.id LIMIT 1) IS NOT NULL
                AND EXISTS (SELECT FROM visible_actors WHERE id = $2)) AS \"liked!\"
        FROM unnest($1::bigint[]) WITH ORDINALITY AS asked (id, n)
        JOIN visible_tracks t ON t.id = asked.id AND t.title IS NOT NULL
        JOIN actors a ON a.id = t.artist_id
        LEFT JOIN profiles p ON p.actor_id = a.id AND p.cid IS NOT NULL
        LEFT JOIN bluesky_profiles b ON b.actor_id = a.id
        LEFT JOIN visible_like_counts c ON c.track_id = t.id
        ORDER BY asked.n",
        &numbers(ids),
        viewer.map(ActorId::number)
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let features = row.features.iter().zip(&row.handles).zip(row.display_names);
            Ok(TrackView {
                id: row.id.into(),
                uri: stored_uri(&row.uri)?,
                cid: stored_cid(row.cid.as_deref())?,
                artist_did: stored_did(&row.did)?,
                artist_handle: stored_handle(row.handle.as_deref())?,
                artist_avatar: avatar_url(row.avatar, &row.did, row.host.as_deref(), row.avatar_cid.as_deref())?,
                title: row.title,
                artist: row.artist,
                file_type: row.file_type,
                album: row.album,
                duration: row.duration,
                image_url: row.image_url,
                audio_url: row.audio_url,
                description: row.description,
                features: features
                    .map(|((did, handle), display_name)| {
                        Ok(FeatureView {
                            did: stored_did(did)?,
                            handle: stored_handle(handle.as_deref())?,
                            display_name,
                        })
                    })
                    .collect::<sqlx::Result<_>>()?,
                labels: row.labels,
                created_at: moment(row.created_at),
                indexed_at: moment(row.indexed_at),
                like_count: row.like_count,
                liked: row.liked,
            })
        })
        .collect()
}

/// The id that stands for a URI, whether or not its record is there; none while its artist is hidden.
pub async fn find_track_id(connection: &mut PgConnection, uri: &AtUri) -> sqlx::Result<Option<TrackId>> {
    let id = sqlx::query_scalar!("SELECT id AS \"id!\" FROM visible_tracks WHERE uri = $1", uri.to_string())
        .fetch_optional(connection)
        .await?;
    Ok(id.map(TrackId::from))
}

/// The ids that stand for URIs, in the order asked; URIs never mentioned are left out.
pub async fn load_track_ids(connection: &mut PgConnection, uris: &[String]) -> sqlx::Result<Vec<TrackId>> {
    let ids = sqlx::query_scalar!(
        "SELECT t.id FROM unnest($1::text[]) WITH ORDINALITY AS asked (uri, n) JOIN tracks t ON t.uri = asked.uri
        ORDER BY asked.n",
        uris
    )
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(TrackId::from).collect())
}

/// Distinct actors who like a track: all that are shown, while the kept counts are still following too.
pub async fn find_like_count(connection: &mut PgConnection, track_id: TrackId) -> sqlx::Result<i64> {
    let count = sqlx::query_scalar!(
        "SELECT like_count AS \"count!\" FROM visible_like_counts WHERE track_id = $1",
        track_id.number()
    )
    .fetch_optional(connection)
    .await?;
    Ok(count.unwrap_or_default())
}

/// All tracks, newest first.
pub async fn list_recent(connection: &mut PgConnection, page: &Page<Place<i64>>) -> sqlx::Result<Vec<TrackKey>> {
    let after = page.after.as_ref();
    let rows = sqlx::query!(
        "SELECT track_id, sort_at FROM shown_tracks
        WHERE (sort_at, track_id) < (coalesce($1::timestamptz, 'infinity'), $2)
        ORDER BY sort_at DESC, track_id DESC LIMIT $3",
        after.map(|after| after.sort_at.utc()),
        after.map_or(0, |after| after.key),
        page.limit
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| track_key(row.track_id, row.sort_at)).collect())
}

/// One artist's tracks, newest first.
pub async fn list_of_artist(
    connection: &mut PgConnection,
    artist_id: ActorId,
    page: &Page<Place<i64>>,
) -> sqlx::Result<Vec<TrackKey>> {
    let after = page.after.as_ref();
    let rows = sqlx::query!(
        "SELECT track_id, sort_at FROM shown_tracks
        WHERE artist_id = $4 AND (sort_at, track_id) < (coalesce($1::timestamptz, 'infinity'), $2)
        ORDER BY sort_at DESC, track_id DESC LIMIT $3",
        after.map(|after| after.sort_at.utc()),
        after.map_or(0, |after| after.key),
        page.limit,
        artist_id.number()
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| track_key(row.track_id, row.sort_at)).collect())
}

/// All tracks, most liked first.
pub async fn list_popular(connection: &mut PgConnection, page: &Page<PopularKey>) -> sqlx::Result<Vec<PopularKey>> {
    let after = page.after.unwrap_or(PopularKey { like_count: i64::MAX, id: i64::MAX.into() });
    sqlx::query_as!(
        PopularKey,
        "SELECT like_count, track_id AS id FROM popular_tracks WHERE (like_count, track_id) < ($1, $2)
        ORDER BY like_count DESC, track_id DESC LIMIT $3",
        after.like_count,
        after.id.number(),
        page.limit
    )
    .fetch_all(connection)
    .await
}

/// One artist's tracks, most liked first.
pub async fn list_popular_of_artist(
    connection: &mut PgConnection,
    artist_id: ActorId,
    page: &Page<PopularKey>,
) -> sqlx::Result<Vec<PopularKey>> {
    let after = page.after.unwrap_or(PopularKey { like_count: i64::MAX, id: i64::MAX.into() });
    sqlx::query_as!(
        PopularKey,
        "SELECT like_count, track_id AS id FROM popular_tracks
        WHERE artist_id = $4 AND (like_count, track_id) < ($1, $2)
        ORDER BY like_count DESC, track_id DESC LIMIT $3",
        after.like_count,
        after.id.number(),
        page.limit,
        artist_id.number()
    )
    .fetch_all(connection)
    .await
}

fn track_key(id: i64, sort_at: chrono::DateTime<chrono::Utc>) -> TrackKey {
    TrackKey { id: id.into(), place: Place { sort_at: Timestamp::from_utc(sort_at), key: id } }
}
