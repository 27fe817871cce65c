use super::{Dialect, Lost};
use crate::{
    decode::{Message, firehose, jetstream_v2},
    model::Collections,
};

/// Compares the first messages of a connection with what was asked for. Nothing of a connection that begins elsewhere is
/// handed over: a position of it would hide what was missed.
#[derive(Debug)]
pub(super) struct FirstMessageCheck<'a> {
    pub(super) dialect: Dialect,
    pub(super) collections: &'a Collections,
    /// The number below which the upstream was asked not to begin.
    pub(super) least: i64,
}

/// What a message shows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing: it has no number.
    Nothing,
    /// The upstream begins where it was asked to, or later.
    Fits,
    /// What was asked for is not in the upstream's past.
    Ahead(Lost),
}

impl FirstMessageCheck<'_> {
    pub(super) fn see(&self, message: &[u8]) -> Seen {
        let read = match self.dialect {
            // Moments are not in order, and say nothing.
            Dialect::JetstreamV1 => return Seen::Fits,
            Dialect::JetstreamV2 => jetstream_v2::decode_message(self.collections, message),
            Dialect::Firehose => firehose::decode_message(self.collections, message),
        };
        match read {
            Message::Frame(frame) => match frame.position {
                Some(number) if number < self.least => Seen::Ahead(Lost::Reset),
                Some(_) => Seen::Fits,
                None => Seen::Nothing,
            },
            Message::Info { name, .. } | Message::Error { error: name, .. } if name == "FutureCursor" => {
                Seen::Ahead(Lost::Future)
            }
            Message::Info { .. } | Message::Error { .. } => Seen::Nothing,
        }
    }
}
