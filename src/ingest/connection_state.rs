use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{GRACE, IngestError, lag::Lags};
use crate::{
    atproto::Timestamp,
    model::UntrustedText,
    retry::Retry,
    source::Connection,
    store::{
        self, Leader, is_unavailable,
        sources::connections::{self, ConnectionState},
    },
};

/// Between two heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long storing it may take: it is to be known soon that the database does not answer the index.
const WRITE_TIME_MAX: Duration = Duration::from_secs(5);

/// Writes the state of a source's connection, and how far it is behind, where `status` finds it, with a heartbeat that shows that
/// it still holds.
pub struct ConnectionStateWriter {
    /// Who writes.
    pub leader: Leader,
    /// The source.
    pub name: Arc<str>,
    /// Know how far it is behind.
    pub lags: Arc<Lags>,
    /// Its place among the sources.
    pub place: usize,
    /// Changes when it falls behind, and when it has caught up.
    pub behind_since: watch::Receiver<Option<Timestamp>>,
}

impl ConnectionStateWriter {
    /// Runs until the source has stopped. A database that is away makes it wait; only the latest state matters.
    pub async fn run(mut self, mut connection: watch::Receiver<Connection>) -> Result<(), IngestError> {
        let mut retry = Retry::of_database("the state of the source is not stored yet");
        let mut changed_at = self.leader.clock.now();
        loop {
            let state = connection.borrow_and_update().clone();
            let pause = match store::within(WRITE_TIME_MAX, self.write(&state, changed_at)).await {
                Ok(()) => {
                    retry.succeeded();
                    HEARTBEAT
                }
                Err(error) if is_unavailable(&error) => retry.failed(&error),
                Err(error) => return Err(error.into()),
            };
            tokio::select! {
                changed = connection.changed() => match changed {
                    Ok(()) => changed_at = self.leader.clock.now(),
                    Err(_) => break,
                },
                Ok(()) = self.behind_since.changed() => {}
                () = sleep(pause) => {}
            }
        }
        if let Ok(Err(error)) = timeout(GRACE, self.end_heartbeat()).await {
            tracing::debug!(%error, source = %self.name, "the end is not stored: the missing heartbeat will show it");
        }
        Ok(())
    }

    async fn end_heartbeat(&self) -> sqlx::Result<()> {
        let mut connection = self.leader.pool.acquire().await?;
        connections::silence(&mut connection, self.leader.token, &self.name, self.leader.clock.now().utc()).await
    }

    async fn write(&self, state: &Connection, changed_at: Timestamp) -> sqlx::Result<()> {
        let (word, reason) = match state {
            Connection::Starting => ("starting", None),
            Connection::Paused => ("paused", None),
            Connection::Connected => ("connected", None),
            Connection::Waiting { reason } => ("waiting", Some(reason.as_str())),
            Connection::Refused { reason } => ("refused", Some(reason.as_str())),
        };
        let mut connection = self.leader.pool.acquire().await?;
        let new = ConnectionState {
            source: &self.name,
            state: word,
            reason: reason.map(UntrustedText::of),
            changed_at: changed_at.utc(),
            behind_since: self.lags.behind_since(self.place).map(Timestamp::utc),
            alive_at: self.leader.clock.now().utc(),
        };
        connections::write(&mut connection, self.leader.token, new).await
    }
}
