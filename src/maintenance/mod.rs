//! What keeps the index right and small beside the stream: counts that follow accounts and are recounted, and rejects and
//! closed gaps that are deleted when they are too old or too many.
//!
//! Contract: run by the leader alone, under its token. Each step is a short statement or transaction, so that no batch waits long
//! for it; a step that fails is tried again at its next turn. Does not know where events come from.

mod counts;
mod retention;

pub use counts::{check_counts, follow_accounts};
pub use retention::Retention;

use std::convert::Infallible;

use tokio_util::sync::CancellationToken;

use crate::store::Leader;

/// How the index is maintained.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// How many tracks a minute are counted again, to see that the kept counts are right; 0 for none.
    pub recounts_per_minute: u32,
    /// How long and how many rejects are kept.
    pub retention: Retention,
}

/// Maintains the index until cancelled.
pub async fn run(leader: Leader, options: Options, cancel: CancellationToken) -> Result<(), Infallible> {
    let counts = Box::pin(counts::keep(&leader, options.recounts_per_minute));
    let retention = Box::pin(retention::sweep(&leader, options.retention));
    cancel.run_until_cancelled(async { tokio::join!(counts, retention) }).await;
    Ok(())
}
