//! What is read from the hosts that accounts name: repos, DID documents and handles, account statuses and Bluesky profiles.
//!
//! Contract: each reading is due in a table, is taken from it under a lease, and is tried again later when it failed, so that a
//! process that dies loses nothing. What is read is written by the apply and store floors. Does not know which routes show it.

pub mod accounts;
pub mod bluesky_profiles;
pub mod identity;
pub mod resync;
