use super::collection::Collection;
use crate::atproto::{AtUri, Cid, Did, RecordKey, Tid, Timestamp};

/// A record that satisfies its lexicon. Unknown fields are not kept: the repo has them.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// `<namespace>.like`
    Like(Like),
    /// `<namespace>.list`
    List(List),
    /// `<namespace>.track`
    Track(Box<Track>),
    /// `<namespace>.actor.profile`
    Profile(Profile),
    /// `<namespace>.comment`
    #[cfg(feature = "fifth-collection")]
    Comment(super::comment::Comment),
}

impl Record {
    /// The collection that the record is of.
    pub fn collection(&self) -> Collection {
        match self {
            Self::Like(_) => Collection::Like,
            Self::List(_) => Collection::List,
            Self::Track(_) => Collection::Track,
            Self::Profile(_) => Collection::Profile,
            #[cfg(feature = "fifth-collection")]
            Self::Comment(_) => Collection::Comment,
        }
    }

    /// The version of a track that the record is about, where it names one.
    pub fn subject(&self) -> Option<Subject<'_>> {
        match self {
            Self::Like(like) => Some(Subject { track: &like.subject, cid: &like.subject_cid }),
            Self::List(_) | Self::Track(_) | Self::Profile(_) => None,
            #[cfg(feature = "fifth-collection")]
            Self::Comment(comment) => Some(Subject { track: &comment.subject, cid: &comment.subject_cid }),
        }
    }
}

/// The version of a track that a record is about.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'r> {
    /// The track, in the track collection of the record's namespace.
    pub track: &'r AtUri,
    /// Its version.
    pub cid: &'r Cid,
}

/// A like of a track.
#[derive(Debug, Clone, PartialEq)]
pub struct Like {
    /// The track, always in the track collection of the same namespace.
    pub subject: AtUri,
    /// The version of the track that the liker saw.
    pub subject_cid: Cid,
    /// What the liker's clock said.
    pub created_at: Timestamp,
}

/// An ordered list of records.
#[derive(Debug, Clone, PartialEq)]
pub struct List {
    /// In the owner's order; at most 500; any record may be named.
    pub items: Vec<ListItem>,
    /// What the owner calls it.
    pub name: Option<String>,
    /// `album`, `playlist`, `liked`, or another word.
    pub list_type: Option<String>,
    /// What the owner's clock said.
    pub created_at: Timestamp,
    /// What the owner's clock said at the last change.
    pub updated_at: Option<Timestamp>,
}

/// One place in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct ListItem {
    /// The record.
    pub uri: AtUri,
    /// Its version.
    pub cid: Cid,
}

/// A track.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    /// Title as written.
    pub title: String,
    /// Artist's name as written.
    pub artist: String,
    /// Such as `mp3`.
    pub file_type: String,
    /// Where the audio is, when it is not a blob.
    pub audio_url: Option<String>,
    /// The CID of the audio blob.
    pub audio_cid: Option<String>,
    /// Album's name.
    pub album: Option<String>,
    /// Seconds.
    pub duration: Option<i64>,
    /// The DIDs of featured artists, at most 10.
    pub features: Vec<Did>,
    /// Where the cover is.
    pub image_url: Option<String>,
    /// Text of the artist.
    pub description: Option<String>,
    /// Values of the artist's own labels.
    pub labels: Vec<String>,
    /// Who may listen, as the record says it.
    pub support_gate: Option<serde_json::Value>,
    /// What the artist's clock said.
    pub created_at: Timestamp,
}

/// What an actor says of themselves to this app.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Where the picture is.
    pub avatar: Option<String>,
    /// Text of the actor.
    pub bio: Option<String>,
    /// What the actor's clock said.
    pub created_at: Timestamp,
    /// What the actor's clock said at the last change.
    pub updated_at: Option<Timestamp>,
}

/// The version of a record that a commit names.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordPath {
    /// Whose repo.
    pub did: Did,
    /// Which of our collections.
    pub collection: Collection,
    /// Its key; need not be of the form that the lexicon asks for.
    pub rkey: RecordKey,
    /// The commit's rev.
    pub rev: Tid,
    /// The CID that the commit names.
    pub cid: Option<Cid>,
}
