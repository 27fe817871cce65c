//! What XRPC answers look like: as `lexicons/` says.

use serde::Serialize;
use utoipa::ToSchema;

use super::super::{http::app::App, record_uris::uri_of};
use crate::{
    atproto::{Did, Handle, Timestamp},
    model::Collection,
    store::views::{lists::ListView, tracks::TrackView},
};

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
    pub cid: String,
    /// Title as written.
    pub title: String,
    /// Artist's name as written.
    pub artist: String,
    /// Such as `mp3`.
    pub file_type: String,
    /// Where the audio is, when the record says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_url: Option<String>,
    /// Album's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub album: Option<String>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<i64>,
    /// Where the cover is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_url: Option<String>,
    /// Text of the artist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The DIDs of featured artists.
    pub features: Vec<String>,
    /// Values of the artist's own labels.
    pub labels: Vec<String>,
    /// Distinct actors who like it.
    pub like_count: i64,
    /// What the record says.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
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

impl From<TrackView> for XrpcTrack {
    fn from(view: TrackView) -> Self {
        Self {
            uri: view.uri.to_string(),
            cid: view.cid.as_ref().map(ToString::to_string).unwrap_or_default(),
            title: view.title,
            artist: view.artist.unwrap_or_default(),
            file_type: view.file_type.unwrap_or_default(),
            audio_url: view.audio_url,
            album: view.album,
            duration: view.duration,
            image_url: view.image_url,
            description: view.description,
            features: view.features.iter().map(|feature| feature.did.to_string()).collect(),
            labels: view.labels,
            like_count: view.like_count,
            created_at: view.created_at,
        }
    }
}

/// The basics of an actor.
pub fn actor_basic(did: &Did, handle: Option<&Handle>) -> ActorBasic {
    ActorBasic { did: did.to_string(), handle: handle.map(ToString::to_string) }
}

/// A list without its items.
pub fn xrpc_list(app: &App, list: ListView) -> XrpcList {
    XrpcList {
        uri: uri_of(&app.settings.collections, &list.did, Collection::List, list.rkey).to_string(),
        cid: list.cid.as_ref().map(ToString::to_string),
        name: list.name,
        list_type: list.list_type,
        item_count: list.item_count,
        created_at: list.created_at,
        updated_at: list.updated_at,
    }
}
