//! Repos as their PDSes hold them, compared with the index, and the index mended.
//!
//! Contract: only a complete reading of a repo, from the PDS that its DID document names, changes anything; what could not be read
//! changes nothing and is tried again. What differs is written by the apply floor like any event, at the rev at which the
//! repo was read, so that a live stream beside it is neither stopped nor overtaken. The first reading of a repo is its backfill,
//! the standing one the audit; both go the same way.

mod diff;
mod discover;
mod enroll;
mod error;
mod figures;
mod gaps;
mod options;
mod pace;
mod progress;
mod queue;
mod read;
mod reader;
mod repo;
mod standing;
mod write;

use std::panic::resume_unwind;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use diff::{Both, Drift, Held, Ours, Path, Record, Theirs, compare};
pub use discover::{Discovered, Relay, discover};
pub use enroll::enroll;
pub use error::ResyncError;
pub use figures::drift_labels;
pub use gaps::close_gaps;
pub use options::Options;
pub use progress::{Progress, TooSlow};
pub use read::{ReadError, RepoSource, read_listed};
pub use repo::{Repair, load_ours, plan};
pub use write::Done;

use super::{Context, Until};
use crate::store::in_time;

/// Prepared repos that wait for the writer.
const PREPARED_MAX: usize = 64;

/// Reads the repos that are due, and mends the index. `on_progress` is called after each transaction with how much has been done.
pub async fn run(
    context: Context,
    options: Options,
    on_progress: impl Fn(&Done) + Send + 'static,
    cancel: CancellationToken,
) -> Result<Done, ResyncError> {
    let Context { pool, clock, identities } = context.clone();
    let until = options.until;
    let (prepared, inbox) = mpsc::channel(PREPARED_MAX);
    let writer = write::Writer::new(pool, options.collections.clone(), clock);
    let writing = tokio::spawn(writer.run(inbox, on_progress, cancel.clone()));
    let reader = reader::Reader::new(context, options.collections.clone(), prepared);
    let mut repos = queue::Repos::new(reader, options);
    if until == Until::Cancelled
        && let Err(error) = in_time(repos.take_back()).await
    {
        tracing::debug!(%error, "repos that a predecessor took are due again when their lease ends");
    }
    let outcome = super::run::run(&mut repos, &identities, until, &cancel).await;
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
