//! Repos as their PDSes hold them, compared with the index, and the index mended.
//!
//! Contract: only a complete reading of a repo, from the PDS that its DID document names, changes anything; what could not be read
//! changes nothing and is tried again. What differs is written by the apply floor like any event, at the rev at which the
//! repo was read, so that a live stream beside it is neither stopped nor overtaken. Which repos are to be read stands in a table,
//! from which several readers may take without meeting: who dies loses nothing.

mod diff;
mod discover;
mod enroll;
mod figures;
mod gaps;
mod pace;
mod read;
mod reader;
mod repo;
mod run;
mod write;

pub use diff::{Drift, Held, Ours, Path, Record, Theirs, compare};
pub use discover::{Discovered, discover};
pub use enroll::enroll;
pub use figures::drift_labels;
pub use gaps::mend_gaps;
pub use read::{ReadError, read_listed};
pub use repo::{Repair, load_ours, plan};
pub use run::{Options, Until, run};
pub use write::Done;

/// Repos can no longer be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The database did not answer.
    #[error("the database did not answer: {0}")]
    Database(#[from] sqlx::Error),
    /// The database did not take what was to be written.
    #[error(transparent)]
    Apply(#[from] crate::apply::ApplyError),
    /// The relay did not say whose repos there are.
    #[error("{relay} did not list repos: {error}")]
    Relay {
        /// Which relay.
        relay: String,
        /// Why not.
        error: crate::pds::XrpcError,
    },
}

impl ReconcileError {
    /// Whether trying the same again can't help.
    fn is_permanent(&self) -> bool {
        matches!(self, Self::Apply(error) if error.is_about_a_row() || error.is_about_the_schema())
    }
}
