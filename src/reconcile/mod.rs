//! Repos as their PDSes hold them, compared with the index, and the index mended.
//!
//! Contract: only a complete reading of a repo, from the PDS that its DID document names, changes anything; what could not be read
//! changes nothing and is tried again. What differs is written by the apply floor like any event, at the rev at which the
//! repo was read, so that a live stream beside it is neither stopped nor overtaken.

mod diff;
mod repo;

pub use diff::{Drift, Held, Ours, Path, Theirs, compare};
pub use repo::{Repair, load_ours, plan};
