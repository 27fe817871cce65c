//! What is read from the hosts that accounts name: repos, DID documents and handles, account statuses and Bluesky profiles.
//!
//! Contract: each reading is due in a table, is taken from it under a lease, and is tried again later when it failed, so that a
//! process that dies loses nothing. Hosts take turns, a few readings of each at a time, so that one which hangs, fails or has very
//! many accounts delays no other. What is read is written by the apply and store floors. Does not know which routes show it.
//!
//! `queue` says what a kind of reading is, `fairness` which of its entries is read next, and `run` takes, reads and releases them.
//! `resync`, `identity`, `accounts` and `bluesky_profiles` are the kinds.

pub mod accounts;
pub mod bluesky_profiles;
mod fairness;
pub mod identity;
mod queue;
pub mod resync;
mod run;

use sqlx::PgPool;

pub use run::Until;

use crate::{clock::Clock, identity::Identities};

/// What every kind of reading needs.
#[derive(Debug, Clone)]
pub struct Context {
    /// Connections of its own, so that the stream does not wait for them.
    pub pool: PgPool,
    /// Whose host is where, and the client that asks it.
    pub identities: Identities,
    /// The time.
    pub clock: Clock,
}
