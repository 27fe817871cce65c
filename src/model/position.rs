use std::{cmp::Ordering, sync::Arc};

use super::words::words;

/// A number of one upstream's number space: it means something to the host that gave it, and to no other. Where it is
/// to be sent, only the [`SourceSpec`](crate::source::SourceSpec) of that very source makes a cursor of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The source that counts like this, by its full name: `dialect+wss://host`.
    pub source: Arc<str>,
    /// The number space.
    pub kind: PositionKind,
    /// The number.
    pub value: i64,
}

/// Numbers of different spaces are neither before nor after each other.
impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self.is_of(&other.source, other.kind)).then(|| self.value.cmp(&other.value))
    }
}

impl Position {
    /// Whether it is of this source's number space.
    pub fn is_of(&self, source: &str, kind: PositionKind) -> bool {
        *self.source == *source && self.kind == kind
    }
}

words! {
    /// A number space.
    pub enum PositionKind {
        /// Unix microseconds as one Jetstream v1 host stamps them.
        JetstreamV1Micros = "jetstream_v1_us",
        /// Sequence numbers of one Jetstream v2 host.
        JetstreamV2Seq = "jetstream_v2_seq",
        /// Sequence numbers of one relay or PDS.
        FirehoseSeq = "firehose_seq",
    }
}
