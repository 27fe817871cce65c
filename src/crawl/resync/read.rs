use std::{collections::BTreeMap, time::Duration};

use super::diff::{Ours, Path, Record, Theirs};
use crate::{
    atproto::{Did, PublicKey, RecordKey, Tid},
    decode::{
        RawFormat,
        repo::{VerifyError, read_repo},
    },
    model::{Collection, Collections},
    pds::{Cursors, RecordQuery, RepoBounds, Server, XrpcError},
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
    #[error("the repo has more than {RECORDS_MAX} records of ours, or {BYTES_MAX} bytes of them")]
    TooLarge,
    /// The server listed something without a key or a CID, so that it is not known what else is there.
    #[error("the server listed {0} records without a key or a CID")]
    Malformed(usize),
    /// The repo as a whole is not what its owner signed.
    #[error("the repo is not proven: {0}")]
    Unproven(#[from] VerifyError),
    /// It was given up in the middle.
    #[error("the repo was not read to its end")]
    Cancelled,
}

/// Listings of one repo before it is left for later.
const LISTINGS_MAX: u32 = 4;
/// Between two listings of a repo that is being written to.
const LISTING_PAUSE: Duration = Duration::from_millis(500);
/// Records of ours in one repo at most, and the bytes of those that the index does not hold.
const RECORDS_MAX: usize = 250_000;
const BYTES_MAX: usize = 96 << 20;
/// Of a whole repo, with whatever else is in it.
const ARCHIVE: RepoBounds = RepoBounds { bytes_max: 128 << 20, time_max: Duration::from_mins(5) };
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
    let mut theirs = Theirs { rev, records: BTreeMap::new() };
    let mut bytes = 0;
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
                let json =
                    if is_known { Vec::new() } else { Box::<str>::from(listed.value).into_string().into_bytes() };
                bytes += json.len();
                theirs.records.insert(path, Record { cid: listed.cid, format: RawFormat::RecordJson, bytes: json });
            }
            if theirs.records.len() > RECORDS_MAX || bytes > BYTES_MAX {
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

/// Reads a repo as a whole, proven by its owner's key: for one that is not to be had by listing. Its rev is its own.
pub async fn read_archive(
    server: &Server,
    collections: &Collections,
    (did, key): (&Did, PublicKey),
) -> Result<Theirs, ReadError> {
    let mut download = server.fetch_repo(did, None, ARCHIVE).await?;
    let mut car = Vec::new();
    while let Some(piece) = download.next().await.map_err(XrpcError::from)? {
        car.extend_from_slice(&piece);
    }
    let (did, collections) = (did.clone(), collections.clone());
    let read = tokio::task::spawn_blocking(move || prove(&car, &collections, (&did, &key)));
    read.await.map_err(|_| ReadError::Cancelled)?
}

/// The records of ours in a CAR.
fn prove(car: &[u8], collections: &Collections, (did, key): (&Did, &PublicKey)) -> Result<Theirs, ReadError> {
    let repo = read_repo(car, did, key)?;
    let mut theirs = Theirs { rev: repo.rev, records: BTreeMap::new() };
    for record in repo.records {
        let Some((nsid, rkey)) = record.path.split_once('/') else { continue };
        if let (Some(collection), Ok(rkey)) = (collections.find(nsid), RecordKey::parse(rkey)) {
            let bytes = record.bytes.to_vec();
            theirs.records.insert((collection, rkey), Record { cid: record.cid, format: RawFormat::RecordCbor, bytes });
        }
    }
    Ok(theirs)
}
