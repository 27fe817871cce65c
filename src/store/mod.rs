//! All SQL: one file per table, one function per statement, `&mut PgConnection` in, so that each works in any transaction.
//!
//! Contract: what comes out of a table is parsed again into the types of [`crate::atproto`]. Does not know that a network
//! exists. Reads that clients see are in `views`; writes are called by the apply floor alone.

pub mod sessions;
pub mod views;

/// The schema, in the order in which it came to be.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();
