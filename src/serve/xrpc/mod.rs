//! The queries of `lexicons/`, for programs of the network. Without authentication, but where the actor is left out.

mod shapes;

use axum::{
    Json,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use shapes::{
    ActorLike, ActorLikesAnswer, ActorListsAnswer, LikeStatus, LikeStatusesAnswer, ListAnswer, StrongRef, TrackLike,
    TrackLikesAnswer, TracksAnswer, XrpcHealth, XrpcListItem, XrpcTrack, actor_basic, xrpc_list,
};

use super::{
    app::{App, Credentials, Reading},
    lane::Connection,
    lists::{list_key, uri_of},
    parameters::{NamedUri, Parameters, named_uri},
    refusal::{Refusal, XrpcError},
    shapes::text,
    tracks::cut,
};
use crate::{
    model::Collection,
    store::views::{
        Place,
        actors::{ActorName, ActorView, find_actor, find_newest_rev},
        likes::{LikeStatuses, LikeView, LikerView, find_like_statuses, list_likers, list_likes},
        lists::{find_list, list_items, list_lists},
        tracks::{find_like_count, find_track_id, load_track_ids, load_tracks},
    },
};

/// Tells a viewer how new the answer is.
pub const REPO_REV: HeaderName = HeaderName::from_static("atproto-repo-rev");

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
) -> Result<Response, Refusal> {
    let named = parameters.one("actor").map(|_| parameters.actor("actor")).transpose()?;
    let asked = parameters.uris("uris")?;
    let uris = asked.iter().map(|uri| named_uri(uri)).collect::<Result<Vec<_>, _>>();
    let uris = uris.map_err(|why| Refusal::parameter("uris", why))?;
    let are_complete = uris.iter().all(|uri| matches!(uri, NamedUri::Uri(_)));
    if let (Some(actor), Credentials::None, true) = (&named, &credentials, are_complete) {
        let uris = asked.as_slice();
        let ask = |mut connection: Connection| async move {
            let statuses = find_like_statuses(&mut connection, actor, uris).await;
            (connection, statuses)
        };
        let found = app.lane.ask(ask).await?;
        return Ok(Json(statuses_answer(&app, actor, asked, found)?).into_response());
    }
    let mut reading = app.read(&credentials).await?;
    let actor = match named {
        Some(actor) => actor,
        None => ActorName::Did(reading.require_viewer()?.did),
    };
    let resolved = resolve_uris(&mut reading, uris).await?;
    let found = find_like_statuses(reading.database(), &actor, &resolved).await?;
    let answer = statuses_answer(&app, &actor, asked, found)?;
    answer_viewer(reading, answer).await
}

fn statuses_answer(
    app: &App,
    actor: &ActorName,
    asked: Vec<String>,
    found: Option<LikeStatuses>,
) -> Result<LikeStatusesAnswer, Refusal> {
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
) -> Result<Response, Refusal> {
    let uri = named_uri(parameters.required("uri")?).map_err(|why| Refusal::parameter("uri", why))?;
    let query = format!("xrpc likers {}", parameters.required("uri")?);
    let page = parameters.page(&app.cursors, &query)?;
    let mut reading = app.read(&credentials).await?;
    let uri = reading.resolve_uri(uri).await?.ok_or_else(actor_not_found)?;
    let (likers, count) = match find_track_id(reading.database(), &uri).await? {
        Some(id) => {
            let likers = list_likers(reading.database(), id, &page).await?;
            (likers, find_like_count(reading.database(), id).await?)
        }
        None => (Vec::new(), 0),
    };
    let (likers, last) = cut(likers, page.limit);
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
    answer_viewer(reading, answer).await
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
) -> Result<Response, Refusal> {
    let name = parameters.actor("actor")?;
    let query = format!("xrpc likes of {}", name.as_str());
    let page = parameters.page(&app.cursors, &query)?;
    let mut reading = app.read(&credentials).await?;
    let Some(actor) = find_named(&mut reading, &name).await? else {
        return answer_viewer(reading, ActorLikesAnswer { cursor: None, likes: Vec::new() }).await;
    };
    let (likes, last) = cut(list_likes(reading.database(), actor.id, &page).await?, page.limit);
    let cursor = last.map(|last| app.cursors.seal(&query, &Place { sort_at: last.sort_at, key: last.rkey.number() }));
    let like = |like: LikeView| ActorLike {
        uri: uri_of(&app.settings.collections, &actor.did, Collection::Like, like.rkey).to_string(),
        subject: StrongRef { uri: like.subject.to_string(), cid: text(like.subject_cid.as_ref()).unwrap_or_default() },
        created_at: like.created_at,
        indexed_at: like.indexed_at,
    };
    let likes = likes.into_iter().map(like).collect();
    answer_viewer(reading, ActorLikesAnswer { cursor, likes }).await
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
) -> Result<Response, Refusal> {
    let asked = parameters.uris("uris")?;
    let uris = asked.iter().map(|uri| named_uri(uri)).collect::<Result<Vec<_>, _>>();
    let uris = uris.map_err(|why| Refusal::parameter("uris", why))?;
    let mut reading = app.read(&credentials).await?;
    let uris = resolve_uris(&mut reading, uris).await?;
    let ids = load_track_ids(reading.database(), &uris).await?;
    let tracks = load_tracks(reading.database(), &ids, None).await?;
    let tracks = tracks.into_iter().map(XrpcTrack::from).collect();
    answer_viewer(reading, TracksAnswer { tracks }).await
}

/// An actor's lists. Of an actor never seen: none.
#[utoipa::path(get, path = "/xrpc/fm.plyr.graph.getActorLists", tag = "xrpc", params(
    ("actor" = String, Query, description = "A DID, or a handle in any case."),
    ("listType" = Option<String>, Query, description = "Of this type alone, such as `album`, `playlist` or `liked`."),
    ("limit" = Option<i64>, Query, minimum = 1, maximum = 100, description = "Lists on a page, 50 unless given."),
    ("cursor" = Option<String>, Query, description = "`cursor` of the page before."),
), responses(
    (status = 200, body = ActorListsAnswer),
    (status = 400, body = XrpcError, description = "`InvalidRequest`, `InvalidCursor`, or `ActorNotFound`: nobody is known to have the handle."),
    (status = 401, body = XrpcError, description = "`InvalidToken`"),
))]
pub async fn get_actor_lists(
    State(app): State<App>,
    credentials: Credentials,
    parameters: Parameters,
) -> Result<Response, Refusal> {
    let name = parameters.actor("actor")?;
    let list_type = parameters.one("listType");
    let query = format!("xrpc lists {} {}", name.as_str(), list_type.unwrap_or_default());
    let page = parameters.page(&app.cursors, &query)?;
    let mut reading = app.read(&credentials).await?;
    let lists = match find_named(&mut reading, &name).await? {
        Some(actor) => list_lists(reading.database(), actor.id, list_type, &page).await?,
        None => Vec::new(),
    };
    let (lists, last) = cut(lists, page.limit);
    let cursor = last.map(|last| app.cursors.seal(&query, &Place { sort_at: last.sort_at, key: last.rkey.number() }));
    let lists = lists.into_iter().map(|list| xrpc_list(&app, list)).collect();
    answer_viewer(reading, ActorListsAnswer { cursor, lists }).await
}

/// A list and its items.
#[utoipa::path(get, path = "/xrpc/fm.plyr.graph.getList", tag = "xrpc", params(
    ("list" = String, Query, description = "The AT-URI of the list."),
    ("limit" = Option<i64>, Query, minimum = 1, maximum = 100, description = "Items on a page, 50 unless given."),
    ("cursor" = Option<String>, Query, description = "`cursor` of the page before."),
), responses(
    (status = 200, body = ListAnswer),
    (status = 400, body = XrpcError, description = "`InvalidRequest`, `InvalidCursor`, or `ListNotFound`."),
    (status = 401, body = XrpcError, description = "`InvalidToken`"),
))]
pub async fn get_list(
    State(app): State<App>,
    credentials: Credentials,
    parameters: Parameters,
) -> Result<Response, Refusal> {
    let not_found = || Refusal::new(StatusCode::BAD_REQUEST, "ListNotFound", "list: no such list");
    let uri = named_uri(parameters.required("list")?).map_err(|why| Refusal::parameter("list", why))?;
    let query = format!("xrpc list {}", parameters.required("list")?);
    let page = parameters.page::<i64>(&app.cursors, &query)?;
    let mut reading = app.read(&credentials).await?;
    let uri = reading.resolve_uri(uri).await?.ok_or_else(not_found)?;
    let rkey = list_key(&app.settings.collections, &uri).ok_or_else(not_found)?;
    let list = find_list(reading.database(), &uri.did, rkey).await?.ok_or_else(not_found)?;
    let from = page.after.unwrap_or_default();
    let items = list_items(reading.database(), (&uri.did, rkey), from, page.limit).await?;
    let (items, follows) = cut(items, page.limit);
    let cursor = follows.map(|_| app.cursors.seal(&query, &(from + page.limit - 1)));
    let items = items.into_iter().map(|item| XrpcListItem { subject: StrongRef { uri: item.uri, cid: item.cid } });
    let answer = ListAnswer { cursor, list: xrpc_list(&app, list), items: items.collect() };
    answer_viewer(reading, answer).await
}

/// Says that the service is there, and its version.
#[utoipa::path(get, path = "/xrpc/_health", tag = "xrpc", responses((status = 200, body = XrpcHealth)))]
pub async fn health() -> Json<XrpcHealth> {
    Json(XrpcHealth { version: env!("CARGO_PKG_VERSION").to_owned() })
}

/// The answer to methods that are not served.
pub async fn refuse_method() -> Refusal {
    Refusal::new(StatusCode::NOT_IMPLEMENTED, "MethodNotImplemented", "this service does not have the method")
}

fn actor_not_found() -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "ActorNotFound", "nobody is known to have this handle")
}

/// The actor of a name; `None` for a DID never seen, refused for a handle that nobody is known to have.
async fn find_named(reading: &mut Reading, name: &ActorName) -> Result<Option<ActorView>, Refusal> {
    match (find_actor(reading.database(), name).await?, name) {
        (None, ActorName::Handle(_)) => Err(actor_not_found()),
        (actor, _) => Ok(actor),
    }
}

/// URIs with a DID in front, in the order given; empty, which is nobody's, where nobody is known to have the handle.
async fn resolve_uris(reading: &mut Reading, uris: Vec<NamedUri>) -> Result<Vec<String>, Refusal> {
    let mut resolved = Vec::with_capacity(uris.len());
    for uri in uris {
        resolved.push(text(reading.resolve_uri(uri).await?.as_ref()).unwrap_or_default());
    }
    Ok(resolved)
}

/// Says with the answer how new it is for the viewer, if there is one.
async fn answer_viewer(mut reading: Reading, answer: impl Serialize) -> Result<Response, Refusal> {
    let rev = match reading.viewer_id() {
        Some(viewer) => find_newest_rev(reading.database(), viewer).await?,
        None => None,
    };
    let mut response = Json(answer).into_response();
    if let Some(rev) = rev {
        let value = HeaderValue::from_str(&rev.to_string()).expect("a TID is made of letters and digits");
        response.headers_mut().insert(REPO_REV, value);
    }
    Ok(response)
}
