use std::collections::HashMap;

use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use super::IngestError;

/// Tasks that run until cancelled, each with what it does.
#[derive(Debug, Default)]
pub struct Tasks {
    running: JoinSet<Result<(), IngestError>>,
    names: HashMap<Id, &'static str>,
}

impl Tasks {
    /// Starts a task; `name` completes the sentence "the part that .. has ended".
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_fallible(name, async move {
            task.await;
            Ok(())
        });
    }

    /// Starts a task whose error is that of all.
    pub fn spawn_fallible(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), IngestError>> + Send + 'static,
    ) {
        let id = self.running.spawn(task).id();
        self.names.insert(id, name);
    }

    /// Waits for all. One that ends before it was cancelled cancels the others; the first error is returned.
    pub async fn supervise(mut self, cancel: &CancellationToken) -> Result<(), IngestError> {
        let mut outcome = Ok(());
        while let Some(joined) = self.running.join_next_with_id().await {
            let name = |id: &Id| self.names.get(id).copied().unwrap_or("is unknown");
            let ended = match joined {
                Ok((id, Ok(()))) if !cancel.is_cancelled() => Err(IngestError::TaskEnded {
                    task: name(&id),
                    reason: "it stopped without being told to".to_owned(),
                }),
                Ok((_, ended)) => ended,
                Err(error) => Err(IngestError::task_ended(name(&error.id()), &error)),
            };
            outcome = outcome.and(ended);
            if outcome.is_err() {
                cancel.cancel();
            }
        }
        outcome
    }
}
