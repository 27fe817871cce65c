//! The words that all floors above share: collections and their records, events, reasons, positions and ids.
//!
//! Contract: values only. No bytes, no SQL and no runtime: how a record is read is for `decode`, how it is stored for `store`.
//! What says "one of each collection" is a [`CollectionMap`] or an exhaustive match over [`Collection`].

mod account;
mod collection;
mod collections;
#[cfg(feature = "fifth-collection")]
mod comment;
mod event;
mod gap;
mod ids;
mod position;
mod record;
mod reject;
mod resync;
mod untrusted_text;
mod words;

pub use account::AccountStatus;
pub use collection::{Collection, CollectionMap, KeyForm};
pub use collections::Collections;
#[cfg(feature = "fifth-collection")]
pub use comment::Comment;
pub use event::{Commit, Event, EventBody, EventKind, HostMoment, Operation};
pub use gap::GapReason;
pub use ids::{ActorId, CidId, SessionId, TrackId};
pub use position::{Position, PositionKind};
pub use record::{Like, List, ListItem, Profile, Record, RecordPath, Subject, Track};
pub use reject::RejectReason;
pub use resync::ResyncCause;
pub use untrusted_text::UntrustedText;
