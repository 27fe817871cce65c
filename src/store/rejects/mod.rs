//! Rejects: events and records that were refused, with the reason and the bytes to try again with.
//!
//! Contract: one row per path and rev, or per bytes; kept for a time and up to a size, and counted by reason for ever.

pub mod expired;
mod rows;

pub use rows::{NewReject, StoredReject, delete, insert, list_after};
