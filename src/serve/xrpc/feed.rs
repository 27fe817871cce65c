//! `feed.*`: tracks, and who likes them.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};

use super::{
    answer::{actor_not_found, answer_viewer, find_named, resolve_uris},
    shapes::{
        ActorLike, ActorLikesAnswer, LikeStatus, LikeStatusesAnswer, StrongRef, TrackLike, TrackLikesAnswer,
        TracksAnswer, XrpcTrack, actor_basic,
    },
};
use crate::{
    model::Collection,
    serve::{
        http::{
            app::App,
            connections::Connection,
            credentials::Credentials,
            error::{ApiError, XrpcError},
            pagination::split_page,
            params::{NamedUri, Parameters, named_uri},
        },
        record_uris::uri_of,
    },
    store::views::{
        Place,
        actors::ActorName,
        likes::{LikeStatuses, LikeView, LikerView, find_like_statuses, list_likers, list_likes},
        tracks::{find_like_count, find_track_id, load_track_ids, load_tracks},
    },
};

/// Whether an actor likes tracks, in the order asked. Of an actor never seen: no. The actor may be left out by those whom
/// their token names.
#[utoipa::path(get, path = "/xrpc/fm.plyr.feed.getLikeStatuses", tag = "xrpc", params(
    ("actor" = Option<String>, Query, description = "A DID, or a handle in any case."),
    ("uris" = Vec<String>, Query, description = "AT-URIs of tracks, 1 to 100: the parameter repeats."),
), responses(
    (status = 200, body = LikeStatusesAnswer),
    (status = 400, body = XrpcError, description = "`InvalidRequest`, or `ActorNotFound`: nobody is known to have the handle."),
    (status = 401, body = XrpcError, description = "`AuthMissing`, `InvalidToken`"),
))]
pub async fn get_like_statuses(
    State(app): State<App>,
    credentials: Credentials,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let named = parameters.one("actor").map(|_| parameters.actor("actor")).transpose()?;
    let asked = parameters.uris("uris")?;
    let uris = asked.iter().map(|uri| named_uri(uri)).collect::<Result<Vec<_>, _>>();
    let uris = uris.map_err(|why| ApiError::parameter("uris", why))?;
    let are_complete = uris.iter().all(|uri| matches!(uri, NamedUri::Uri(_)));
    if let (Some(actor), Credentials::None, true) = (&named, &credentials, are_complete) {
        let uris = asked.as_slice();
        let ask = |mut connection: Connection| async move {
            let statuses = find_like_statuses(&mut connection, actor, uris).await;
            (connection, statuses)
        };
        let found = app.warm.ask(ask).await?;
        return Ok(Json(statuses_answer(&app, actor, asked, found)?).into_response());
    }
    let mut transaction = app.read(&credentials).await?;
    let actor = match named {
        Some(actor) => actor,
        None => ActorName::Did(transaction.require_viewer()?.did),
    };
    let resolved = resolve_uris(&mut transaction, uris).await?;
    let found = find_like_statuses(transaction.connection(), &actor, &resolved).await?;
    let answer = statuses_answer(&app, &actor, asked, found)?;
    answer_viewer(transaction, answer).await
}

fn statuses_answer(
    app: &App,
    actor: &ActorName,
    asked: Vec<String>,
    found: Option<LikeStatuses>,
) -> Result<LikeStatusesAnswer, ApiError> {
    let found = match (found, actor) {
        (Some(found), _) => found,
        (None, ActorName::Did(did)) => LikeStatuses { did: did.clone(), liked: Vec::new() },
        (None, ActorName::Handle(_)) => return Err(actor_not_found()),
    };
    let unliked = |uri| LikeStatus { uri, liked: false, like: None };
    let mut statuses: Vec<LikeStatus> = asked.into_iter().map(unliked).collect();
    for (place, rkey) in found.liked {
        if let Some(status) = statuses.get_mut(place) {
            status.liked = true;
            status.like = Some(uri_of(&app.settings.collections, &found.did, Collection::Like, rkey).to_string());
        }
    }
    Ok(LikeStatusesAnswer { actor: found.did.to_string(), statuses })
}

/// Who likes a track. A track never mentioned is liked by nobody.
#[utoipa::path(get, path = "/xrpc/fm.plyr.feed.getTrackLikes", tag = "xrpc", params(
    ("uri" = String, Query, description = "The AT-URI of the track."),
    ("limit" = Option<i64>, Query, minimum = 1, maximum = 100, description = "Likes on a page, 50 unless given."),
    ("cursor" = Option<String>, Query, description = "`cursor` of the page before."),
), responses(
    (status = 200, body = TrackLikesAnswer),
    (status = 400, body = XrpcError, description = "`InvalidRequest`, `InvalidCursor`, or `ActorNotFound`: nobody is known to have the handle."),
    (status = 401, body = XrpcError, description = "`InvalidToken`"),
))]
pub async fn get_track_likes(
    State(app): State<App>,
    credentials: Credentials,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let uri = named_uri(parameters.required("uri")?).map_err(|why| ApiError::parameter("uri", why))?;
    let query = format!("xrpc likers {}", parameters.required("uri")?);
    let page = parameters.page(&app.cursors, &query)?;
    let mut transaction = app.read(&credentials).await?;
    let uri = transaction.resolve_uri(uri).await?.ok_or_else(actor_not_found)?;
    let (likers, count) = match find_track_id(transaction.connection(), &uri).await? {
        Some(id) => {
            let likers = list_likers(transaction.connection(), id, &page).await?;
            (likers, find_like_count(transaction.connection(), id).await?)
        }
        None => (Vec::new(), 0),
    };
    let (likers, last) = split_page(likers, page.limit);
    let cursor = last.map(|last| {
        let key = (last.did.to_string(), last.rkey.number());
        app.cursors.seal(&query, &Place { sort_at: last.sort_at, key })
    });
    let like = |liker: LikerView| TrackLike {
        uri: uri_of(&app.settings.collections, &liker.did, Collection::Like, liker.rkey).to_string(),
        actor: actor_basic(&liker.did, liker.handle.as_ref()),
        created_at: liker.created_at,
        indexed_at: liker.indexed_at,
    };
    let answer =
        TrackLikesAnswer { uri: uri.to_string(), count, cursor, likes: likers.into_iter().map(like).collect() };
    answer_viewer(transaction, answer).await
}

/// An actor's like records, also those of tracks that are not known. Of an actor never seen: none.
#[utoipa::path(get, path = "/xrpc/fm.plyr.feed.getActorLikes", tag = "xrpc", params(
    ("actor" = String, Query, description = "A DID, or a handle in any case."),
    ("limit" = Option<i64>, Query, minimum = 1, maximum = 100, description = "Likes on a page, 50 unless given."),
    ("cursor" = Option<String>, Query, description = "`cursor` of the page before."),
), responses(
    (status = 200, body = ActorLikesAnswer),
    (status = 400, body = XrpcError, description = "`InvalidRequest`, `InvalidCursor`, or `ActorNotFound`: nobody is known to have the handle."),
    (status = 401, body = XrpcError, description = "`InvalidToken`"),
))]
pub async fn get_actor_likes(
    State(app): State<App>,
    credentials: Credentials,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let name = parameters.actor("actor")?;
    let query = format!("xrpc likes of {}", name.as_str());
    let page = parameters.page(&app.cursors, &query)?;
    let mut transaction = app.read(&credentials).await?;
    let Some(actor) = find_named(&mut transaction, &name).await? else {
        return answer_viewer(transaction, ActorLikesAnswer { cursor: None, likes: Vec::new() }).await;
    };
    let (likes, last) = split_page(list_likes(transaction.connection(), actor.id, &page).await?, page.limit);
    let cursor = last.map(|last| app.cursors.seal(&query, &Place { sort_at: last.sort_at, key: last.rkey.number() }));
    let like = |like: LikeView| ActorLike {
        uri: uri_of(&app.settings.collections, &actor.did, Collection::Like, like.rkey).to_string(),
        subject: StrongRef {
            uri: like.subject.to_string(),
            cid: like.subject_cid.as_ref().map(ToString::to_string).unwrap_or_default(),
        },
        created_at: like.created_at,
        indexed_at: like.indexed_at,
    };
    let likes = likes.into_iter().map(like).collect();
    answer_viewer(transaction, ActorLikesAnswer { cursor, likes }).await
}

/// Tracks by their URIs.
#[utoipa::path(get, path = "/xrpc/fm.plyr.feed.getTracks", tag = "xrpc", params(
    ("uris" = Vec<String>, Query, description = "AT-URIs of tracks, 1 to 100: the parameter repeats."),
), responses(
    (status = 200, body = TracksAnswer),
    (status = 400, body = XrpcError, description = "`InvalidRequest`"),
    (status = 401, body = XrpcError, description = "`InvalidToken`"),
))]
pub async fn get_tracks(
    State(app): State<App>,
    credentials: Credentials,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let asked = parameters.uris("uris")?;
    let uris = asked.iter().map(|uri| named_uri(uri)).collect::<Result<Vec<_>, _>>();
    let uris = uris.map_err(|why| ApiError::parameter("uris", why))?;
    let mut transaction = app.read(&credentials).await?;
    let uris = resolve_uris(&mut transaction, uris).await?;
    let ids = load_track_ids(transaction.connection(), &uris).await?;
    let tracks = load_tracks(transaction.connection(), &ids, None).await?;
    let tracks = tracks.into_iter().map(XrpcTrack::from).collect();
    answer_viewer(transaction, TracksAnswer { tracks }).await
}
