//! All SQL: one file per table, one function per statement, `&mut PgConnection` in, so that each works in any transaction.
//!
//! Contract: what comes out of a table is parsed again into the types of [`crate::atproto`]. Does not know that a network
//! exists. Reads that clients see are in `views`; records are written by the apply floor alone.

pub mod actors;
mod availability;
mod connect;
pub mod counts;
pub mod gaps;
mod leader;
pub mod records;
pub mod rejects;
pub mod repos;
pub mod schema;
pub mod server;
pub mod sessions;
pub mod sources;
mod stored;
mod transaction;
pub mod views;

pub use availability::is_unavailable;
pub use connect::{connections, in_time, open_pool, parse_database_url, within};
pub use leader::Leader;
pub use transaction::{begin_apply, begin_held};

use chrono::{DateTime, Utc};

/// When due rows are taken, and until when they are leased to the process that takes them.
#[derive(Debug, Clone, Copy)]
pub struct LeaseTimes {
    /// What is due by then is taken.
    pub now: DateTime<Utc>,
    /// Rows that are not done by then are due again.
    pub until: DateTime<Utc>,
}

/// What a guarded write did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Rows that changed.
    pub applied: u64,
    /// Rows refused because another version with the same rev was there first.
    pub anomalies: u64,
}

impl Written {
    fn of(applied: i64, anomalies: i64) -> Self {
        Self { applied: applied.try_into().unwrap_or(0), anomalies: anomalies.try_into().unwrap_or(0) }
    }
}

impl std::ops::AddAssign for Written {
    fn add_assign(&mut self, more: Self) {
        self.applied += more.applied;
        self.anomalies += more.anomalies;
    }
}

/// Ordinality counts from one.
fn place(ordinality: i64) -> usize {
    usize::try_from(ordinality - 1).unwrap_or(usize::MAX)
}
