use sqlx::PgPool;

use super::sources::lease::Token;
use crate::clock::Clock;

/// What a part of the leader works with: the indexer that holds the lease.
#[derive(Debug, Clone)]
pub struct Leader {
    /// The database.
    pub pool: PgPool,
    /// Fences what is written: a transaction under a token that is no longer the lease's fails.
    pub token: Token,
    /// The time.
    pub clock: Clock,
}
