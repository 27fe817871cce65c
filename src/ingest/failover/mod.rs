//! Failover: a source that does not deliver what others deliver of our collections is noticed, asked again, and replaced.
//!
//! Contract: sources are a union, so what one of them missed and another delivered is indexed already; what is done here is for
//! what all others may have missed as well. An incomplete source is known by comparison alone: silence is no fault, a night
//! without an event of ours blames no source. Its gap opens at the last event of the collection that it delivered, it is
//! rewound there once, and when that does not help a standby is followed in its place and it is asked again after pauses
//! that grow. Does not decode, and does not know how a source connects.

pub mod comparison;
pub(super) mod lookout;
mod patience;
pub(super) mod rotation;
pub(super) mod slot;

pub use patience::Patience;
