//! What every route shares: the database, the settings, and the time.

use std::{sync::Arc, time::Duration};

use sqlx::{PgPool, Postgres, Transaction};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    connections::{CONNECTIONS_TRIED_MAX, WarmConnections, is_dead},
    credentials::Credentials,
    cursor::Cursors,
    error::ApiError,
    settings::ServeSettings,
    transaction::ReadTransaction,
};
use crate::{atproto::Timestamp, clock::Clock, store::sessions::find_session};

/// How long an answer waits for its turn among those that need several statements.
const TURN_MAX: Duration = Duration::from_secs(3);

/// What every route shares.
#[derive(Debug, Clone)]
pub struct App(Arc<Shared>);

/// The parts of [`App`].
#[derive(Debug)]
pub struct Shared {
    /// Connections for reading.
    pub pool: PgPool,
    /// Answers that read several statements have all connections but a quarter between them: the rest is left to the two questions that
    /// are asked most, which are answered however busy the pages are.
    turns: Arc<Semaphore>,
    /// Connections for the two questions that are asked most.
    pub warm: WarmConnections,
    /// How the API answers.
    pub settings: ServeSettings,
    /// Seals and opens cursors.
    pub cursors: Cursors,
    clock: Clock,
}

impl std::ops::Deref for App {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl App {
    /// Shares a pool and settings among the routes.
    pub fn new(pool: PgPool, settings: ServeSettings, clock: Clock) -> Self {
        let warm = WarmConnections::new(pool.clone());
        let cursors = Cursors::new(&settings.cursor_key);
        let connections = usize::try_from(pool.options().get_max_connections()).unwrap_or(1);
        let turns = Arc::new(Semaphore::new((connections - connections / 4).max(1)));
        Self(Arc::new(Shared { pool, turns, warm, settings, cursors, clock }))
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Opens the database for one answer: everything read through it is of one moment. The viewer is looked up first; a
    /// bearer token that is not valid is refused, a cookie that is not valid leaves the request without a viewer.
    pub async fn read(&self, credentials: &Credentials) -> Result<ReadTransaction, ApiError> {
        let turn = self.turn().await?;
        let mut transaction = ReadTransaction { transaction: self.begin().await?, viewer: None, _turn: turn };
        match credentials {
            Credentials::None => {}
            Credentials::Malformed => return Err(ApiError::bad_token()),
            Credentials::Bearer(hash) => {
                let viewer = find_session(transaction.connection(), hash, self.now()).await?;
                transaction.viewer = Some(viewer.ok_or_else(ApiError::bad_token)?);
            }
            Credentials::Cookie(hash) => {
                transaction.viewer = find_session(transaction.connection(), hash, self.now()).await?;
            }
        }
        Ok(transaction)
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let busy = "too many requests are being answered; try again";
        let turn = timeout(TURN_MAX, self.turns.clone().acquire_owned()).await;
        turn.map_err(|late| ApiError::unavailable(busy, late))?.map_err(ApiError::broken)
    }

    async fn begin(&self) -> Result<Transaction<'static, Postgres>, ApiError> {
        let mut tried = 0;
        loop {
            tried += 1;
            match self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await {
                Err(error) if is_dead(&error) && tried < CONNECTIONS_TRIED_MAX => {}
                outcome => return Ok(outcome?),
            }
        }
    }
}
