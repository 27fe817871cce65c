//! `feed.*`: tracks, and who likes them.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    answer::{actor_not_found, answer_viewer, find_named, in_namespace, resolve_uris},
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
            error::ApiError,
            pagination::PageParams,
            params::{ActorParam, NamedUri, UriParam, UrisParam},
            query::Query,
            responses::XrpcErrors,
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

pub fn routes(namespace: &str) -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(in_namespace(namespace, routes!(get_like_statuses)))
        .routes(in_namespace(namespace, routes!(get_track_likes)))
        .routes(in_namespace(namespace, routes!(get_actor_likes)))
        .routes(in_namespace(namespace, routes!(get_tracks)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct LikeStatusesQuery {
    /// A DID, or a handle in any case.
    #[param(inline)]
    actor: Option<ActorParam>,
    /// AT-URIs of tracks, 1 to 100: the parameter repeats.
    #[param(inline)]
    uris: UrisParam,
}

/// Whether an actor likes tracks, in the order asked. Of an actor never seen: no. The actor may be left out by those whom
/// their token names.
#[utoipa::path(get, path = "/xrpc/fm.plyr.feed.getLikeStatuses", tag = "xrpc", params(LikeStatusesQuery), responses(
    (status = 200, body = LikeStatusesAnswer, description = "One status for each URI."), XrpcErrors
), security((), ("bearer" = []), ("session" = [])))]
async fn get_like_statuses(
    State(app): State<App>,
    credentials: Credentials,
    Query(LikeStatusesQuery { actor, uris }): Query<LikeStatusesQuery>,
) -> Result<Response, ApiError> {
    let named = actor.map(|actor| actor.0);
    let complete: Option<Vec<String>> = uris.0.iter().map(|uri| uri.uri.complete().map(ToString::to_string)).collect();
    let (asked, uris): (Vec<String>, Vec<NamedUri>) = uris.0.into_iter().map(|uri| (uri.text, uri.uri)).unzip();
    if let (Some(actor), Credentials::None, Some(uris)) = (&named, &credentials, complete) {
        let uris = uris.as_slice();
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

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct TrackLikesQuery {
    /// The AT-URI of the track, with a DID or a handle.
    #[param(inline)]
    uri: UriParam,
}

/// Who likes a track. A track never mentioned is liked by no account.
#[utoipa::path(get, path = "/xrpc/fm.plyr.feed.getTrackLikes", tag = "xrpc", params(TrackLikesQuery, PageParams), responses(
    (status = 200, body = TrackLikesAnswer, description = "A page of likes."), XrpcErrors
), security((), ("bearer" = []), ("session" = [])))]
async fn get_track_likes(
    State(app): State<App>,
    credentials: Credentials,
    Query(TrackLikesQuery { uri }): Query<TrackLikesQuery>,
    Query(page): Query<PageParams>,
) -> Result<Response, ApiError> {
    let pager = page.open(&app.cursors, format!("xrpc likers {}", uri.text))?;
    let mut transaction = app.read(&credentials).await?;
    let uri = transaction.resolve_uri(uri.uri).await?.ok_or_else(actor_not_found)?;
    let (likers, count) = match find_track_id(transaction.connection(), &uri).await? {
        Some(id) => {
            let likers = list_likers(transaction.connection(), id, &pager.wanted).await?;
            (likers, find_like_count(transaction.connection(), id).await?)
        }
        None => (Vec::new().into(), 0),
    };
    let (likers, cursor) = pager.close_stretch(likers, |last| Place { sort_at: last.sort_at, key: last.id.number() });
    let like = |liker: LikerView| TrackLike {
        uri: uri_of(&app.settings.collections, &liker.did, Collection::Like, liker.rkey).to_string(),
        actor: actor_basic(&liker.did, liker.handle.as_ref()),
        created_at: liker.created_at,
        indexed_at: liker.indexed_at,
    };
    let likes = likers.into_iter().map(like).collect();
    let answer = TrackLikesAnswer { uri: uri.to_string(), count, cursor, likes };
    answer_viewer(transaction, answer).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ActorLikesQuery {
    /// A DID, or a handle in any case.
    #[param(inline)]
    actor: ActorParam,
}

/// An actor's like records, also those of tracks that are not known. Of an actor never seen: none.
#[utoipa::path(get, path = "/xrpc/fm.plyr.feed.getActorLikes", tag = "xrpc", params(ActorLikesQuery, PageParams), responses(
    (status = 200, body = ActorLikesAnswer, description = "A page of likes."), XrpcErrors
), security((), ("bearer" = []), ("session" = [])))]
async fn get_actor_likes(
    State(app): State<App>,
    credentials: Credentials,
    Query(ActorLikesQuery { actor: ActorParam(name) }): Query<ActorLikesQuery>,
    Query(page): Query<PageParams>,
) -> Result<Response, ApiError> {
    let pager = page.open(&app.cursors, format!("xrpc likes of {}", name.as_str()))?;
    let mut transaction = app.read(&credentials).await?;
    let Some(actor) = find_named(&mut transaction, &name).await? else {
        return answer_viewer(transaction, ActorLikesAnswer { cursor: None, likes: Vec::new() }).await;
    };
    let likes = list_likes(transaction.connection(), actor.id, &pager.wanted).await?;
    let (likes, cursor) = pager.close_stretch(likes, |last| Place { sort_at: last.sort_at, key: last.rkey.number() });
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

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct TracksQuery {
    /// AT-URIs of tracks, 1 to 100: the parameter repeats.
    #[param(inline)]
    uris: UrisParam,
}

/// Tracks by their URIs.
#[utoipa::path(get, path = "/xrpc/fm.plyr.feed.getTracks", tag = "xrpc", params(TracksQuery), responses(
    (status = 200, body = TracksAnswer, description = "Those that are known."), XrpcErrors
), security((), ("bearer" = []), ("session" = [])))]
async fn get_tracks(
    State(app): State<App>,
    credentials: Credentials,
    Query(TracksQuery { uris }): Query<TracksQuery>,
) -> Result<Response, ApiError> {
    let uris = uris.0.into_iter().map(|uri| uri.uri).collect();
    let mut transaction = app.read(&credentials).await?;
    let uris = resolve_uris(&mut transaction, uris).await?;
    let ids = load_track_ids(transaction.connection(), &uris).await?;
    let tracks = load_tracks(transaction.connection(), &ids, None).await?;
    let tracks = tracks.into_iter().map(XrpcTrack::from).collect();
    answer_viewer(transaction, TracksAnswer { tracks }).await
}
