//! Repos as their PDSes hold them, compared with the index, and the index mended.
//!
//! Contract: only a complete reading of a repo, from the PDS that its DID document names, changes anything; what could not be read
//! changes nothing and is tried again. What differs is written by the apply floor like any event, at the rev at which the
//! repo was read, so that a live stream beside it is neither stopped nor overtaken. The first reading of a repo is its backfill,
//! the standing one the audit; both go the same way.

mod diff;
mod discover;
mod enroll;
mod figures;
mod gaps;
mod pace;
mod queue;
mod read;
mod reader;
mod repo;
mod standing;
mod write;

use std::{panic::resume_unwind, time::Duration};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use diff::{Drift, Held, Ours, Path, Record, Theirs, compare};
pub use discover::{Discovered, Relay, discover};
pub use enroll::enroll;
pub use figures::drift_labels;
pub use gaps::close_gaps;
pub use read::{ReadError, read_listed};
pub use repo::{Repair, load_ours, plan};
pub use write::Done;

use super::{Context, Until};
use crate::{model::Collections, store::is_unavailable};

/// Which repos are read, and how many at the same time.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which collections are ours.
    pub collections: Collections,
    /// Between two readings of the same repo by the standing audit; none leaves it out.
    pub audit_every: Option<Duration>,
    /// Repos that are read at the same time.
    pub in_all: usize,
    /// Of those, from one host.
    pub per_host: usize,
    /// When to stop.
    pub until: Until,
}

/// Prepared repos that wait for the writer.
const PREPARED_MAX: usize = 64;

/// Reads the repos that are due, and mends the index. `on_progress` hears how much has been done after each transaction.
pub async fn run(
    context: Context,
    options: Options,
    on_progress: impl Fn(&Done) + Send + 'static,
    cancel: CancellationToken,
) -> Result<Done, ResyncError> {
    let Context { pool, clock, .. } = context.clone();
    let until = options.until;
    let (prepared, inbox) = mpsc::channel(PREPARED_MAX);
    let writer = write::Writer::new(pool, options.collections.clone(), clock.clone());
    let writing = tokio::spawn(writer.run(inbox, on_progress, cancel.clone()));
    let reader = reader::Reader::new(context, options.collections.clone(), prepared);
    let mut repos = queue::Repos::new(reader, options);
    if until == Until::Cancelled
        && let Err(error) = repos.take_back().await
    {
        tracing::debug!(%error, "repos that a predecessor took are due again when their lease ends");
    }
    let outcome = super::run::run(&mut repos, &clock, until, &cancel).await;
    let failed = repos.failed;
    // The last sender goes with the queue, and the writer ends when it has written what was prepared.
    drop(repos);
    let written = match writing.await {
        Ok(written) => written,
        Err(error) => resume_unwind(error.into_panic()),
    };
    outcome?;
    Ok(Done { failed, ..written? })
}

/// Repos can no longer be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ResyncError {
    /// The database does not answer, or refuses a statement.
    #[error("the database: {0}")]
    Database(#[from] sqlx::Error),
    /// The database did not take what was to be written.
    #[error(transparent)]
    Apply(#[from] crate::apply::ApplyError),
    /// The relay did not list repos.
    #[error("{relay} did not list repos: {error}")]
    Relay {
        /// Which relay.
        relay: String,
        /// Why not.
        error: crate::pds::XrpcError,
    },
}

impl ResyncError {
    /// Whether the database is away, so that the same may work later.
    fn is_unavailable(&self) -> bool {
        match self {
            Self::Database(error) | Self::Apply(crate::apply::ApplyError::Database(error)) => is_unavailable(error),
            Self::Apply(_) | Self::Relay { .. } => false,
        }
    }
}
