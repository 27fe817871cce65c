use std::{
    collections::HashSet,
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::{Client, Download, HostUrl, Request, Trust, XrpcError};
use crate::{
    atproto::{AtUri, Cid, Did, Nsid, RecordKey, Tid},
    model::AccountStatus,
};

/// Bytes of a page of a hundred records at most; a record has up to a megabyte, and ours a few hundred bytes.
const PAGE_BYTES_MAX: usize = 16 << 20;
/// Bytes of a page of DIDs at most.
const DIDS_BYTES_MAX: usize = 4 << 20;
const PAGE_TIME_MAX: Duration = Duration::from_secs(30);
/// Bytes of a cursor at most: each request carries it.
const CURSOR_BYTES_MAX: usize = 1 << 10;
/// Pages of one listing at most: ten million records.
const PAGES_MAX: usize = 100_000;

/// A server with repos: a PDS, or a relay.
#[derive(Debug, Clone)]
pub struct Server {
    client: Client,
    url: HostUrl,
    trust: Trust,
}

/// The head of a repo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatestCommit {
    /// The commit's CID.
    pub cid: Cid,
    /// Its rev.
    pub rev: Tid,
}

/// Whether a server gives a repo to the public.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoStatus {
    /// It does.
    pub active: bool,
    /// Why not.
    pub status: Option<AccountStatus>,
    /// The head's rev, while active.
    pub rev: Option<Tid>,
}

/// A record as its server lists it.
#[derive(Debug, Clone)]
pub struct ListedRecord {
    /// Its key.
    pub rkey: RecordKey,
    /// Its version, as the server says.
    pub cid: Cid,
    /// Its JSON, as it came.
    pub value: Box<RawValue>,
}

/// A page of records.
#[derive(Debug, Default)]
pub struct RecordPage {
    /// Those that have a key, a CID and a value.
    pub records: Vec<ListedRecord>,
    /// How many were left out because they lack something: a server's mistake, which costs these alone.
    pub malformed: usize,
    /// Asks for the next page; none on the last.
    pub cursor: Option<String>,
}

/// Which records to list.
#[derive(Debug, Clone, Copy)]
pub struct RecordQuery<'a> {
    /// Whose.
    pub did: &'a Did,
    /// Of which collection.
    pub collection: &'a Nsid,
    /// How many on a page, up to 100.
    pub limit: u8,
    /// From the smallest key on, and not from the greatest.
    pub reverse: bool,
}

/// A page of DIDs.
#[derive(Debug, Default)]
pub struct DidPage {
    /// Those that can be read.
    pub dids: Vec<Did>,
    /// How many were left out because they are none.
    pub malformed: usize,
    /// Asks for the next page; none on the last.
    pub cursor: Option<String>,
}

/// Notices a listing that goes in a circle: every cursor may come once. Of a cursor only a hash is kept.
#[derive(Debug, Default)]
pub struct Cursors {
    seen: HashSet<u64>,
    hasher: RandomState,
}

impl Cursors {
    /// Takes the cursor of a page; refuses one that has been there before, and a listing without end.
    pub fn advance(&mut self, cursor: Option<&str>) -> Result<(), XrpcError> {
        let Some(cursor) = cursor else { return Ok(()) };
        if self.seen.len() >= PAGES_MAX {
            return Err(XrpcError::BadAnswer("its pages have no end"));
        }
        let is_new = self.seen.insert(self.hasher.hash_one(cursor));
        if is_new { Ok(()) } else { Err(XrpcError::BadAnswer("it gives the same page for ever")) }
    }
}

#[derive(Deserialize)]
struct RawCommit {
    cid: String,
    rev: String,
}

#[derive(Deserialize)]
struct RawStatus {
    did: String,
    active: bool,
    status: Option<String>,
    rev: Option<String>,
}

#[derive(Deserialize)]
struct RawRecord {
    uri: String,
    cid: Option<String>,
    value: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct RawRecords {
    records: Option<Vec<Box<RawValue>>>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct RawRepo {
    did: String,
}

#[derive(Deserialize)]
struct RawRepos {
    repos: Option<Vec<Box<RawValue>>>,
    cursor: Option<String>,
}

/// The items of a page, each read for itself, since an odd one must not cost the others; `None` where it is not what it should be. A
/// list that is null is an empty one: so some languages write it.
fn read_items<T: DeserializeOwned>(items: Option<Vec<Box<RawValue>>>) -> Vec<Option<T>> {
    items.unwrap_or_default().iter().map(|item| serde_json::from_str(item.get()).ok()).collect()
}

/// The cursor of the next page. An empty one is none, and one that comes again, or is longer than any need be, is a mistake.
fn next_cursor(found: Option<String>, asked: Option<&str>) -> Result<Option<String>, XrpcError> {
    let found = found.filter(|cursor| !cursor.is_empty());
    if found.as_ref().is_some_and(|cursor| cursor.len() > CURSOR_BYTES_MAX) {
        return Err(XrpcError::BadAnswer("its cursor is longer than 1 KiB"));
    }
    if found.is_some() && found.as_deref() == asked {
        return Err(XrpcError::BadAnswer("it gives the same page for ever"));
    }
    Ok(found)
}

impl Server {
    /// A PDS that a DID document names.
    pub fn untrusted(client: Client, url: HostUrl) -> Self {
        Self { client, url, trust: Trust::Untrusted }
    }

    /// A relay that the settings name.
    pub fn of_operator(client: Client, url: HostUrl) -> Self {
        Self { client, url, trust: Trust::Operator }
    }

    /// The client that asks it.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Where it is.
    pub fn url(&self) -> &HostUrl {
        &self.url
    }

    /// The head of a repo.
    pub async fn fetch_latest_commit(&self, did: &Did) -> Result<LatestCommit, XrpcError> {
        let raw: RawCommit = self.ask("com.atproto.sync.getLatestCommit", &[("did", did.as_str())]).await?;
        match (Cid::parse(&raw.cid), Tid::parse(&raw.rev)) {
            (Ok(cid), Ok(rev)) => Ok(LatestCommit { cid, rev }),
            _ => Err(XrpcError::BadAnswer("its latest commit is none")),
        }
    }

    /// Whether the server gives a repo to the public.
    pub async fn fetch_repo_status(&self, did: &Did) -> Result<RepoStatus, XrpcError> {
        let raw: RawStatus = self.ask("com.atproto.sync.getRepoStatus", &[("did", did.as_str())]).await?;
        if Did::parse(&raw.did).as_ref() != Ok(did) {
            return Err(XrpcError::BadAnswer("it answers for another repo"));
        }
        Ok(RepoStatus {
            active: raw.active,
            status: raw.status.as_deref().map(AccountStatus::parse),
            rev: raw.rev.as_deref().and_then(|rev| Tid::parse(rev).ok()),
        })
    }

    /// One page of a collection. An answer with a record of another repo or collection is refused as a whole.
    pub async fn fetch_records(&self, query: RecordQuery<'_>, cursor: Option<&str>) -> Result<RecordPage, XrpcError> {
        let limit = query.limit.to_string();
        let mut parameters =
            vec![("repo", query.did.as_str()), ("collection", query.collection.as_str()), ("limit", limit.as_str())];
        parameters.extend(query.reverse.then_some(("reverse", "true")));
        parameters.extend(cursor.map(|cursor| ("cursor", cursor)));
        let raw: RawRecords = self.ask("com.atproto.repo.listRecords", &parameters).await?;
        let (next, items) = (next_cursor(raw.cursor, cursor)?, read_items::<RawRecord>(raw.records));
        // Some servers give a cursor with the last page too, and nothing for it.
        let mut page = RecordPage { cursor: next.filter(|_| !items.is_empty()), ..RecordPage::default() };
        for item in items {
            match item.map(|record| read_record(record, query.did, query.collection)).transpose()?.flatten() {
                Some(record) => page.records.push(record),
                None => page.malformed += 1,
            }
        }
        Ok(page)
    }

    /// One record.
    pub async fn fetch_record(&self, uri: &AtUri) -> Result<ListedRecord, XrpcError> {
        let AtUri { did, collection, rkey } = uri;
        let parameters = [("repo", did.as_str()), ("collection", collection.as_str()), ("rkey", rkey.as_str())];
        let raw: RawRecord = self.ask("com.atproto.repo.getRecord", &parameters).await?;
        match read_record(raw, did, collection)? {
            Some(record) if record.rkey == *rkey => Ok(record),
            _ => Err(XrpcError::BadAnswer("it answers with another record")),
        }
    }

    /// A whole repo as a CAR, to be read piece by piece; of the commits after `since` alone, if given.
    pub async fn fetch_repo(&self, did: &Did, since: Option<Tid>, bounds: RepoBounds) -> Result<Download, XrpcError> {
        let since = since.map(|since| since.to_string());
        let mut parameters = vec![("did", did.as_str())];
        parameters.extend(since.as_deref().map(|since| ("since", since)));
        let mut request = self.request("com.atproto.sync.getRepo", &parameters);
        (request.bytes_max, request.time_max) = (bounds.bytes_max, bounds.time_max);
        self.client.open(request).await.map_err(XrpcError::of_host)
    }

    /// One page of the DIDs that ever had a record of a collection. For relays; `limit` is up to 2,000.
    pub async fn fetch_repos_by_collection(
        &self,
        collection: &Nsid,
        limit: u16,
        cursor: Option<&str>,
    ) -> Result<DidPage, XrpcError> {
        let limit = limit.to_string();
        let mut parameters = vec![("collection", collection.as_str()), ("limit", limit.as_str())];
        parameters.extend(cursor.map(|cursor| ("cursor", cursor)));
        self.fetch_dids("com.atproto.sync.listReposByCollection", &parameters, cursor).await
    }

    /// One page of the DIDs of all repos on a server.
    pub async fn fetch_repos(&self, limit: u16, cursor: Option<&str>) -> Result<DidPage, XrpcError> {
        let limit = limit.to_string();
        let mut parameters = vec![("limit", limit.as_str())];
        parameters.extend(cursor.map(|cursor| ("cursor", cursor)));
        self.fetch_dids("com.atproto.sync.listRepos", &parameters, cursor).await
    }

    async fn fetch_dids(
        &self,
        nsid: &str,
        parameters: &[(&str, &str)],
        cursor: Option<&str>,
    ) -> Result<DidPage, XrpcError> {
        let raw: RawRepos = self.ask(nsid, parameters).await?;
        let (next, items) = (next_cursor(raw.cursor, cursor)?, read_items::<RawRepo>(raw.repos));
        let dids: Vec<Did> = items.iter().flatten().filter_map(|repo| Did::parse(&repo.did).ok()).collect();
        Ok(DidPage { malformed: items.len() - dids.len(), dids, cursor: next })
    }

    async fn ask<T: DeserializeOwned>(&self, nsid: &str, parameters: &[(&str, &str)]) -> Result<T, XrpcError> {
        self.client.fetch_json(self.request(nsid, parameters)).await.map_err(XrpcError::of_host)
    }

    fn request(&self, nsid: &str, parameters: &[(&str, &str)]) -> Request {
        let mut url = self.url.join(&format!("/xrpc/{nsid}"));
        url.query_pairs_mut().extend_pairs(parameters);
        let mut request = Request::new(url, self.trust);
        request.bytes_max = match nsid {
            "com.atproto.repo.listRecords" => PAGE_BYTES_MAX,
            "com.atproto.sync.listReposByCollection" | "com.atproto.sync.listRepos" => DIDS_BYTES_MAX,
            _ => request.bytes_max * 2,
        };
        request.time_max = PAGE_TIME_MAX;
        request
    }
}

/// How much of a repo is read, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct RepoBounds {
    /// Bytes of the CAR.
    pub bytes_max: usize,
    /// From asking to the last byte.
    pub time_max: Duration,
}

impl Default for RepoBounds {
    fn default() -> Self {
        Self { bytes_max: 256 << 20, time_max: Duration::from_mins(5) }
    }
}

/// None for a record without a key, a CID or a value.
fn read_record(raw: RawRecord, did: &Did, collection: &Nsid) -> Result<Option<ListedRecord>, XrpcError> {
    let (Ok(uri), Some(Ok(cid)), Some(value)) = (AtUri::parse(&raw.uri), raw.cid.as_deref().map(Cid::parse), raw.value)
    else {
        return Ok(None);
    };
    if uri.did != *did || uri.collection != *collection {
        return Err(XrpcError::BadAnswer("it answers with records of another repo or collection"));
    }
    Ok(Some(ListedRecord { rkey: uri.rkey, cid, value }))
}
