use sqlx::PgPool;

use super::ReconcileError;
use crate::{
    atproto::{Did, Nsid},
    clock::Clock,
    model::{Collection, Collections, ResyncCause},
    pds::{Cursors, Server, XrpcError},
    store::repos::{self, discoveries},
};

/// Whose repos a relay knows.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Discovered {
    /// Listed, once for each collection.
    pub listed: u64,
    /// Not known before.
    pub new: u64,
}

/// DIDs on a page of those with a record of a collection, and of all repos of a server.
const PAGE: u16 = 2_000;
const REPOS_PAGE: u16 = 1_000;

/// Asks a relay who ever had a record of one of our collections, and asks for the repos that are not known yet to be read. A
/// server that does not sort repos by collection, such as a PDS, is asked for all that it has.
pub async fn discover(
    pool: &PgPool,
    relay: &Server,
    (collections, clock): (&Collections, &Clock),
    told: impl Fn(Discovered),
) -> Result<Discovered, ReconcileError> {
    let mut walk = Walk { pool, relay, clock, told, found: Discovered::default() };
    for collection in Collection::ALL {
        let nsid = collections.nsid(collection);
        match walk.list(Some(nsid)).await {
            Err(ReconcileError::Relay { error: XrpcError::NotOffered, .. }) => {
                walk.list(None).await?;
                break;
            }
            outcome => outcome?,
        }
    }
    let mut connection = pool.acquire().await?;
    discoveries::finish(&mut connection, &relay.url().to_string(), clock.now().utc()).await?;
    Ok(walk.found)
}

struct Walk<'a, F> {
    pool: &'a PgPool,
    relay: &'a Server,
    clock: &'a Clock,
    told: F,
    found: Discovered,
}

impl<F: Fn(Discovered)> Walk<'_, F> {
    /// Page by page to the end: the repos with a record of a collection, or all.
    async fn list(&mut self, nsid: Option<&Nsid>) -> Result<(), ReconcileError> {
        let failed = |error| ReconcileError::Relay { relay: self.relay.url().to_string(), error };
        let mut cursors = Cursors::default();
        let mut cursor: Option<String> = None;
        loop {
            let page = match nsid {
                Some(nsid) => self.relay.fetch_repos_by_collection(nsid, PAGE, cursor.as_deref()).await,
                None => self.relay.fetch_repos(REPOS_PAGE, cursor.as_deref()).await,
            };
            let page = page.map_err(failed)?;
            let dids: Vec<&str> = page.dids.iter().map(Did::as_str).collect();
            let mut connection = self.pool.acquire().await?;
            let now = self.clock.now().utc();
            self.found.listed += dids.len() as u64;
            self.found.new += repos::ask_unknown(&mut connection, &dids, ResyncCause::Discovered, now).await?;
            (self.told)(self.found);
            cursors.advance(page.cursor.as_deref()).map_err(failed)?;
            match page.cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(()),
            }
        }
    }
}
