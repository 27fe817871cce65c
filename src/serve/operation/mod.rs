//! For operators and their machines: alive, ready, and how it stands.
//!
//! Contract: health asks nothing of the database; readiness refuses rather than guesses; a report is of one moment. Does not
//! know HTML.

pub mod health;
pub mod public;
pub mod repos;
pub mod sources;
pub mod status;
