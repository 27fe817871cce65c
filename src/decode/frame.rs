use super::{commit_link::Link, reject::Item};
use crate::atproto::{Did, Tid, Timestamp};

/// What one message is, in the dialects that have more to say than events.
#[derive(Debug)]
pub enum Message {
    /// Events, or rejects in their place.
    Frame(Frame),
    /// `#info`, such as `OutdatedCursor`.
    Info {
        /// Such as `OutdatedCursor`.
        name: String,
        /// In words for an operator.
        message: Option<String>,
    },
    /// An error after which the server closes, such as `FutureCursor` or `ConsumerTooSlow`.
    Error {
        /// Such as `FutureCursor`.
        error: String,
        /// In words for an operator.
        message: Option<String>,
    },
}

/// What one frame held.
#[derive(Debug, Default)]
pub struct Frame {
    /// The upstream's number for the frame, in its own number space: what a position is made of.
    pub position: Option<i64>,
    /// When the upstream says that it saw the frame. Tells lag; orders nothing.
    pub time: Option<Timestamp>,
    /// Operations on our collections, account, identity and sync events, and rejects, in the frame's order. Operations on
    /// other collections are no items.
    pub items: Vec<Item>,
    /// How the commit follows on the one before it, whatever its collections: only the raw firehose tells.
    pub link: Option<Link>,
    /// The repo, if something of the commit did not come as its owner wrote it.
    pub undelivered: Option<Undelivered>,
}

/// A repo of which something was not delivered: only its PDS can tell what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undelivered {
    /// Whose.
    pub did: Did,
    /// Of the commit, where that could be read.
    pub rev: Option<Tid>,
    /// Whether it is one of our collections that is concerned; otherwise it may be any.
    pub is_ours: bool,
}

impl Undelivered {
    /// What is missing of a commit that came to these items. Its own `did` and `rev` may be no identifiers.
    pub(super) fn of(items: &[Item], did: Option<&str>, rev: Option<&str>) -> Option<Self> {
        let faults = || {
            items.iter().filter_map(|item| match item {
                Item::Reject(reject) if reject.reason.is_of_delivery() => Some(reject),
                _ => None,
            })
        };
        faults().next()?;
        let is_ours = faults().any(|reject| reject.path.is_some());
        Some(Self { did: Did::parse(did?).ok()?, rev: rev.and_then(|rev| Tid::parse(rev).ok()), is_ours })
    }
}

impl Frame {
    /// The repo and rev that it tells of, which all of a commit share.
    pub fn rev(&self) -> Option<(&Did, Tid)> {
        let of_link = || self.link.as_ref().map(|link| (&link.did, link.rev));
        self.items.iter().find_map(Item::rev).or_else(of_link)
    }
}
