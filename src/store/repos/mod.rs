//! The repos that we know of: which are to be read, which commit of each is the newest, and what reading them found.
//!
//! Contract: one row per DID; a repo that is to be read is taken by one reader at a time. Does not know the records inside.

pub mod commit_chains;
pub mod discoveries;
pub mod drift;
mod queue;

pub use queue::{
    MovedLease, Reading, RepoCounts, TakenRepo, count, count_some, enqueue, enqueue_all, enqueue_authors,
    enqueue_moved, enqueue_unknown, enqueue_unserved, fail, finish, is_any_due, list_dids, list_failed, move_leases,
    release_all, take_due, take_oldest,
};
