//! What the tests stand on.

pub mod api;
pub mod database;
pub mod schema;
