//! The queries of `lexicons/`, for programs of the network. Without authentication, but where the actor is left out.

use axum::{
    Json,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

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
    atproto::{Did, Handle, Timestamp},
    decode::Collection,
    store::views::{
        Place,
        actors::{ActorName, ActorView, find_actor, find_newest_rev},
        likes::{LikeStatuses, LikeView, LikerView, find_like_statuses, list_likers, list_likes},
        lists::{ListView, find_list, list_items, list_lists},
        tracks::{TrackView, find_like_count, find_track_id, load_track_ids, load_tracks},
    },
};

/// Tells a viewer how new the answer is.
pub const REPO_REV: HeaderName = HeaderName::from_static("atproto-repo-rev");

/// Which tracks an actor likes.
#[derive(Debug, Serialize, ToSchema)]
pub struct LikeStatusesAnswer {
    /// The actor.
    pub actor: String,
    /// In the order asked.
    pub statuses: Vec<LikeStatus>,
}

/// Whether one track is liked.
#[derive(Debug, Serialize, ToSchema)]
pub struct LikeStatus {
    /// The track, as it was asked for.
    pub uri: String,
    /// Whether the actor has a live like of it.
    pub liked: bool,
    /// The newest such like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub like: Option<String>,
}

/// A page of those who like a track, newest first, each once.
#[derive(Debug, Serialize, ToSchema)]
pub struct TrackLikesAnswer {
    /// The track.
    pub uri: String,
    /// Distinct actors who like it: all of them, not those of the page.
    pub count: i64,
    /// Asks for what follows; left out on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// In order.
    pub likes: Vec<TrackLike>,
}

/// One actor's newest like of a track.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrackLike {
    /// Who.
    pub actor: ActorBasic,
    /// Where the like is.
    pub uri: String,
    /// What the like says.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub created_at: Option<Timestamp>,
    /// When it came to us.
    #[schema(value_type = String, format = DateTime)]
    pub indexed_at: Timestamp,
}

/// An actor.
#[derive(Debug, Serialize, ToSchema)]
pub struct ActorBasic {
    /// Who.
    pub did: String,
    /// Left out while not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handle: Option<String>,
}

/// A page of an actor's like records, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct ActorLikesAnswer {
    /// Asks for what follows; left out on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// In order; also those of tracks that are not known.
    pub likes: Vec<ActorLike>,
}

/// A like record.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActorLike {
    /// Where the like is.
    pub uri: String,
    /// What is liked.
    pub subject: StrongRef,
    /// What the like says.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub created_at: Option<Timestamp>,
    /// When it came to us.
    #[schema(value_type = String, format = DateTime)]
    pub indexed_at: Timestamp,
}

/// A record in one version.
#[derive(Debug, Serialize, ToSchema)]
pub struct StrongRef {
    /// Where.
    pub uri: String,
    /// Which version.
    pub cid: String,
}

/// Tracks.
#[derive(Debug, Serialize, ToSchema)]
pub struct TracksAnswer {
    /// In the order asked; those whose record is not there are left out.
    pub tracks: Vec<XrpcTrack>,
}

/// A track.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct XrpcTrack {
    /// Where the record is.
    pub uri: String,
    /// Which version of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cid: Option<String>,
    /// Whose repo.
    pub author: ActorBasic,
    /// Title as written.
    pub title: String,
    /// Artist's name as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artist: Option<String>,
    /// Album's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub album: Option<String>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<i64>,
    /// Where the cover is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_url: Option<String>,
    /// Where the audio is, when the record says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_url: Option<String>,
    /// Text of the artist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Distinct actors who like it.
    pub like_count: i64,
    /// What the record says.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// When it came to us.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub indexed_at: Option<Timestamp>,
}

/// A page of an actor's lists, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct ActorListsAnswer {
    /// Asks for what follows; left out on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// In order.
    pub lists: Vec<XrpcList>,
}

/// A list without its items.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct XrpcList {
    /// Where the record is.
    pub uri: String,
    /// Which version of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cid: Option<String>,
    /// What the owner calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `album`, `playlist`, `liked`, or another word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list_type: Option<String>,
    /// How many places it has.
    pub item_count: i64,
    /// What the record says.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// What the record says.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
}

/// A page of a list's items.
#[derive(Debug, Serialize, ToSchema)]
pub struct ListAnswer {
    /// Asks for what follows; left out on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// The list.
    pub list: XrpcList,
    /// In the owner's order.
    pub items: Vec<XrpcListItem>,
}

/// One place in a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct XrpcListItem {
    /// The record named, as the list names it.
    pub subject: StrongRef,
}

/// The version of this service.
#[derive(Debug, Serialize, ToSchema)]
pub struct XrpcHealth {
    /// Of the program.
    pub version: String,
}

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
    (status = 400, body = XrpcError, description = "`InvalidRequest`, or `ActorNotFound`: nobody is known to have the handle."),
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
    let likes = likers.into_iter().map(like).collect();
    answer_viewer(reading, TrackLikesAnswer { uri: uri.to_string(), count, cursor, likes }).await
}

/// An actor's like records, also those of tracks that are not known. Of an actor never seen: none.
#[utoipa::path(get, path = "/xrpc/fm.plyr.feed.getActorLikes", tag = "xrpc", params(
    ("actor" = String, Query, description = "A DID, or a handle in any case."),
    ("limit" = Option<i64>, Query, minimum = 1, maximum = 100, description = "Likes on a page, 50 unless given."),
    ("cursor" = Option<String>, Query, description = "`cursor` of the page before."),
), responses(
    (status = 200, body = ActorLikesAnswer),
    (status = 400, body = XrpcError, description = "`InvalidRequest`, or `ActorNotFound`: nobody is known to have the handle."),
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
    (status = 400, body = XrpcError, description = "`InvalidRequest`, or `ActorNotFound`: nobody is known to have the handle."),
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
    (status = 400, body = XrpcError, description = "`InvalidRequest`, or `ListNotFound`."),
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
    let (items, last) = cut(items, page.limit);
    let cursor = last.map(|_| app.cursors.seal(&query, &(from + page.limit - 1)));
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

fn actor_basic(did: &Did, handle: Option<&Handle>) -> ActorBasic {
    ActorBasic { did: did.to_string(), handle: text(handle) }
}

fn xrpc_list(app: &App, list: ListView) -> XrpcList {
    XrpcList {
        uri: uri_of(&app.settings.collections, &list.did, Collection::List, list.rkey).to_string(),
        cid: text(list.cid.as_ref()),
        name: list.name,
        list_type: list.list_type,
        item_count: list.item_count,
        created_at: list.created_at,
        updated_at: list.updated_at,
    }
}

impl From<TrackView> for XrpcTrack {
    fn from(view: TrackView) -> Self {
        Self {
            uri: view.uri.to_string(),
            cid: text(view.cid.as_ref()),
            author: actor_basic(&view.artist_did, view.artist_handle.as_ref()),
            title: view.title,
            artist: view.artist,
            album: view.album,
            duration: view.duration,
            image_url: view.image_url,
            audio_url: view.audio_url,
            description: view.description,
            like_count: view.like_count,
            created_at: view.created_at,
            indexed_at: view.indexed_at,
        }
    }
}
