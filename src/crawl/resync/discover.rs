use super::ResyncError;
use crate::{
    atproto::{Did, Nsid},
    crawl::Context,
    model::{Collection, Collections, ResyncCause},
    pds::{Cursors, Server, XrpcError},
    store::{
        in_time,
        repos::{self, discoveries},
    },
};

/// A relay that lists repos with records of ours.
#[derive(Debug, Clone)]
pub struct Relay {
    /// The relay.
    pub server: Server,
    /// Ours.
    pub collections: Collections,
}

/// The repos that a relay lists.
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

/// Lists the repos that ever had a record of one of our collections, and enqueues those that are not known yet. A server that does
/// not sort repos by collection, such as a PDS, is asked for all that it has.
pub async fn discover(context: &Context, relay: &Relay) -> Result<Discovered, ResyncError> {
    let mut walk = Walk { context, relay: &relay.server, found: Discovered::default() };
    for collection in Collection::ALL {
        let nsid = relay.collections.nsid(collection);
        match walk.list(Some(nsid)).await {
            Err(ResyncError::Relay { error: XrpcError::NotOffered, .. }) => {
                walk.list(None).await?;
                break;
            }
            outcome => outcome?,
        }
    }
    in_time(async {
        let mut connection = context.pool.acquire().await?;
        discoveries::finish(&mut connection, &relay.server.url().to_string(), context.clock.now().utc()).await
    })
    .await?;
    Ok(walk.found)
}

struct Walk<'a> {
    context: &'a Context,
    relay: &'a Server,
    found: Discovered,
}

impl Walk<'_> {
    /// Page by page to the end: the repos with a record of a collection, or all.
    async fn list(&mut self, nsid: Option<&Nsid>) -> Result<(), ResyncError> {
        let failed = |error| ResyncError::Relay { relay: self.relay.url().to_string(), error };
        let mut cursors = Cursors::default();
        let mut cursor: Option<String> = None;
        loop {
            let page = match nsid {
                Some(nsid) => self.relay.fetch_repos_by_collection(nsid, PAGE, cursor.as_deref()).await,
                None => self.relay.fetch_repos(REPOS_PAGE, cursor.as_deref()).await,
            };
            let page = page.map_err(failed)?;
            let dids: Vec<&str> = page.dids.iter().map(Did::as_str).collect();
            self.found.listed += dids.len() as u64;
            self.found.new += in_time(async {
                let (mut connection, now) = (self.context.pool.acquire().await?, self.context.clock.now().utc());
                repos::enqueue_unknown(&mut connection, &dids, ResyncCause::Discovered, now).await
            })
            .await?;
            cursors.advance(page.cursor.as_deref()).map_err(failed)?;
            match page.cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(()),
            }
        }
    }
}
