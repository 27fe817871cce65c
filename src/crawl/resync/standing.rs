use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::ResyncError;
use crate::retry::Retry;

/// What is done again and again.
pub(super) trait Standing {
    /// What the log says while the database is away.
    const WAITS: &'static str;

    /// Once.
    fn step(&mut self) -> impl Future<Output = Result<(), ResyncError>> + Send;
}

/// Repeats a step until cancelled. While the database is away it waits; any other failure ends it.
pub(super) async fn repeat<S: Standing>(
    mut standing: S,
    every: Duration,
    cancel: CancellationToken,
) -> Result<(), ResyncError> {
    let mut retry = Retry::of_database(S::WAITS);
    loop {
        let pause = match cancel.run_until_cancelled(standing.step()).await {
            None => return Ok(()),
            Some(Ok(())) => {
                retry.succeeded();
                every
            }
            Some(Err(error)) if error.is_unavailable() => retry.failed(&error),
            Some(Err(error)) => return Err(error),
        };
        if cancel.run_until_cancelled(sleep(pause)).await.is_none() {
            return Ok(());
        }
    }
}
