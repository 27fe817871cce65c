//! The words that all floors above share: collections and their records, events, reasons, positions and ids.
//!
//! Contract: values only. No bytes, no SQL and no runtime: how a record is read is for `decode`, how it is stored for `store`.
//! What says "one of each collection" is a [`CollectionMap`] or an exhaustive match over [`Collection`].

mod account;
mod collection;
mod collections;
mod event;
mod gap;
mod ids;
mod position;
mod record;
mod reject;
mod resync;
mod words;

pub use account::AccountStatus;
pub use collection::{Collection, CollectionMap};
pub use collections::Collections;
pub use event::{Commit, Event, EventBody, Operation};
pub use gap::GapReason;
pub use ids::{ActorId, CidId, TrackId};
pub use position::{Position, PositionKind};
pub use record::{Like, List, ListItem, Profile, Record, RecordPath, Track};
pub use reject::RejectReason;
pub use resync::ResyncCause;
