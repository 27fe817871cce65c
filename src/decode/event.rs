use super::{Collection, Reason, operation::Refusal};
use crate::atproto::{AtUri, Cid, Did, Handle, RecordKey, Tid, Timestamp};

/// Something that happened to one actor.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Whose repo or account.
    pub did: Did,
    /// What happened.
    pub body: Body,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// One operation of a commit.
    Commit(Box<Commit>),
    /// The DID document or the handle may have changed.
    Identity {
        /// The handle that the event claims, if any; `handle.invalid` counts as none.
        handle: Option<Handle>,
        /// When, by the host's clock.
        at: Timestamp,
    },
    /// The account's state at the host that sent the event.
    Account {
        /// Whether the host serves the repo.
        active: bool,
        /// Why not.
        status: Option<AccountStatus>,
        /// When, by the host's clock.
        at: Timestamp,
    },
    /// The repo diverged from what its events told.
    Sync {
        /// The repo's head.
        rev: Tid,
    },
}

/// One operation on one of our collections. Its path is (did, collection of the key, rkey).
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// The commit's rev: the only thing that orders, and only per path.
    pub rev: Tid,
    /// Which of our collections.
    pub collection: Collection,
    /// The record's key; of the form that the collection's lexicon asks for.
    pub rkey: RecordKey,
    /// What was done.
    pub operation: Operation,
}

/// What a commit did to a path.
#[expect(clippy::large_enum_variant, reason = "deletes are four in a hundred, and the commit around it is boxed")]
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// Created or updated: the difference is not to be relied on.
    Put {
        /// The record's CID.
        cid: Cid,
        /// The record, valid by its lexicon.
        record: Record,
    },
    /// Deleted.
    Delete,
}

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
}

impl Record {
    /// The collection that the record is of.
    pub fn collection(&self) -> Collection {
        match self {
            Self::Like(_) => Collection::Like,
            Self::List(_) => Collection::List,
            Self::Track(_) => Collection::Track,
            Self::Profile(_) => Collection::Profile,
        }
    }
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

/// Why an account is not active, by <https://atproto.com/specs/account>.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountStatus {
    /// Gone for good.
    Deleted,
    /// By its owner, for a while.
    Deactivated,
    /// By its host, for a while.
    Suspended,
    /// By its host or a relay.
    Takendown,
    /// The relay is slowing it down; says nothing of visibility.
    Throttled,
    /// The relay lost track of it.
    Desynchronized,
    /// A word that the specification does not know.
    Other(String),
}

impl AccountStatus {
    /// Takes the word of the event; any word is taken.
    pub fn parse(text: &str) -> Self {
        match text {
            "deleted" => Self::Deleted,
            "deactivated" => Self::Deactivated,
            "suspended" => Self::Suspended,
            "takendown" => Self::Takendown,
            "throttled" => Self::Throttled,
            "desynchronized" => Self::Desynchronized,
            other => Self::Other(other.chars().take(64).collect()),
        }
    }

    /// Takes the word of an event's field, if the database can hold it.
    pub(super) fn from_event(word: &str, field: &str) -> Result<Self, Refusal> {
        if word.contains('\0') {
            return Err(Refusal::of(Reason::NulCharacter, field, format!("`{field}` holds U+0000")));
        }
        Ok(Self::parse(word))
    }

    /// The word of the event.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Deleted => "deleted",
            Self::Deactivated => "deactivated",
            Self::Suspended => "suspended",
            Self::Takendown => "takendown",
            Self::Throttled => "throttled",
            Self::Desynchronized => "desynchronized",
            Self::Other(word) => word,
        }
    }
}
