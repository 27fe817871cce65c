use std::{collections::BTreeMap, time::Duration};

use serde_json::value::RawValue;

use super::{
    diff::{Ours, Path, Record, Theirs},
    progress::{Progress, TooSlow},
};
use crate::{
    atproto::{Cid, Did, Nsid, PublicKey, RecordKey, Tid},
    decode::{
        RawFormat,
        repo::{VerifyError, read_repo},
    },
    model::{Collection, Collections},
    pds::{Cursors, HostError, RecordQuery, RepoBounds, Server, XrpcError},
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
    /// Its head is of a time that has not come, and would win over all that its owner writes later.
    #[error("the repo's head {0} is in the future")]
    FutureRev(Tid),
    /// It has more records of ours than are read.
    #[error("the repo has more than {RECORDS_MAX} records of ours, or {BYTES_MAX} bytes of them")]
    TooLarge,
    /// The server listed something without a key, a CID or a value, so that it is not known what is there.
    #[error("the server listed {0} records without a key, a CID or a value")]
    Malformed(usize),
    /// The repo as a whole is not what its owner signed.
    #[error("the repo does not verify: {0}")]
    Unproven(#[from] VerifyError),
    /// The server took longer than it may for what it gave.
    #[error(transparent)]
    TooSlow(#[from] TooSlow),
    /// Our own code failed on it.
    #[error("reading the repo panicked: this is a bug of plyr-likes")]
    Panicked,
    /// It was given up in the middle.
    #[error("the repo was not read to its end")]
    Cancelled,
}

impl ReadError {
    /// Whether listing the repo does not work, and reading it as a whole may: the server refuses a method, or its answers cannot be
    /// used, while it was there and gave an answer.
    pub(super) fn is_of_listing(&self) -> bool {
        match self {
            Self::Restless | Self::Malformed(_) => true,
            Self::Xrpc(error) => match error {
                XrpcError::NotOffered | XrpcError::RecordNotFound | XrpcError::BadAnswer(_) => true,
                XrpcError::Host(error) => {
                    matches!(error, HostError::Status { .. } | HostError::NotAsExpected(_) | HostError::TooLarge { .. })
                }
                XrpcError::RepoNotFound
                | XrpcError::RepoTakendown
                | XrpcError::RepoSuspended
                | XrpcError::RepoDeactivated => false,
            },
            Self::FutureRev(_)
            | Self::TooLarge
            | Self::Unproven(_)
            | Self::TooSlow(_)
            | Self::Panicked
            | Self::Cancelled => false,
        }
    }
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

/// Whose repo is read, and where.
#[derive(Debug, Clone, Copy)]
pub struct RepoSource<'a> {
    /// The server that has it.
    pub server: &'a Server,
    /// Ours.
    pub collections: &'a Collections,
    /// Whose.
    pub did: &'a Did,
}

/// Lists all records of our collections, and makes sure that the repo was the same before and after: what is listed carries no
/// rev of its own. The JSON is kept only of what the index does not hold.
pub async fn read_listed(source: RepoSource<'_>, ours: &Ours, progress: &mut Progress) -> Result<Theirs, ReadError> {
    let RepoSource { server, collections, did } = source;
    let mut before = progress.within(server.fetch_latest_commit(did)).await??.rev;
    for attempt in 1..=LISTINGS_MAX {
        let theirs = Theirs { rev: before, records: BTreeMap::new() };
        let mut listing = Listing { server, did, ours, theirs, bytes: 0, progress };
        for collection in Collection::ALL {
            listing.add(collection, collections.nsid(collection)).await?;
        }
        let theirs = listing.theirs;
        let after = progress.within(server.fetch_latest_commit(did)).await??.rev;
        if after == before {
            return Ok(theirs);
        }
        before = after;
        tokio::time::sleep(LISTING_PAUSE * attempt).await;
    }
    Err(ReadError::Restless)
}

/// What was listed so far.
struct Listing<'a> {
    server: &'a Server,
    did: &'a Did,
    ours: &'a Ours,
    theirs: Theirs,
    /// Of the JSON that is kept.
    bytes: usize,
    progress: &'a mut Progress,
}

impl Listing<'_> {
    /// All records of a collection, page by page.
    async fn add(&mut self, collection: Collection, nsid: &Nsid) -> Result<(), ReadError> {
        let query = RecordQuery { did: self.did, collection: nsid, limit: PAGE, reverse: false };
        let mut cursors = Cursors::default();
        let mut cursor = None;
        loop {
            let page = self.progress.within(self.server.fetch_records(query, cursor.as_deref())).await??;
            if page.malformed > 0 {
                return Err(ReadError::Malformed(page.malformed));
            }
            let (before, is_empty, kept) = (self.theirs.records.len(), page.records.is_empty(), self.bytes);
            for listed in page.records {
                self.insert((collection, listed.rkey), listed.cid, listed.value);
            }
            let new = self.theirs.records.len() - before;
            if new == 0 && !is_empty {
                return Err(XrpcError::BadAnswer("it gives the same records for ever").into());
            }
            self.progress.add_records(new);
            self.progress.memory.grow(self.bytes - kept).await.map_err(XrpcError::from)?;
            if self.theirs.records.len() > RECORDS_MAX || self.bytes > BYTES_MAX {
                return Err(ReadError::TooLarge);
            }
            cursors.advance(page.cursor.as_deref())?;
            match page.cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(()),
            }
        }
    }

    fn insert(&mut self, path: Path, cid: Cid, json: Box<RawValue>) {
        let is_known = self.ours.paths.get(&path).is_some_and(|held| held.head == Some(cid.head()));
        let bytes = if is_known { Vec::new() } else { Box::<str>::from(json).into_string().into_bytes() };
        self.bytes += bytes.len();
        self.theirs.records.insert(path, Record { cid, format: RawFormat::RecordJson, bytes });
    }
}

/// Reads a repo as a whole, verified by its owner's key: for one that is not to be had by listing. Its rev is its own.
pub(super) async fn read_archive(
    source: RepoSource<'_>,
    key: PublicKey,
    progress: &mut Progress,
) -> Result<Theirs, ReadError> {
    let RepoSource { server, collections, did } = source;
    let mut download = progress.within(server.fetch_repo(did, None, ARCHIVE)).await??;
    let mut car = Vec::new();
    while let Some(piece) = progress.within(download.next()).await?.map_err(XrpcError::from)? {
        progress.add_bytes(piece.len());
        progress.memory.grow(piece.len()).await.map_err(XrpcError::from)?;
        car.extend_from_slice(&piece);
    }
    drop(download);
    let (did, collections) = (did.clone(), collections.clone());
    let read = tokio::task::spawn_blocking(move || verify(&car, &collections, &did, &key));
    match read.await {
        Ok(read) => read,
        Err(error) if error.is_panic() => Err(ReadError::Panicked),
        Err(_) => Err(ReadError::Cancelled),
    }
}

/// The records of ours in a CAR that its owner signed.
fn verify(car: &[u8], collections: &Collections, did: &Did, key: &PublicKey) -> Result<Theirs, ReadError> {
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
