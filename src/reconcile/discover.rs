use sqlx::PgPool;

use super::ReconcileError;
use crate::{
    atproto::Did,
    clock::Clock,
    decode::{Collection, Collections},
    pds::{Cursors, Server},
    store::repos::{self, Cause},
};

/// Whose repos a relay knows.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Discovered {
    /// Listed, once for each collection.
    pub listed: u64,
    /// Not known before.
    pub new: u64,
}

/// DIDs on a page.
const PAGE: u16 = 2_000;

/// Asks a relay who ever had a record of one of our collections, and asks for the repos that are not known yet to be read.
pub async fn discover(
    pool: &PgPool,
    relay: &Server,
    (collections, clock): (&Collections, &Clock),
    told: impl Fn(Discovered),
) -> Result<Discovered, ReconcileError> {
    let mut found = Discovered::default();
    for collection in Collection::ALL {
        let nsid = collections.nsid(collection);
        let failed = |error| ReconcileError::Relay { collection: nsid.to_string(), error };
        let mut cursors = Cursors::default();
        let mut cursor = None;
        loop {
            let page = relay.fetch_repos_by_collection(nsid, PAGE, cursor.as_deref()).await.map_err(failed)?;
            let dids: Vec<&str> = page.dids.iter().map(Did::as_str).collect();
            let mut connection = pool.acquire().await?;
            found.listed += dids.len() as u64;
            found.new += repos::ask_unknown(&mut connection, &dids, Cause::Discovered, clock.now().utc()).await?;
            told(found);
            cursors.advance(page.cursor.as_deref()).map_err(failed)?;
            match page.cursor {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
    }
    let mut connection = pool.acquire().await?;
    repos::finish_discovery(&mut connection, &relay.url().to_string(), clock.now().utc()).await?;
    Ok(found)
}
