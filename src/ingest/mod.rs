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
mod lag;
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

use std::time::Duration;

use crate::{apply::ApplyError, identity::IdentityError, store::is_unavailable};

/// How long a stop waits for a database that is away.
const GRACE: Duration = Duration::from_secs(5);

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
    /// The database did not answer, or refused a statement.
    #[error("the database: {0}")]
    Database(#[source] sqlx::Error),
    /// Keys cannot be looked up, and no host is to blame.
    #[error(transparent)]
    Identity(#[from] IdentityError),
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

impl From<sqlx::Error> for IngestError {
    fn from(error: sqlx::Error) -> Self {
        match ApplyError::from(error) {
            ApplyError::Database(error) => Self::Database(error),
            taken_over @ ApplyError::TakenOver => taken_over.into(),
        }
    }
}

impl IngestError {
    fn task_ended(task: &'static str, error: &tokio::task::JoinError) -> Self {
        Self::TaskEnded { task, reason: error.to_string() }
    }

    /// Whether the database is away, so that the same may work later.
    fn is_unavailable(&self) -> bool {
        match self {
            Self::Database(error) => is_unavailable(error),
            Self::Apply(error) => error.is_unavailable(),
            Self::TaskEnded { .. } | Self::Log(_) | Self::Identity(_) | Self::WentBack { .. } => false,
        }
    }
}
