use super::{commit_link::Link, reject::Item};
use crate::atproto::Timestamp;

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
}
