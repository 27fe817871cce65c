//! What every route shares: the database, the settings, and the time.

use std::sync::Arc;

use sqlx::{PgPool, Postgres, Transaction};

use super::{
    connections::{CONNECTIONS_TRIED_MAX, WarmConnections, is_dead},
    credentials::Credentials,
    cursor::Cursors,
    error::ApiError,
    settings::ServeSettings,
    transaction::ReadTransaction,
};
use crate::{atproto::Timestamp, clock::Clock, store::sessions::find_session};

/// What every route shares.
#[derive(Debug, Clone)]
pub struct App(Arc<Shared>);

/// The parts of [`App`].
#[derive(Debug)]
pub struct Shared {
    /// Connections for reading.
    pub pool: PgPool,
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
        Self(Arc::new(Shared { pool, warm, settings, cursors, clock }))
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Opens the database for one answer: everything read through it is of one moment. The viewer is looked up first; a
    /// bearer token that is not valid is refused, a cookie that is not valid leaves the request without a viewer.
    pub async fn read(&self, credentials: &Credentials) -> Result<ReadTransaction, ApiError> {
        let mut transaction = ReadTransaction { transaction: self.begin().await?, viewer: None };
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
