use std::{panic::AssertUnwindSafe, time::Duration};

use anyhow::Context as _;
use futures_util::FutureExt as _;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::telemetry::sentence;

/// A part of the program that has ended, and how.
type Ended = (&'static str, anyhow::Result<()>);

/// Parts that are stopped together.
#[derive(Debug)]
pub(super) struct Stage {
    limit: Duration,
    cancel: CancellationToken,
    tasks: TaskTracker,
    ends: mpsc::UnboundedSender<Ended>,
}

/// All parts, in the order in which they are stopped.
#[derive(Debug)]
pub(super) struct Stages {
    pub(super) sources: Stage,
    pub(super) listeners: Stage,
    pub(super) database: Stage,
    ended: mpsc::UnboundedReceiver<Ended>,
}

impl Stage {
    /// Starts a part that runs until its token is cancelled.
    pub(super) fn spawn<F>(&self, name: &'static str, part: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let part = AssertUnwindSafe(part(self.cancel.clone())).catch_unwind();
        let ends = self.ends.clone();
        self.tasks.spawn(async move {
            let outcome = part.await.unwrap_or_else(|_| Err(anyhow::anyhow!("it panicked")));
            // There is no listener only when the program is at its very end.
            ends.send((name, outcome)).ok();
        });
    }

    async fn stop(&self) -> anyhow::Result<()> {
        self.cancel.cancel();
        self.tasks.close();
        timeout(self.limit, self.tasks.wait()).await.with_context(|| format!("it took longer than {:?}", self.limit))
    }
}

impl Default for Stages {
    fn default() -> Self {
        let (ends, ended) = mpsc::unbounded_channel();
        let stage = |limit_s| Stage {
            limit: Duration::from_secs(limit_s),
            cancel: CancellationToken::new(),
            tasks: TaskTracker::new(),
            ends: ends.clone(),
        };
        Self { sources: stage(6), listeners: stage(2), database: stage(11), ended }
    }
}

impl Stages {
    /// Waits until a part ends though it was not cancelled, and says which.
    pub(super) async fn ended(&mut self) -> anyhow::Error {
        match self.ended.recv().await {
            Some((name, Err(error))) => error.context(format!("{name} failed")),
            Some((name, Ok(()))) => anyhow::anyhow!("{name} ended by itself"),
            None => anyhow::anyhow!("nothing runs"),
        }
    }

    /// Stops all parts, one stage after the other. A stage that is late does not keep the next ones.
    pub(super) async fn stop(&mut self) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        let stages = [("the sources", &self.sources), ("the listeners", &self.listeners), ("Postgres", &self.database)];
        for (name, stage) in stages {
            if let Err(error) = stage.stop().await {
                tracing::error!("{name} did not stop cleanly: {}", sentence(&error));
                outcome = Err(error.context(format!("{name} did not stop cleanly")));
            }
        }
        while let Ok((name, ended)) = self.ended.try_recv() {
            if let Err(error) = ended {
                tracing::error!("{name} failed while stopping: {}", sentence(&error));
                outcome = Err(error.context(format!("{name} failed while stopping")));
            }
        }
        outcome
    }
}
