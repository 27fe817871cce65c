//! All SQL: one file per table, one function per statement, `&mut PgConnection` in, so that each works in any transaction.
//!
//! Contract: what comes out of a table is parsed again into the types of [`crate::atproto`]. Does not know that a network
//! exists. Reads that clients see are in `views`; records are written by the apply floor alone.

pub mod actors;
mod connect;
pub mod counts;
pub mod gaps;
pub mod records;
pub mod rejects;
pub mod repos;
pub mod server;
pub mod sessions;
pub mod sources;
mod stored;
mod transaction;
pub mod views;

pub use connect::{open_pool, parse_database_url};
pub use transaction::{analyze, begin_apply, begin_held};

use sqlx::migrate::Migrator;

/// The schema, embedded. A database is current when it has exactly these.
pub static MIGRATOR: Migrator = sqlx::migrate!();

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

/// Whether the database is away or busy, so that the same may work later: a broken connection or a state of the server, as
/// opposed to a statement that it refuses.
pub fn is_unavailable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| is_state_of_the_server(&code)),
        _ => false,
    }
}

/// By SQLSTATE class: 08 connection, 25 transaction state (read-only after a failover), 40 rolled back for another transaction, 53 out of resources, 55 not in that state,
/// 57 stopped by its operator, 58 a failure of its system.
fn is_state_of_the_server(code: &str) -> bool {
    ["08", "25", "40", "53", "55", "57", "58"].iter().any(|class| code.starts_with(class))
}

/// Ordinality counts from one.
fn place(ordinality: i64) -> usize {
    usize::try_from(ordinality - 1).unwrap_or(usize::MAX)
}
