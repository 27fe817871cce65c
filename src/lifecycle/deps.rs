use sqlx::PgPool;

use super::{Database, HostSettings};
use crate::{clock::Clock, crawl};

/// What the parts of this process share, whichever of them run here.
pub(super) struct Deps {
    /// Of the pump alone, so that no other part keeps the stream waiting.
    pub(super) pool: PgPool,
    /// Identities and the one outgoing client, on connections of their own.
    pub(super) crawl: crawl::Context,
}

impl Deps {
    pub(super) fn new(database: &mut Database, hosts: &HostSettings, clock: &Clock) -> anyhow::Result<Self> {
        let pool = database.open_repo_pool();
        let identities = hosts.identities(pool.clone(), clock.clone())?;
        let crawl = crawl::Context { pool, identities, clock: clock.clone() };
        Ok(Self { pool: database.pool.clone(), crawl })
    }
}
