use sqlx::PgPool;

use crate::{clock::Clock, store::sources::lease::Token};

/// The indexer that holds the lease, as far as its parts need to know it.
#[derive(Debug, Clone)]
pub struct Leader {
    /// The database.
    pub pool: PgPool,
    /// Fences what is written: a transaction under a token that is no longer the lease's fails.
    pub token: Token,
    /// The time.
    pub clock: Clock,
}
