//! One frame or record in, typed events or named rejects out.
//!
//! Contract: pure and total. No input makes it panic, allocate without bound or recurse without bound; what it cannot use
//! becomes a [`Reject`] that names its reason, and never costs more than itself. Knows no socket, no SQL and no runtime.
//!
//! Two steps: a dialect ([`jetstream_v1`], [`jetstream_v2`], [`firehose`]) finds the operations in a frame, and the records behind those of
//! our collections ([`Collections`](crate::model::Collections)) are held against their lexicon ([`record`]).

mod bluesky;
mod car;
mod fields;
pub mod firehose;
mod jetstream;
pub mod jetstream_v1;
pub mod jetstream_v2;
pub mod lexicons;
mod operation;
pub mod record;
mod reject;
pub mod repo;
mod value;

pub use bluesky::{BLUESKY_PROFILE, BlueskyProfile, decode_bluesky_profile};
pub use operation::{decode_read, decode_reject};
pub use reject::{Item, RawFormat, Reject};

/// Bytes of a message at most: what the specification allows the raw firehose, which is the most of all dialects.
pub const MESSAGE_MAX: usize = 5 << 20;

/// What one message is, in the dialects that have more to say than events.
#[derive(Debug)]
pub enum Message {
    /// Events, or rejects in their place.
    Frame(Frame),
    /// `#info`, such as `OutdatedCursor`.
    Info {
        /// Such as `OutdatedCursor`.
        name: String,
        /// For people.
        message: Option<String>,
    },
    /// An error after which the server closes, such as `FutureCursor` or `ConsumerTooSlow`.
    Error {
        /// Such as `FutureCursor`.
        error: String,
        /// For people.
        message: Option<String>,
    },
}

/// What one frame held.
#[derive(Debug, Default)]
pub struct Frame {
    /// The upstream's number for the frame, in its own number space: what a position is made of.
    pub position: Option<i64>,
    /// When the upstream says that it saw the frame. Tells lag; orders nothing.
    pub time: Option<crate::atproto::Timestamp>,
    /// Operations on our collections, account, identity and sync events, and rejects, in the frame's order. Operations on
    /// other collections are no items.
    pub items: Vec<Item>,
    /// How the commit follows on the one before it, whatever its collections: only the raw firehose tells.
    pub link: Option<firehose::Link>,
}
