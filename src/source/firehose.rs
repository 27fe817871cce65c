//! How a relay or a PDS is asked: `GET /xrpc/com.atproto.sync.subscribeRepos`.

use super::{ForeignPosition, Position, PositionKind};

/// A cursor that a relay or PDS reads as its own sequence number. Made from a position of that number space and from
/// nothing else, so that no other number can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FirehoseSeq(i64);

impl FirehoseSeq {
    /// Everything that the host still keeps.
    pub const OLDEST: Self = Self(0);

    /// Takes a position of this number space.
    pub fn of(position: Position) -> Result<Self, ForeignPosition> {
        Ok(Self(position.in_space(PositionKind::FirehoseSeq)?).max(Self::OLDEST))
    }

    /// The number that is sent.
    pub fn seq(self) -> i64 {
        self.0
    }
}

/// The address to connect to. The host answers with what came after the cursor, so no margin is needed.
pub(super) fn url(origin: &str, cursor: Option<FirehoseSeq>) -> String {
    let path = "/xrpc/com.atproto.sync.subscribeRepos";
    match cursor {
        Some(FirehoseSeq(seq)) => format!("{origin}{path}?cursor={seq}"),
        None => format!("{origin}{path}"),
    }
}
