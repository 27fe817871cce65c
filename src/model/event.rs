use super::{account::AccountStatus, collection::Collection, record::Record};
use crate::atproto::{Cid, Did, Handle, RecordKey, Tid, Timestamp};

/// Something that happened to one actor.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Whose repo or account.
    pub did: Did,
    /// What happened.
    pub body: EventBody,
}

impl Event {
    /// Of which kind it is.
    pub fn kind(&self) -> EventKind {
        match &self.body {
            EventBody::Commit(commit) => EventKind::Record(commit.collection),
            EventBody::Identity { .. } => EventKind::Identity,
            EventBody::Account { .. } => EventKind::Account,
            EventBody::Sync { .. } => EventKind::Sync,
        }
    }

    /// The rev that it tells of, if it is a commit's or a repo's.
    pub fn rev(&self) -> Option<Tid> {
        match &self.body {
            EventBody::Commit(commit) => Some(commit.rev),
            EventBody::Sync { rev } => Some(*rev),
            EventBody::Identity { .. } | EventBody::Account { .. } => None,
        }
    }
}

/// When a host said something of an account. What it said later is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostMoment {
    /// By the host's clock, which may count milliseconds.
    pub at: Timestamp,
    /// The event's sequence number, which orders what happened at one time; 0 where it has none.
    pub seq: i64,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum EventBody {
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
        /// When.
        at: HostMoment,
    },
    /// The repo diverged from what its events said.
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

/// The kinds of events that are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// An operation on a record of this collection.
    Record(Collection),
    /// See [`EventBody::Account`].
    Account,
    /// See [`EventBody::Identity`].
    Identity,
    /// See [`EventBody::Sync`].
    Sync,
}

impl EventKind {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        Collection::ALL.into_iter().map(Self::Record).chain([Self::Account, Self::Identity, Self::Sync])
    }

    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Record(collection) => collection.as_str(),
            Self::Account => "account",
            Self::Identity => "identity",
            Self::Sync => "sync",
        }
    }
}
