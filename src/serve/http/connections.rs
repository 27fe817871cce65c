//! Connections kept for the questions that are asked most.
//!
//! The pool asks the server for a sign of life each time a connection comes back, which costs as much as a small question.
//! A connection that has just answered needs none: it waits here, and returns to the pool only when something went wrong.

use std::sync::{Mutex, PoisonError};

use sqlx::{PgPool, Postgres, pool::PoolConnection};

/// A dead connection is replaced this often before the request fails: a restarted database leaves a pool full of them.
pub const CONNECTIONS_TRIED_MAX: usize = 32;

/// A connection of the pool, on loan.
pub type Connection = PoolConnection<Postgres>;

/// Connections that have just answered.
#[derive(Debug)]
pub struct WarmConnections {
    pool: PgPool,
    idle: Mutex<Vec<Connection>>,
    idle_max: usize,
}

impl WarmConnections {
    /// Keeps up to half of the pool's connections.
    pub fn new(pool: PgPool) -> Self {
        let idle_max = usize::try_from(pool.options().get_max_connections() / 2).unwrap_or_default();
        Self { pool, idle: Mutex::default(), idle_max }
    }

    /// Asks one question, which must be a single read: it is asked again on another connection when one turns out dead. The
    /// question hands its connection back with the answer.
    pub async fn ask<T, Asking>(&self, question: impl Fn(Connection) -> Asking) -> sqlx::Result<T>
    where
        Asking: Future<Output = (Connection, sqlx::Result<T>)>,
    {
        let mut tried = 0;
        loop {
            tried += 1;
            let (connection, answer) = question(self.take().await?).await;
            match answer {
                Err(error) if is_dead(&error) && tried < CONNECTIONS_TRIED_MAX => {}
                Err(error) => return Err(error),
                Ok(answer) => {
                    self.keep(connection);
                    return Ok(answer);
                }
            }
        }
    }

    async fn take(&self) -> sqlx::Result<Connection> {
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match kept {
            Some(connection) => Ok(connection),
            None => self.pool.acquire().await,
        }
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // One that is not kept goes back to the pool when it is dropped.
        if idle.len() < self.idle_max && !self.pool.is_closed() {
            idle.push(connection);
        }
    }
}

/// Whether the connection is dead, and another may live: what a restarted database leaves in a pool.
pub fn is_dead(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::BeginFailed => true,
        sqlx::Error::Database(error) => matches!(error.code().as_deref(), Some("57P01" | "57P02")),
        _ => false,
    }
}
