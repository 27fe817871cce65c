//! What REST answers look like.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    atproto::{AtUri, Did, Timestamp},
    store::views::{
        actors::ActorView,
        likes::LikerView,
        lists::{ListItemView, ListView},
        tracks::{FeatureView, TrackView},
    },
};

/// A track.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Track {
    /// Stable for the URI, for the life of the index.
    pub id: i64,
    /// Title as written.
    pub title: String,
    /// Artist's name as written.
    pub artist: Option<String>,
    /// Whose repo.
    pub artist_did: String,
    /// Null while not known.
    pub artist_handle: Option<String>,
    /// From the artist's profile record, or else the blob of their `app.bsky.actor.profile`.
    pub artist_avatar_url: Option<String>,
    /// Album's name.
    pub album: Option<String>,
    /// Seconds.
    pub duration: Option<i64>,
    /// Where the cover is.
    pub image_url: Option<String>,
    /// The record's `audioUrl`; null where the audio is a blob.
    pub audio_url: Option<String>,
    /// Featured artists.
    pub features: Vec<Feature>,
    /// Text of the artist.
    pub description: Option<String>,
    /// The artist's own labels.
    pub labels: Vec<String>,
    /// Where the record is.
    pub atproto_record_uri: String,
    /// Which version of it.
    pub atproto_record_cid: Option<String>,
    /// What the record says.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub created_at: Option<Timestamp>,
    /// Distinct actors who like it.
    pub like_count: i64,
    /// Whether the viewer likes it; false without a viewer.
    pub liked: bool,
}

/// A featured artist.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Feature {
    /// Who.
    pub did: String,
    /// Null while not known.
    pub handle: Option<String>,
    /// From the actor's `app.bsky.actor.profile`; null while not known.
    pub display_name: Option<String>,
}

/// A page of tracks.
#[derive(Debug, Serialize, ToSchema)]
pub struct TrackPage {
    /// In order.
    pub tracks: Vec<Track>,
    /// Asks for what follows; null on the last page.
    pub next_cursor: Option<String>,
    /// Whether anything follows.
    pub has_more: bool,
}

/// An actor.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Artist {
    /// Who.
    pub did: String,
    /// Null while not known.
    pub handle: Option<String>,
    /// From the actor's `app.bsky.actor.profile`; null while not known.
    pub display_name: Option<String>,
    /// From the profile record.
    pub bio: Option<String>,
    /// From the profile record, or else the blob of the actor's `app.bsky.actor.profile`.
    pub avatar_url: Option<String>,
    /// From the profile record.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub created_at: Option<Timestamp>,
    /// From the profile record.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub updated_at: Option<Timestamp>,
}

/// An actor who likes a track.
#[derive(Debug, Serialize, ToSchema)]
pub struct Liker {
    /// Who.
    pub did: String,
    /// Null while not known.
    pub handle: Option<String>,
    /// From the actor's `app.bsky.actor.profile`; null while not known.
    pub display_name: Option<String>,
    /// From the profile record, or else the blob of the actor's `app.bsky.actor.profile`.
    pub avatar_url: Option<String>,
    /// What the like says, but never later than its commit.
    #[schema(value_type = String, format = DateTime)]
    pub liked_at: Timestamp,
}

/// A page of those who like a track, newest first, each once.
#[derive(Debug, Serialize, ToSchema)]
pub struct LikerPage {
    /// In order.
    pub users: Vec<Liker>,
    /// The track's `like_count`: all of them, not those of the page.
    pub count: i64,
    /// Asks for what follows; null on the last page.
    pub next_cursor: Option<String>,
}

/// A page of what an actor likes, newest like first: the tracks whose record is there, each once.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserLikes {
    /// Whose likes.
    pub user: Artist,
    /// In order.
    pub tracks: Vec<Track>,
    /// How many there are on all pages.
    pub count: i64,
    /// Asks for what follows; null on the last page.
    pub next_cursor: Option<String>,
}

/// A list without its items.
#[derive(Debug, Serialize, ToSchema)]
pub struct ListCard {
    /// Where the record is.
    pub uri: String,
    /// Which version of it.
    pub cid: Option<String>,
    /// Whose.
    pub owner_did: String,
    /// Null while not known.
    pub owner_handle: Option<String>,
    /// What the owner calls it.
    pub name: Option<String>,
    /// `album`, `playlist`, `liked`, or another word.
    pub list_type: Option<String>,
    /// How many places it has.
    pub item_count: i64,
    /// What the record says.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub created_at: Option<Timestamp>,
    /// What the record says.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub updated_at: Option<Timestamp>,
}

/// A list with its items.
#[derive(Debug, Serialize, ToSchema)]
pub struct ListWithItems {
    /// The list.
    #[serde(flatten)]
    pub list: ListCard,
    /// In the owner's order: all of them, or as many as an answer has room for.
    pub items: Vec<ListItem>,
    /// Asks for what follows; null where these are the last.
    pub next_cursor: Option<String>,
}

/// One place in a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct ListItem {
    /// The record named.
    pub uri: String,
    /// Its version, as the list names it.
    pub cid: String,
    /// The track, where the record is one and is there.
    pub track: Option<Track>,
}

/// A page of lists.
#[derive(Debug, Serialize, ToSchema)]
pub struct ListPage {
    /// Newest first.
    pub lists: Vec<ListCard>,
    /// Asks for what follows; null on the last page.
    pub next_cursor: Option<String>,
    /// Whether anything follows.
    pub has_more: bool,
}

impl TrackPage {
    /// A page, with the cursor of the one that follows, if one does.
    pub fn new(tracks: Vec<Track>, next_cursor: Option<String>) -> Self {
        Self { tracks, has_more: next_cursor.is_some(), next_cursor }
    }
}

impl From<TrackView> for Track {
    fn from(view: TrackView) -> Self {
        let feature = |feature: FeatureView| Feature {
            did: feature.did.to_string(),
            handle: feature.handle.as_ref().map(ToString::to_string),
            display_name: feature.display_name,
        };
        Self {
            id: view.id.number(),
            artist_did: view.artist_did.to_string(),
            artist_handle: view.artist_handle.as_ref().map(ToString::to_string),
            artist_avatar_url: view.artist_avatar,
            features: view.features.into_iter().map(feature).collect(),
            atproto_record_uri: view.uri.to_string(),
            atproto_record_cid: view.cid.as_ref().map(ToString::to_string),
            title: view.title,
            artist: view.artist,
            album: view.album,
            duration: view.duration,
            image_url: view.image_url,
            audio_url: view.audio_url,
            description: view.description,
            labels: view.labels,
            created_at: view.created_at,
            like_count: view.like_count,
            liked: view.liked,
        }
    }
}

impl From<ActorView> for Artist {
    fn from(view: ActorView) -> Self {
        Self {
            did: view.did.to_string(),
            handle: view.handle.as_ref().map(ToString::to_string),
            display_name: view.display_name,
            bio: view.bio,
            avatar_url: view.avatar,
            created_at: view.created_at,
            updated_at: view.updated_at,
        }
    }
}

impl Artist {
    /// Of an actor of whom nothing has been seen.
    pub fn unknown(did: &Did) -> Self {
        Self {
            did: did.to_string(),
            handle: None,
            display_name: None,
            bio: None,
            avatar_url: None,
            created_at: None,
            updated_at: None,
        }
    }
}

impl From<LikerView> for Liker {
    fn from(view: LikerView) -> Self {
        Self {
            did: view.did.to_string(),
            handle: view.handle.as_ref().map(ToString::to_string),
            display_name: view.display_name,
            avatar_url: view.avatar,
            liked_at: view.sort_at,
        }
    }
}

impl ListCard {
    /// The card of a list at `uri`.
    pub fn new(uri: &AtUri, view: ListView) -> Self {
        Self {
            uri: uri.to_string(),
            cid: view.cid.as_ref().map(ToString::to_string),
            owner_did: view.did.to_string(),
            owner_handle: view.handle.as_ref().map(ToString::to_string),
            name: view.name,
            list_type: view.list_type,
            item_count: view.item_count,
            created_at: view.created_at,
            updated_at: view.updated_at,
        }
    }
}

impl ListItem {
    /// An item with its track, if it has one.
    pub fn new(view: ListItemView, track: Option<Track>) -> Self {
        Self { uri: view.uri, cid: view.cid, track }
    }
}
