use std::collections::HashMap;

use quick_cache::unsync::Cache;
use sqlx::PgConnection;

use super::fold::Fold;
use crate::{
    atproto::{AtUri, Cid},
    decode::{Collection, Collections, Record},
    store::{actors, subject_cids, tracks},
};

/// How many ids are remembered: about 12 MB in all. Those forgotten cost a look-up.
const ACTORS_KEPT: usize = 60_000;
const TRACKS_KEPT: usize = 30_000;
const CIDS_KEPT: usize = 30_000;

/// Ids that an applier remembers from committed transactions.
#[derive(Debug)]
pub struct Ids {
    actors: Cache<Box<str>, i64>,
    tracks: Cache<Box<str>, i64>,
    cids: Cache<Box<[u8]>, i64>,
}

impl Default for Ids {
    fn default() -> Self {
        Self { actors: Cache::new(ACTORS_KEPT), tracks: Cache::new(TRACKS_KEPT), cids: Cache::new(CIDS_KEPT) }
    }
}

/// All ids that one batch needs.
#[derive(Debug, Default)]
pub struct BatchIds {
    actors: HashMap<Box<str>, i64>,
    tracks: HashMap<Box<str>, i64>,
    cids: HashMap<Box<[u8]>, i64>,
}

impl BatchIds {
    /// The id of a DID that the batch names.
    pub fn actor(&self, did: &str) -> Option<i64> {
        self.actors.get(did).copied()
    }

    /// The id of a track's URI that the batch names.
    pub fn track(&self, uri: &str) -> Option<i64> {
        self.tracks.get(uri).copied()
    }

    /// The id of a subject's CID that the batch names.
    pub fn cid(&self, cid: &Cid) -> Option<i64> {
        self.cids.get(cid.to_bytes().as_slice()).copied()
    }
}

/// What a batch names that has not been met.
#[derive(Default)]
struct Unmet {
    actors: Vec<Box<str>>,
    tracks: Vec<(Box<str>, Box<str>)>,
    cids: Vec<Box<[u8]>>,
}

impl Ids {
    /// Finds the id of everything that the folds name, and gives one to what has none, within the transaction.
    pub async fn resolve(
        &mut self,
        connection: &mut PgConnection,
        collections: &Collections,
        folds: &[&Fold<'_>],
    ) -> sqlx::Result<BatchIds> {
        let mut known = BatchIds::default();
        let mut unmet = Unmet::default();
        for (collection, path) in folds.iter().flat_map(|fold| fold.all()) {
            self.look_up_actor(path.did.as_str(), &mut known, &mut unmet);
            if collection == Collection::Track {
                let nsid = collections.nsid(Collection::Track).clone();
                let uri = AtUri { did: path.did.clone(), collection: nsid, rkey: path.rkey.clone() };
                self.look_up_track(&uri, &mut known, &mut unmet);
            }
            if let Some((_, Record::Like(like))) = path.record {
                self.look_up_track(&like.subject, &mut known, &mut unmet);
                self.look_up_cid(&like.subject_cid, &mut known, &mut unmet);
            }
        }
        unmet.resolve(connection, &mut known).await?;
        Ok(known)
    }

    /// Remembers the ids of a batch that has been committed.
    pub fn keep(&mut self, batch: BatchIds) {
        for (did, id) in batch.actors {
            self.actors.insert(did, id);
        }
        for (uri, id) in batch.tracks {
            self.tracks.insert(uri, id);
        }
        for (cid, id) in batch.cids {
            self.cids.insert(cid, id);
        }
    }

    fn look_up_actor(&mut self, did: &str, known: &mut BatchIds, unmet: &mut Unmet) {
        if !known.actors.contains_key(did) {
            let id = self.actors.get(did).copied();
            known.actors.insert(did.into(), id.unwrap_or(UNMET));
            if id.is_none() {
                unmet.actors.push(did.into());
            }
        }
    }

    fn look_up_track(&mut self, uri: &AtUri, known: &mut BatchIds, unmet: &mut Unmet) {
        let text = uri.to_string();
        if !known.tracks.contains_key(text.as_str()) {
            let id = self.tracks.get(text.as_str()).copied();
            if id.is_none() {
                self.look_up_actor(uri.did.as_str(), known, unmet);
                unmet.tracks.push((text.as_str().into(), uri.did.as_str().into()));
            }
            known.tracks.insert(text.into(), id.unwrap_or(UNMET));
        }
    }

    fn look_up_cid(&mut self, cid: &Cid, known: &mut BatchIds, unmet: &mut Unmet) {
        let bytes = cid.to_bytes();
        if !known.cids.contains_key(bytes.as_slice()) {
            let id = self.cids.get(bytes.as_slice()).copied();
            if id.is_none() {
                unmet.cids.push(bytes.as_slice().into());
            }
            known.cids.insert(bytes.into(), id.unwrap_or(UNMET));
        }
    }
}

/// Stands for an id until it is found. Identities start at one.
const UNMET: i64 = 0;

impl Unmet {
    /// Asks for those that are in the tables, inserts the others and asks again: another writer may have been faster.
    async fn resolve(self, connection: &mut PgConnection, known: &mut BatchIds) -> sqlx::Result<()> {
        self.resolve_actors(connection, known).await?;
        self.resolve_tracks(connection, known).await?;
        self.resolve_cids(connection, known).await
    }

    async fn resolve_actors(&self, connection: &mut PgConnection, known: &mut BatchIds) -> sqlx::Result<()> {
        let mut missing: Vec<&str> = self.actors.iter().map(AsRef::as_ref).collect();
        for insert in [false, true] {
            if missing.is_empty() {
                break;
            }
            if insert {
                actors::insert(connection, &missing).await?;
            }
            for (place, id) in actors::load_ids(connection, &missing).await? {
                known.actors.insert(missing[place].into(), id);
            }
            missing.retain(|did| known.actors.get(*did) == Some(&UNMET));
        }
        Ok(())
    }

    async fn resolve_tracks(&self, connection: &mut PgConnection, known: &mut BatchIds) -> sqlx::Result<()> {
        let mut missing: Vec<&(Box<str>, Box<str>)> = self.tracks.iter().collect();
        for insert in [false, true] {
            if missing.is_empty() {
                break;
            }
            let uris: Vec<&str> = missing.iter().map(|(uri, _)| uri.as_ref()).collect();
            if insert {
                let artists: Vec<i64> = missing.iter().map(|(_, did)| known.actor(did).unwrap_or(UNMET)).collect();
                tracks::insert(connection, &uris, &artists).await?;
            }
            for (place, id) in tracks::load_ids(connection, &uris).await? {
                known.tracks.insert(uris[place].into(), id);
            }
            missing.retain(|(uri, _)| known.tracks.get(uri) == Some(&UNMET));
        }
        Ok(())
    }

    async fn resolve_cids(&self, connection: &mut PgConnection, known: &mut BatchIds) -> sqlx::Result<()> {
        let mut missing: Vec<&[u8]> = self.cids.iter().map(AsRef::as_ref).collect();
        for insert in [false, true] {
            if missing.is_empty() {
                break;
            }
            if insert {
                subject_cids::insert(connection, &missing).await?;
            }
            for (place, id) in subject_cids::load_ids(connection, &missing).await? {
                known.cids.insert(missing[place].into(), id);
            }
            missing.retain(|cid| known.cids.get(*cid) == Some(&UNMET));
        }
        Ok(())
    }
}
