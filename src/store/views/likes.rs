//! Likes: whether, who, and what. An actor with several like records on one track likes it once; the one with the greatest key, which is
//! the newest, stands for all.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{Page, Place, STRETCH, Stretch, actors::ActorName, avatar_url, numbers};
use crate::atproto::{AtUri, Cid, Did, Handle, Tid, Timestamp};
use crate::model::{ActorId, TrackId};
use crate::store::stored::{moment, stored_cid, stored_did, stored_handle, stored_uri};

/// A liker of a track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LikerView {
    /// Our number.
    pub id: ActorId,
    /// Who.
    pub did: Did,
    /// Their handle, if known.
    pub handle: Option<Handle>,
    /// What they call themselves.
    pub display_name: Option<String>,
    /// Where their picture is.
    pub avatar: Option<String>,
    /// The key of their newest like record on the track.
    pub rkey: Tid,
    /// What their clock said.
    pub created_at: Option<Timestamp>,
    /// When the record came to us.
    pub indexed_at: Timestamp,
    /// The moment that orders.
    pub sort_at: Timestamp,
}

/// A like record of an actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LikeView {
    /// The record's key.
    pub rkey: Tid,
    /// What is liked.
    pub subject: AtUri,
    /// Which version of it.
    pub subject_cid: Option<Cid>,
    /// What the actor's clock said.
    pub created_at: Option<Timestamp>,
    /// When the record came to us.
    pub indexed_at: Timestamp,
    /// The moment that orders.
    pub sort_at: Timestamp,
}

/// A liked track's key in a page of one actor's likes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LikedKey {
    /// The track.
    pub track_id: TrackId,
    /// Where the like stands: by the key of its record.
    pub place: Place<i64>,
}

/// Which of some tracks an actor likes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LikeStatuses {
    /// The actor.
    pub did: Did,
    /// For each that is liked its place in the question, from 0, and the key of the newest like record.
    pub liked: Vec<(usize, Tid)>,
}

/// Which of the tracks the owner of a token likes, in no order, perhaps twice, and perhaps with others that were not asked for;
/// `None` when the token is unknown, expired or revoked. One statement, answered by indexes.
pub async fn find_liked(
    connection: &mut PgConnection,
    token_hash: &[u8; 32],
    now: Timestamp,
    track_ids: &[TrackId],
) -> sqlx::Result<Option<Vec<TrackId>>> {
    let ids = numbers(track_ids);
    let row = sqlx::query_file!("src/store/views/liked_of_token.sql", token_hash.as_slice(), now.utc(), &ids)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| {
        let mut liked = row.liked;
        if !row.hidden.is_empty() {
            liked.retain(|id| !row.hidden.contains(id));
        }
        liked.into_iter().map(TrackId::from).collect()
    }))
}

/// Which of the tracks an actor likes; `None` for an actor that is not known or is hidden. One statement.
pub async fn find_like_statuses(
    connection: &mut PgConnection,
    actor: &ActorName,
    uris: &[String],
) -> sqlx::Result<Option<LikeStatuses>> {
    let row = sqlx::query!(
        "SELECT a.did AS \"did!\", s.asked AS \"asked!\", s.rkeys AS \"rkeys!\" FROM visible_actors a CROSS JOIN LATERAL (
            SELECT coalesce(array_agg(u.n), '{}') AS asked, coalesce(array_agg(l.rkey), '{}') AS rkeys
            FROM unnest($2::text[]) WITH ORDINALITY AS u (uri, n) JOIN visible_tracks t ON t.uri = u.uri
            JOIN LATERAL (
                SELECT l.rkey FROM likes l WHERE l.actor_id = a.id AND l.subject_id = t.id
                ORDER BY l.rkey DESC LIMIT 1
            ) AS l ON true
        ) AS s
        WHERE a.id = coalesce((SELECT id FROM actors WHERE did = $1), (SELECT id FROM actors WHERE handle = $1))",
        actor.as_str(),
        uris
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        let pairs = row.asked.iter().zip(&row.rkeys);
        let pairs = pairs.filter_map(|(n, rkey)| Some((usize::try_from(n - 1).ok()?, *rkey)));
        Ok(LikeStatuses {
            did: stored_did(&row.did)?,
            liked: pairs.map(|(n, rkey)| Ok((n, Tid::from_number(rkey)))).collect::<sqlx::Result<_>>()?,
        })
    })
    .transpose()
}

/// Who likes a track, newest first, each actor once. The place's key is the actor.
pub async fn list_likers(
    connection: &mut PgConnection,
    track_id: TrackId,
    page: &Page<Place<i64>>,
) -> sqlx::Result<Stretch<LikerView, Place<i64>>> {
    let (at, key) = start(page);
    let rows =
        sqlx::query_file_as!(LikerRow, "src/store/views/likers.sql", track_id.number(), at, key, page.limit, STRETCH)
            .fetch_all(&mut *connection)
            .await?;
    let view = |row: LikerRow| {
        Ok(LikerView {
            id: row.actor_id.into(),
            did: stored_did(&row.did)?,
            handle: stored_handle(row.handle.as_deref())?,
            display_name: row.display_name,
            avatar: avatar_url(row.avatar, &row.did, row.host.as_deref(), row.avatar_cid.as_deref())?,
            rkey: Tid::from_number(row.rkey),
            created_at: moment(row.created_at),
            indexed_at: Timestamp::from_utc(row.indexed_at),
            sort_at: Timestamp::from_utc(row.sort_at),
        })
    };
    let rows: Vec<LikerView> = rows.into_iter().map(view).collect::<sqlx::Result<_>>()?;
    let rest = if is_full(&rows, page) { None } else { end_of_likers(connection, track_id, page).await? };
    Ok(Stretch { rows, rest })
}

/// The last of a track's likes that a page looks at, if it looks at no more.
async fn end_of_likers(
    connection: &mut PgConnection,
    track_id: TrackId,
    page: &Page<Place<i64>>,
) -> sqlx::Result<Option<Place<i64>>> {
    let (at, key) = start(page);
    let last = sqlx::query_as!(
        PlaceRow,
        "SELECT sort_at AS \"sort_at!\", actor_id AS key FROM likes
        WHERE subject_id = $1 AND (sort_at, actor_id) < (coalesce($2::timestamptz, 'infinity'), $3)
        ORDER BY sort_at DESC, actor_id DESC OFFSET $4 LIMIT 1",
        track_id.number(),
        at,
        key,
        STRETCH - 1
    )
    .fetch_optional(connection)
    .await?;
    Ok(last.map(PlaceRow::place))
}

/// An actor's like records, newest first, also those of tracks that are not known, without those of tracks of hidden actors.
pub async fn list_likes(
    connection: &mut PgConnection,
    actor_id: ActorId,
    page: &Page<Place<i64>>,
) -> sqlx::Result<Stretch<LikeView, Place<i64>>> {
    let (at, key) = start(page);
    let rows = sqlx::query!(
        "SELECT l.rkey, t.uri AS \"uri!\", s.cid AS \"subject_cid?\", l.created_at, l.indexed_at, l.sort_at AS \"sort_at!\"
        FROM (
            SELECT * FROM likes WHERE actor_id = $1 AND subject_id IS NOT NULL
                AND (sort_at, rkey) < (coalesce($2::timestamptz, 'infinity'), $3)
            ORDER BY sort_at DESC, rkey DESC LIMIT $5
        ) AS l
        JOIN visible_tracks t ON t.id = l.subject_id
        LEFT JOIN subject_cids s ON s.id = l.subject_cid_id
        WHERE EXISTS (SELECT FROM visible_actors WHERE id = $1)
        ORDER BY l.sort_at DESC, l.rkey DESC LIMIT $4",
        actor_id.number(),
        at,
        key,
        page.limit,
        STRETCH
    )
    .fetch_all(&mut *connection)
    .await?;
    let rows = rows.into_iter().map(|row| {
        Ok(LikeView {
            rkey: Tid::from_number(row.rkey),
            subject: stored_uri(&row.uri)?,
            subject_cid: stored_cid(row.subject_cid.as_deref())?,
            created_at: moment(row.created_at),
            indexed_at: Timestamp::from_utc(row.indexed_at),
            sort_at: Timestamp::from_utc(row.sort_at),
        })
    });
    let rows: Vec<LikeView> = rows.collect::<sqlx::Result<_>>()?;
    let rest = if is_full(&rows, page) { None } else { end_of_stretch(connection, actor_id, page).await? };
    Ok(Stretch { rows, rest })
}

/// The tracks that an actor likes and that are shown, newest like first, each once, without those of `except`.
pub async fn list_liked(
    connection: &mut PgConnection,
    actor_id: ActorId,
    except: &[TrackId],
    page: &Page<Place<i64>>,
) -> sqlx::Result<Stretch<LikedKey, Place<i64>>> {
    let (at, key) = start(page);
    let rows = sqlx::query!(
        "SELECT s.track_id, l.rkey, l.sort_at AS \"sort_at!\"
        FROM (
            SELECT rkey, sort_at, subject_id FROM likes WHERE actor_id = $1 AND subject_id IS NOT NULL
                AND (sort_at, rkey) < (coalesce($2::timestamptz, 'infinity'), $3)
            ORDER BY sort_at DESC, rkey DESC LIMIT $6
        ) AS l
        JOIN shown_tracks s ON s.track_id = l.subject_id
        WHERE s.track_id <> ALL ($5::bigint[]) AND EXISTS (SELECT FROM visible_actors WHERE id = $1) AND l.rkey = (
            SELECT newest.rkey FROM likes newest WHERE newest.actor_id = $1 AND newest.subject_id = l.subject_id
            ORDER BY newest.rkey DESC LIMIT 1
        )
        ORDER BY l.sort_at DESC, l.rkey DESC LIMIT $4",
        actor_id.number(),
        at,
        key,
        page.limit,
        &numbers(except),
        STRETCH
    )
    .fetch_all(&mut *connection)
    .await?;
    let rows = rows.into_iter().map(|row| LikedKey {
        track_id: row.track_id.into(),
        place: Place { sort_at: Timestamp::from_utc(row.sort_at), key: row.rkey },
    });
    let rows: Vec<LikedKey> = rows.collect();
    let rest = if is_full(&rows, page) { None } else { end_of_stretch(connection, actor_id, page).await? };
    Ok(Stretch { rows, rest })
}

/// How many tracks [`list_liked`] would show in all; of an actor with more than a thousand like records, how many they name.
pub async fn count_liked(connection: &mut PgConnection, actor_id: ActorId) -> sqlx::Result<i64> {
    let count = sqlx::query_scalar!(
        "SELECT CASE WHEN EXISTS (SELECT FROM visible_actors WHERE id = $1) THEN coalesce(
            (SELECT like_count FROM many_likers WHERE actor_id = $1),
            (SELECT count(*) FROM (SELECT DISTINCT subject_id FROM likes WHERE actor_id = $1 AND subject_id IS NOT NULL) AS liked
                JOIN shown_tracks s ON s.track_id = liked.subject_id)
        ) ELSE 0 END",
        actor_id.number()
    )
    .fetch_one(connection)
    .await?;
    Ok(count.unwrap_or_default())
}

/// The row of a liker.
struct LikerRow {
    actor_id: i64,
    did: String,
    handle: Option<String>,
    avatar: Option<String>,
    display_name: Option<String>,
    avatar_cid: Option<Vec<u8>>,
    host: Option<String>,
    rkey: i64,
    created_at: Option<DateTime<Utc>>,
    indexed_at: DateTime<Utc>,
    sort_at: DateTime<Utc>,
}

/// Where a stretch ends.
struct PlaceRow {
    sort_at: DateTime<Utc>,
    key: i64,
}

impl PlaceRow {
    fn place(self) -> Place<i64> {
        Place { sort_at: Timestamp::from_utc(self.sort_at), key: self.key }
    }
}

/// Behind which time and key a page starts.
fn start(page: &Page<Place<i64>>) -> (Option<DateTime<Utc>>, i64) {
    let after = page.after.as_ref();
    (after.map(|after| after.sort_at.utc()), after.map_or(0, |after| after.key))
}

fn is_full<R, P>(rows: &[R], page: &Page<P>) -> bool {
    usize::try_from(page.limit).is_ok_and(|limit| rows.len() >= limit)
}

/// The last of an actor's likes that a page looks at, if it looks at no more.
async fn end_of_stretch(
    connection: &mut PgConnection,
    actor_id: ActorId,
    page: &Page<Place<i64>>,
) -> sqlx::Result<Option<Place<i64>>> {
    let (at, key) = start(page);
    let last = sqlx::query_as!(
        PlaceRow,
        "SELECT sort_at AS \"sort_at!\", rkey AS key FROM likes WHERE actor_id = $1 AND subject_id IS NOT NULL
            AND (sort_at, rkey) < (coalesce($2::timestamptz, 'infinity'), $3)
        ORDER BY sort_at DESC, rkey DESC OFFSET $4 LIMIT 1",
        actor_id.number(),
        at,
        key,
        STRETCH - 1
    )
    .fetch_optional(connection)
    .await?;
    Ok(last.map(PlaceRow::place))
}
