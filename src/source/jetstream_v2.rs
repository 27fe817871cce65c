//! How Jetstream v2 is asked: `GET /xrpc/network.bsky.jetstream.subscribeEvents`.

use std::fmt::Write as _;

use super::{Dialect, ForeignPosition, SourceSpec};
use crate::model::{Collection, Collections, Position};

/// The only way in which the messages are framed.
pub(super) const SUBPROTOCOL: &str = "xrpc.v1.json";

/// A cursor that one Jetstream v2 host reads as its own sequence number. Made from a position of that very source, or from
/// what that host itself said, and it makes the address that it is sent to: so no other number can be sent, nor this one
/// elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JetstreamSeq<'s> {
    source: &'s SourceSpec,
    seq: i64,
}

impl<'s> JetstreamSeq<'s> {
    /// From here on a host takes a number for unix microseconds.
    const END: i64 = 1_000_000_000_000_000;

    /// Takes a position of this source.
    pub fn of(source: &'s SourceSpec, position: &Position) -> Result<Self, ForeignPosition> {
        let seq = source.number(Dialect::JetstreamV2, position)?;
        Ok(Self { source, seq: seq.clamp(0, Self::END - 1) })
    }

    /// Everything that the host has; it refuses this where it no longer has the beginning.
    pub fn oldest(source: &'s SourceSpec) -> Self {
        Self { source, seq: 0 }
    }

    /// The oldest that the host keeps, by its own words.
    pub(super) fn announced(source: &'s SourceSpec, seq: i64) -> Self {
        Self { source, seq: seq.clamp(0, Self::END - 1) }
    }

    /// The oldest that the host keeps, by a moment long before: other than an old number, an old moment is not refused.
    pub(super) fn long_ago(source: &'s SourceSpec) -> Self {
        Self { source, seq: Self::END }
    }

    /// The number that is sent.
    pub fn seq(self) -> i64 {
        self.seq
    }

    /// Earlier by so many events: a server that was not shut down in order may give numbers again that it had given.
    #[must_use]
    pub fn rewound(self, events: i64) -> Self {
        Self { seq: self.seq.saturating_sub(events).max(0), ..self }
    }

    /// The address to connect to.
    pub(super) fn url(self, collections: &Collections) -> String {
        let mut url = live_url(self.source, collections);
        let _ = write!(url, "&cursor={}", self.seq);
        url
    }
}

/// The address to connect to for what happens from now on. The collections are constraints on commits alone.
pub(super) fn live_url(source: &SourceSpec, collections: &Collections) -> String {
    let mut url = format!("{}/xrpc/network.bsky.jetstream.subscribeEvents", source.origin());
    url.push_str("?kinds=commit&kinds=identity&kinds=account&kinds=sync");
    for collection in Collection::ALL {
        url.push_str("&collections=");
        url.push_str(collections.nsid(collection).as_str());
    }
    url
}
