use std::time::Duration;

use super::diff::{Ours, Path, Record, Theirs};
use crate::{
    atproto::{Did, Tid},
    decode::{Collection, Collections, RawFormat},
    pds::{Cursors, RecordQuery, Server, XrpcError},
};

/// A repo was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The server did not give it.
    #[error(transparent)]
    Xrpc(#[from] XrpcError),
    /// It changed each time that it was read.
    #[error("the repo changed {LISTINGS_MAX} times while it was read")]
    Restless,
    /// It has more records of ours than anybody needs.
    #[error("the repo has more than {RECORDS_MAX} records of ours")]
    TooLarge,
    /// The server listed something without a key or a CID, so that it is not known what else is there.
    #[error("the server listed {0} records without a key or a CID")]
    Malformed(usize),
}

/// Listings of one repo before it is left for later.
const LISTINGS_MAX: u32 = 4;
/// Between two listings of a repo that is being written to.
const LISTING_PAUSE: Duration = Duration::from_millis(500);
/// Records of ours in one repo at most.
const RECORDS_MAX: usize = 1_000_000;
/// Records on a page.
const PAGE: u8 = 100;

/// Lists all records of our collections, and makes sure that the repo was the same before and after: what is listed carries no
/// rev of its own. The JSON is kept only of what the index does not hold.
pub async fn read_listed(
    server: &Server,
    collections: &Collections,
    (did, ours): (&Did, &Ours),
) -> Result<Theirs, ReadError> {
    let mut before = server.fetch_latest_commit(did).await?.rev;
    for attempt in 1..=LISTINGS_MAX {
        let theirs = list(server, collections, (did, before, ours)).await?;
        let after = server.fetch_latest_commit(did).await?.rev;
        if after == before {
            return Ok(theirs);
        }
        before = after;
        tokio::time::sleep(LISTING_PAUSE * attempt).await;
    }
    Err(ReadError::Restless)
}

async fn list(
    server: &Server,
    collections: &Collections,
    (did, rev, ours): (&Did, Tid, &Ours),
) -> Result<Theirs, ReadError> {
    let mut theirs = Theirs { rev, records: std::collections::BTreeMap::new() };
    for collection in Collection::ALL {
        let query = RecordQuery { did, collection: collections.nsid(collection), limit: PAGE, reverse: false };
        let mut cursors = Cursors::default();
        let mut cursor = None;
        loop {
            let page = server.fetch_records(query, cursor.as_deref()).await?;
            if page.malformed > 0 {
                return Err(ReadError::Malformed(page.malformed));
            }
            for listed in page.records {
                let path: Path = (collection, listed.rkey);
                let is_known = ours.paths.get(&path).is_some_and(|held| held.head == Some(listed.cid.head()));
                let json = if is_known { Vec::new() } else { listed.value.get().as_bytes().to_vec() };
                theirs.records.insert(path, Record { cid: listed.cid, format: RawFormat::RecordJson, bytes: json });
            }
            if theirs.records.len() > RECORDS_MAX {
                return Err(ReadError::TooLarge);
            }
            cursors.advance(page.cursor.as_deref())?;
            match page.cursor {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
    }
    Ok(theirs)
}
