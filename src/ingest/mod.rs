//! The pump: sources hand over messages, a decoder fills a batch, a writer applies it, and the positions come back.
//!
//! Contract: a batch is as large as the time that its predecessor took: one event when live, thousands from a backlog; the
//! next is decoded while one commits. Every queue is bounded. Postgres away: reading stops, nothing is lost, and it goes on
//! when Postgres is back. An event that Postgres refuses becomes a reject and costs itself alone. Where commits must be proven
//! first, what is not becomes a reject, and none overtakes another. On cancel, what was read, and judged, is committed. Of
//! several pumps on one database one works and the others stand by: the lease.

pub mod failover;
mod follow;
pub mod gaps;
mod lease;
mod observe;
mod pump;
mod replay;
mod retry;
mod verify;

pub use follow::Options;
pub use lease::run;
pub use replay::{Summary, replay};
pub use retry::{Retried, Retry, retry_rejects};
pub use verify::{Proofs, proof_outcomes};

use crate::apply::ApplyError;

/// The pump has stopped although nobody asked it to.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// A task of the pump ended or panicked.
    #[error("the part that {task} has ended: {reason}")]
    TaskEnded {
        /// What it does.
        task: &'static str,
        /// Why it ended.
        reason: String,
    },
    /// The recorded log could not be read to its end.
    #[error("the log could not be read to its end: {0}")]
    Log(#[from] crate::source::LogError),
    /// The database did not answer.
    #[error("the database did not answer: {0}")]
    Database(#[from] sqlx::Error),
    /// The database holds less than it had confirmed: it was restored, or another took its place.
    #[error("the database went back behind what it had confirmed of {name}: start again, to read from where it is now")]
    WentBack {
        /// Whose position went back.
        name: String,
    },
    /// The database did not take a batch.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl IngestError {
    /// Whether trying the same again can't help.
    fn is_permanent(&self) -> bool {
        match self {
            Self::WentBack { .. } | Self::Apply(ApplyError::TakenOver) => true,
            Self::Apply(error) => error.is_about_a_row() || error.is_about_the_schema(),
            Self::Database(_) | Self::Log(_) | Self::TaskEnded { .. } => false,
        }
    }
}
