//! How a relay or a PDS is asked: `GET /xrpc/com.atproto.sync.subscribeRepos`.

use super::{Dialect, ForeignPosition, SourceSpec};
use crate::model::Position;

/// A cursor that one relay or PDS reads as its own sequence number. Made from a position of that very source and from
/// nothing else, and it makes the address that it is sent to: so no other number can be sent, nor this one elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirehoseSeq<'s> {
    source: &'s SourceSpec,
    seq: i64,
}

impl<'s> FirehoseSeq<'s> {
    /// Takes a position of this source.
    pub fn of(source: &'s SourceSpec, position: &Position) -> Result<Self, ForeignPosition> {
        Ok(Self { source, seq: source.number(Dialect::Firehose, position)?.max(0) })
    }

    /// Everything that the host still keeps.
    pub fn oldest(source: &'s SourceSpec) -> Self {
        Self { source, seq: 0 }
    }

    /// The number that is sent.
    pub fn seq(self) -> i64 {
        self.seq
    }

    /// The address to connect to. The host answers with what came after the cursor, so no margin is needed.
    pub(super) fn url(self) -> String {
        format!("{}?cursor={}", live_url(self.source), self.seq)
    }
}

/// The address to connect to for what happens from now on.
pub(super) fn live_url(source: &SourceSpec) -> String {
    format!("{}/xrpc/com.atproto.sync.subscribeRepos", source.origin())
}
