//! One frame or record in, typed events or named rejects out.
//!
//! Contract: pure and total. No input makes it panic, allocate without bound or recurse without bound; what it cannot use
//! becomes a [`Reject`] that names its reason, and never costs more than itself. Knows no socket, no SQL and no runtime.
//!
//! Two steps: a dialect ([`jetstream_v1`], [`jetstream_v2`], [`firehose`]) finds the operations in a frame, and the records behind those of
//! our collections are checked against their lexicon ([`record`]).

mod again;
mod car;
mod commit_link;
pub mod firehose;
mod firehose_message;
mod frame;
mod jetstream;
pub mod jetstream_v1;
pub mod jetstream_v2;
pub mod lexicons;
mod operation;
pub mod record;
mod refusal;
mod reject;
pub mod repo;
mod value;

pub use again::decode_reject;
pub use firehose_message::MESSAGE_MAX;
pub use frame::{Frame, Message, Undelivered};
pub use operation::decode_read;
pub use record::{BLUESKY_PROFILE, BlueskyProfile, decode_bluesky_profile};
pub use reject::{Item, RawFormat, Reject};
