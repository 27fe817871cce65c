//! Likes: whether, who, and what. An actor with several like records on one track likes it once; the newest stands for all.

use sqlx::PgConnection;

use super::{Page, Place, actors::ActorName, avatar_url, numbers};
use crate::atproto::{AtUri, Cid, Did, Handle, Tid, Timestamp};
use crate::model::{ActorId, TrackId};
use crate::store::stored::{moment, stored_cid, stored_did, stored_handle, stored_uri};

/// A liker of a track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LikerView {
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
                ORDER BY l.sort_at DESC, l.rkey DESC LIMIT 1
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

/// Who likes a track, newest first, each actor once. The place's key is DID and record key.
pub async fn list_likers(
    connection: &mut PgConnection,
    track_id: TrackId,
    page: &Page<Place<(String, i64)>>,
) -> sqlx::Result<Vec<LikerView>> {
    let after = page.after.as_ref();
    let rows = sqlx::query_file!(
        "src/store/views/likers.sql",
        track_id.number(),
        after.map(|after| after.sort_at.utc()),
        after.map_or("", |after| after.key.0.as_str()),
        after.map_or(0, |after| after.key.1),
        page.limit
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(LikerView {
                did: stored_did(&row.did)?,
                handle: stored_handle(row.handle.as_deref())?,
                display_name: row.display_name,
                avatar: avatar_url(row.avatar, &row.did, row.host.as_deref(), row.avatar_cid.as_deref())?,
                rkey: Tid::from_number(row.rkey),
                created_at: moment(row.created_at),
                indexed_at: Timestamp::from_utc(row.indexed_at),
                sort_at: Timestamp::from_utc(row.sort_at),
            })
        })
        .collect()
}

/// An actor's like records, newest first, also those of tracks that are not known, without those of tracks of hidden actors. The
/// keys come out of the index in order; the table is visited until the page is full.
pub async fn list_likes(
    connection: &mut PgConnection,
    actor_id: ActorId,
    page: &Page<Place<i64>>,
) -> sqlx::Result<Vec<LikeView>> {
    let after = page.after.as_ref();
    let rows = sqlx::query!(
        "SELECT l.rkey, t.uri AS \"uri!\", s.cid AS \"subject_cid?\", l.created_at, l.indexed_at, k.sort_at AS \"sort_at!\"
        FROM (
            SELECT rkey, sort_at FROM likes WHERE actor_id = $1 AND sort_at IS NOT NULL
                AND (sort_at, rkey) < (coalesce($2::timestamptz, 'infinity'), $3)
                AND EXISTS (SELECT FROM visible_actors WHERE id = $1)
            ORDER BY sort_at DESC, rkey DESC OFFSET 0
        ) AS k
        JOIN likes l ON l.actor_id = $1 AND l.rkey = k.rkey
        JOIN visible_tracks t ON t.id = l.subject_id
        LEFT JOIN subject_cids s ON s.id = l.subject_cid_id
        ORDER BY k.sort_at DESC, k.rkey DESC LIMIT $4",
        actor_id.number(),
        after.map(|after| after.sort_at.utc()),
        after.map_or(0, |after| after.key),
        page.limit
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(LikeView {
                rkey: Tid::from_number(row.rkey),
                subject: stored_uri(&row.uri)?,
                subject_cid: stored_cid(row.subject_cid.as_deref())?,
                created_at: moment(row.created_at),
                indexed_at: Timestamp::from_utc(row.indexed_at),
                sort_at: Timestamp::from_utc(row.sort_at),
            })
        })
        .collect()
}

/// The tracks that an actor likes and that are shown, newest like first, each once, without those of `except`.
pub async fn list_liked(
    connection: &mut PgConnection,
    actor_id: ActorId,
    except: &[TrackId],
    page: &Page<Place<i64>>,
) -> sqlx::Result<Vec<LikedKey>> {
    let after = page.after.as_ref();
    let rows = sqlx::query!(
        "SELECT t.id AS \"id!\", k.rkey, k.sort_at AS \"sort_at!\"
        FROM (
            SELECT rkey, sort_at FROM likes WHERE actor_id = $1 AND sort_at IS NOT NULL
                AND (sort_at, rkey) < (coalesce($2::timestamptz, 'infinity'), $3)
                AND EXISTS (SELECT FROM visible_actors WHERE id = $1)
            ORDER BY sort_at DESC, rkey DESC OFFSET 0
        ) AS k
        JOIN likes l ON l.actor_id = $1 AND l.rkey = k.rkey
        JOIN visible_tracks t ON t.id = l.subject_id AND t.title IS NOT NULL
        WHERE t.id <> ALL ($5::bigint[]) AND NOT EXISTS (
            SELECT FROM likes newer WHERE newer.actor_id = $1 AND newer.subject_id = l.subject_id
                AND (newer.sort_at, newer.rkey) > (l.sort_at, l.rkey)
        )
        ORDER BY k.sort_at DESC, k.rkey DESC LIMIT $4",
        actor_id.number(),
        after.map(|after| after.sort_at.utc()),
        after.map_or(0, |after| after.key),
        page.limit,
        &numbers(except)
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| LikedKey {
            track_id: row.id.into(),
            place: Place { sort_at: Timestamp::from_utc(row.sort_at), key: row.rkey },
        })
        .collect())
}

/// How many tracks [`list_liked`] would show in all.
pub async fn count_liked(connection: &mut PgConnection, actor_id: ActorId) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        "SELECT count(*) AS \"count!\"
        FROM (SELECT DISTINCT subject_id FROM likes WHERE actor_id = $1 AND subject_id IS NOT NULL) AS liked
        JOIN visible_tracks t ON t.id = liked.subject_id
        WHERE t.title IS NOT NULL AND EXISTS (SELECT FROM visible_actors WHERE id = $1)",
        actor_id.number()
    )
    .fetch_one(connection)
    .await
}
