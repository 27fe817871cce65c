use std::fmt::Write;

use foldhash::HashMap;
use quick_cache::unsync::Cache;
use sqlx::PgConnection;

use super::fold::{Fold, PathState};
use crate::{
    atproto::{Did, Nsid, RecordKey},
    model::{Collection, Record},
    store::{
        actors,
        records::{subject_cids, tracks},
    },
};

/// How many ids are remembered: about 6 MB in all. Those forgotten cost a look-up.
const ACTORS_KEPT: usize = 30_000;
const TRACKS_KEPT: usize = 15_000;
const CIDS_KEPT: usize = 15_000;

/// Stands for an id until it is found. Identities start at one.
const UNMET: i64 = 0;

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

/// Ids that a batch needs and that were not remembered.
#[derive(Debug, Default)]
pub struct Met {
    actors: HashMap<Box<str>, i64>,
    /// With the DID in the URI, while there is no id.
    tracks: HashMap<Box<str>, (i64, Box<str>)>,
    cids: HashMap<Box<[u8]>, i64>,
}

impl Ids {
    /// Finds the id of every actor that the folds name, gives one to those that have none, within the transaction, and writes
    /// what is known so far into the folds.
    pub async fn resolve_actors(
        &self,
        connection: &mut PgConnection,
        track_nsid: &Nsid,
        folds: &mut [&mut Fold<'_>],
    ) -> sqlx::Result<Met> {
        let mut met = Met::default();
        let mut uri = String::new();
        for (collection, path) in folds.iter_mut().flat_map(|fold| fold.paths()) {
            self.recall(path, track_of(collection, path, track_nsid, &mut uri), &mut met);
        }
        for like in folds.iter().flat_map(|fold| fold.overtaken()) {
            self.note_track(&like.subject.did, &like.subject.to_string(), &mut met);
        }
        met.resolve_actors(connection).await?;
        for (_, path) in folds.iter_mut().flat_map(|fold| fold.paths()) {
            met.fill_actor(path);
        }
        Ok(met)
    }

    /// Writes into a path what is remembered, and notes what is not.
    fn recall(&self, path: &mut PathState<'_>, track: Option<(&Did, &str)>, met: &mut Met) {
        path.actor_id = self.actors.peek(path.did.as_str()).copied().unwrap_or(UNMET);
        if path.actor_id == UNMET {
            met.actors.insert(path.did.as_str().into(), UNMET);
        }
        if let Some((artist, uri)) = track {
            path.track_id = self.note_track(artist, uri, met);
        }
        if let Some((_, Record::Like(like))) = path.record {
            let cid = like.subject_cid.to_bytes();
            path.cid_id = self.cids.peek(cid.as_slice()).copied().unwrap_or(UNMET);
            if path.cid_id == UNMET {
                met.cids.insert(cid.into(), UNMET);
            }
        }
    }

    /// The id of a track if it is remembered; otherwise it is noted as not.
    fn note_track(&self, artist: &Did, uri: &str, met: &mut Met) -> i64 {
        let id = self.tracks.peek(uri).copied().unwrap_or(UNMET);
        if id == UNMET && !met.tracks.contains_key(uri) {
            met.tracks.insert(uri.into(), (UNMET, artist.as_str().into()));
            met.actors.entry(artist.as_str().into()).or_insert(UNMET);
        }
        id
    }

    /// Remembers the ids of a batch that has been committed.
    pub fn keep(&mut self, met: Met) {
        for (did, id) in met.actors {
            self.actors.insert(did, id);
        }
        for (uri, (id, _)) in met.tracks {
            self.tracks.insert(uri, id);
        }
        for (cid, id) in met.cids {
            self.cids.insert(cid, id);
        }
    }
}

/// What has no id yet.
fn unmet<T: ?Sized>(ids: &HashMap<Box<T>, i64>) -> Vec<&T> {
    ids.iter().filter(|(_, id)| **id == UNMET).map(|(name, _)| name.as_ref()).collect()
}

/// The track that a path is about, as its artist and its URI: the subject of a like, or the track itself.
fn track_of<'p>(
    collection: Collection,
    path: &PathState<'p>,
    track_nsid: &Nsid,
    uri: &'p mut String,
) -> Option<(&'p Did, &'p str)> {
    let (did, rkey): (&Did, &RecordKey) = match (collection, path.record) {
        (Collection::Track, _) => (path.did, path.rkey),
        (_, Some((_, Record::Like(like)))) => (&like.subject.did, &like.subject.rkey),
        _ => return None,
    };
    uri.clear();
    // Writing to a string cannot fail.
    let _ = write!(uri, "at://{did}/{track_nsid}/{rkey}");
    Some((did, uri))
}

/// Rounds of finding the ids that are in the table and giving ids to the others. What another writer gives an id between the two,
/// which changes nothing, is found in the second.
const ROUNDS: usize = 2;

impl Met {
    /// The actors that were not remembered.
    pub fn dids(&self) -> impl Iterator<Item = &str> {
        self.actors.keys().map(AsRef::as_ref)
    }

    /// The second half: finds the id of every track and subject CID, gives one to those that have none, and writes them into
    /// the folds. The ids are to be kept once the transaction has committed.
    pub async fn resolve_subjects(
        &mut self,
        connection: &mut PgConnection,
        track_nsid: &Nsid,
        folds: &mut [&mut Fold<'_>],
    ) -> sqlx::Result<()> {
        self.resolve_tracks(connection).await?;
        self.resolve_cids(connection).await?;
        let mut uri = String::new();
        for (collection, path) in folds.iter_mut().flat_map(|fold| fold.paths()) {
            self.fill_subject(path, track_of(collection, path, track_nsid, &mut uri));
        }
        Ok(())
    }

    async fn resolve_actors(&mut self, connection: &mut PgConnection) -> sqlx::Result<()> {
        for _ in 0..ROUNDS {
            let missing: Vec<&str> = unmet(&self.actors);
            if missing.is_empty() {
                break;
            }
            let found = actors::load_ids(connection, &missing).await?;
            let found: Vec<(Box<str>, i64)> = found.into_iter().map(|(at, id)| (missing[at].into(), id)).collect();
            self.actors.extend(found);
            let missing: Vec<&str> = unmet(&self.actors);
            let added = actors::insert(connection, &missing).await?;
            self.actors.extend(added.into_iter().map(|(did, id)| (did.into(), id)));
        }
        Ok(())
    }

    async fn resolve_tracks(&mut self, connection: &mut PgConnection) -> sqlx::Result<()> {
        for _ in 0..ROUNDS {
            let (missing, _) = self.unmet_tracks();
            if missing.is_empty() {
                break;
            }
            let found = tracks::load_ids(connection, &missing).await?;
            let found: Vec<(Box<str>, i64)> = found.into_iter().map(|(at, id)| (missing[at].into(), id)).collect();
            self.tracks.extend(found.into_iter().map(|(uri, id)| (uri, (id, Box::default()))));
            let (missing, artist_ids) = self.unmet_tracks();
            let added = tracks::insert(connection, &missing, &artist_ids).await?;
            self.tracks.extend(added.into_iter().map(|(uri, id)| (uri.into(), (id, Box::default()))));
        }
        Ok(())
    }

    /// The URIs of the tracks without an id, and the ids of their artists.
    fn unmet_tracks(&self) -> (Vec<&str>, Vec<i64>) {
        let artist = |did: &str| self.actors.get(did).copied().unwrap_or(UNMET);
        let unmet = self.tracks.iter().filter(|(_, (id, _))| *id == UNMET);
        unmet.map(|(uri, (_, did))| (uri.as_ref(), artist(did))).unzip()
    }

    async fn resolve_cids(&mut self, connection: &mut PgConnection) -> sqlx::Result<()> {
        for _ in 0..ROUNDS {
            let missing: Vec<&[u8]> = unmet(&self.cids);
            if missing.is_empty() {
                break;
            }
            let found = subject_cids::load_ids(connection, &missing).await?;
            let found: Vec<(Box<[u8]>, i64)> = found.into_iter().map(|(at, id)| (missing[at].into(), id)).collect();
            self.cids.extend(found);
            let missing: Vec<&[u8]> = unmet(&self.cids);
            let added = subject_cids::insert(connection, &missing).await?;
            self.cids.extend(added.into_iter().map(|(cid, id)| (cid.into(), id)));
        }
        Ok(())
    }

    fn fill_actor(&self, path: &mut PathState<'_>) {
        if path.actor_id == UNMET {
            path.actor_id = self.actors.get(path.did.as_str()).copied().unwrap_or(UNMET);
        }
    }

    fn fill_subject(&self, path: &mut PathState<'_>, track: Option<(&Did, &str)>) {
        if let (UNMET, Some((_, uri))) = (path.track_id, track) {
            path.track_id = self.tracks.get(uri).map_or(UNMET, |(id, _)| *id);
        }
        if let (UNMET, Some((_, Record::Like(like)))) = (path.cid_id, path.record) {
            path.cid_id = self.cids.get(like.subject_cid.to_bytes().as_slice()).copied().unwrap_or(UNMET);
        }
    }
}
