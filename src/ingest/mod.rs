//! From the sources to committed rows: the `pump` is the loop, the rest is what stands around it.
//!
//! Contract: of several indexers on one database one leads and the others stand by (`lease`). The leader follows all sources as a
//! union, looks for [`gaps`] in what each delivers, for sources that do not deliver what others do ([`failover`]), and for
//! commits that are not their owner's (`verify`). Postgres away: reading stops, nothing is lost, and it goes on when Postgres is
//! back. An event that Postgres refuses becomes a reject and costs itself alone. On cancel, what was received is committed. Does
//! not know who asks for what it writes, nor how repos are read.

mod connection_state;
pub mod failover;
mod follow;
pub mod gaps;
mod lease;
mod observe;
mod options;
mod pump;
mod received;
mod replay;
mod retry;
mod source_tasks;
mod tasks;
mod verify;

pub use lease::run;
pub use options::Options;
pub use replay::{Summary, replay};
pub use retry::{Retried, Retry, retry_rejects};
pub use verify::{VerifyCommits, verify_outcomes};

use crate::apply::ApplyError;

/// The pump has stopped without a request to.
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
    fn task_ended(task: &'static str, error: &tokio::task::JoinError) -> Self {
        Self::TaskEnded { task, reason: error.to_string() }
    }

    /// Whether trying the same again can't help.
    fn is_permanent(&self) -> bool {
        match self {
            Self::WentBack { .. } | Self::Apply(ApplyError::TakenOver) => true,
            Self::Apply(error) => error.is_about_a_row() || error.is_about_the_schema(),
            Self::Database(_) | Self::Log(_) | Self::TaskEnded { .. } => false,
        }
    }
}
