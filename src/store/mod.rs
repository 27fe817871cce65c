//! All SQL: one file per table, one function per statement, `&mut PgConnection` in, so that each works in any transaction.
//!
//! Contract: what comes out of a table is parsed again into the types of [`crate::atproto`]. Does not know that a network
//! exists. Reads that clients see are in `views`; writes are called by the apply floor alone.

mod connect;
pub mod operator;
pub mod private_postgres;

pub use connect::{MIGRATOR, open_pool, parse_database_url};
