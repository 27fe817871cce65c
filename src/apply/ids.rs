use std::{fmt::Write, hash::Hash};

use foldhash::HashMap;
use quick_cache::unsync::Cache;
use sqlx::PgConnection;

use super::fold::Fold;
use crate::{
    atproto::{AtUri, Cid, Did},
    model::{ActorId, CidId, TrackId},
    store::{
        actors::{self, KnownActor, NewActor},
        records::{subject_cids, tracks},
    },
};

/// How many ids are remembered: about 6 MB in all. Those forgotten cost a look-up.
const ACTORS_KEPT: usize = 30_000;
const TRACKS_KEPT: usize = 15_000;
const CIDS_KEPT: usize = 15_000;

/// Ids that an applier remembers from committed transactions.
#[derive(Debug)]
pub struct Ids {
    actors: Cache<Box<str>, KnownActor>,
    tracks: Cache<Box<str>, TrackId>,
    cids: Cache<Cid, CidId>,
}

impl Default for Ids {
    fn default() -> Self {
        Self { actors: Cache::new(ACTORS_KEPT), tracks: Cache::new(TRACKS_KEPT), cids: Cache::new(CIDS_KEPT) }
    }
}

impl Ids {
    /// Notes which ids the folds need that are not remembered.
    pub fn begin(&self, folds: &[Fold<'_>]) -> BatchIds<'_> {
        let mut ids = BatchIds { remembered: self, found: Found::default(), uri: String::new() };
        for path in folds.iter().flat_map(Fold::paths) {
            ids.note_actor(path.did, true);
            if let Some(subject) = path.record.and_then(|(_, record)| record.subject()) {
                ids.note_track(subject.track);
                ids.note_cid(*subject.cid);
            }
        }
        for track in folds.iter().flat_map(Fold::overtaken) {
            ids.note_track(track);
        }
        ids
    }

    /// Remembers the ids of a batch that has been committed.
    pub fn keep(&mut self, found: Found) {
        let actors = found.actors.into_iter().filter_map(|(did, actor)| Some((did, actor.known?)));
        actors.for_each(|(did, known)| self.actors.insert(did, known));
        let tracks = found.tracks.into_iter().filter_map(|(uri, track)| Some((uri, track.id?)));
        tracks.for_each(|(uri, id)| self.tracks.insert(uri, id));
        let cids = found.cids.into_iter().filter_map(|(cid, id)| Some((cid, id?)));
        cids.for_each(|(cid, id)| self.cids.insert(cid, id));
    }
}

/// The ids of one batch: those that were remembered, and those that are looked up or given within its transaction.
#[derive(Debug)]
pub struct BatchIds<'i> {
    remembered: &'i Ids,
    found: Found,
    /// The URI that was asked for last: kept for its room.
    uri: String,
}

/// Ids that a batch needs and that were not remembered; each none until it is found.
#[derive(Debug, Default)]
pub struct Found {
    actors: HashMap<Box<str>, FoundActor>,
    tracks: HashMap<Box<str>, FoundTrack>,
    cids: HashMap<Cid, Option<CidId>>,
}

#[derive(Debug, Default)]
struct FoundActor {
    known: Option<KnownActor>,
    /// Whether the batch has a record of the actor's, and not only mentions the actor.
    writes: bool,
}

#[derive(Debug)]
struct FoundTrack {
    id: Option<TrackId>,
    /// The DID in the URI.
    artist: Box<str>,
}

impl BatchIds<'_> {
    /// Finds the id of every actor, and gives one to those that have none.
    pub async fn resolve_actors(&mut self, connection: &mut PgConnection) -> sqlx::Result<()> {
        self.found.resolve_actors(connection).await
    }

    /// Finds the id of every track and every CID, and gives one to those that have none. The ids of actors are known by then.
    pub async fn resolve_subjects(&mut self, connection: &mut PgConnection) -> sqlx::Result<()> {
        self.found.resolve_tracks(connection, self.remembered).await?;
        self.found.resolve_cids(connection).await
    }

    /// The DIDs that were not remembered.
    pub fn new_dids(&self) -> impl Iterator<Item = &str> {
        self.found.actors.keys().map(AsRef::as_ref)
    }

    /// The id of an actor, once it is resolved.
    pub fn actor(&self, did: &Did) -> sqlx::Result<ActorId> {
        self.found.actor(did.as_str(), self.remembered)
    }

    /// The id of a track, once it is resolved.
    pub fn track(&mut self, uri: &AtUri) -> sqlx::Result<TrackId> {
        let uri = write_uri(&mut self.uri, uri);
        let remembered = self.remembered.tracks.peek(uri).copied();
        remembered.or_else(|| self.found.tracks.get(uri)?.id).ok_or_else(unresolved)
    }

    /// The id of a CID, once it is resolved.
    pub fn cid(&self, cid: Cid) -> sqlx::Result<CidId> {
        let remembered = self.remembered.cids.peek(&cid).copied();
        remembered.or_else(|| *self.found.cids.get(&cid)?).ok_or_else(unresolved)
    }

    /// What is to be remembered once the transaction has committed.
    pub fn into_found(self) -> Found {
        self.found
    }

    fn note_actor(&mut self, did: &Did, writes: bool) {
        let did = did.as_str();
        if self.remembered.actors.peek(did).is_some_and(|known| known.is_author || !writes) {
            return;
        }
        match self.found.actors.get_mut(did) {
            Some(actor) => actor.writes |= writes,
            None => drop(self.found.actors.insert(did.into(), FoundActor { known: None, writes })),
        }
    }

    fn note_track(&mut self, track: &AtUri) {
        let uri = write_uri(&mut self.uri, track);
        if self.remembered.tracks.peek(uri).is_none() && !self.found.tracks.contains_key(uri) {
            self.found.tracks.insert(uri.into(), FoundTrack { id: None, artist: track.did.as_str().into() });
            self.note_actor(&track.did, false);
        }
    }

    fn note_cid(&mut self, cid: Cid) {
        if self.remembered.cids.peek(&cid).is_none() {
            self.found.cids.entry(cid).or_default();
        }
    }
}

fn write_uri<'u>(text: &'u mut String, uri: &AtUri) -> &'u str {
    text.clear();
    // Writing to a string cannot fail.
    let _ = write!(text, "{uri}");
    text
}

fn unresolved() -> sqlx::Error {
    sqlx::Error::Protocol("an id was neither found nor given".to_owned())
}

/// Rounds of finding the ids that are in the table and giving ids to the others. What another writer gives an id between the two,
/// which changes nothing, is found in the second.
const ROUNDS: usize = 2;

impl Found {
    fn actor(&self, did: &str, remembered: &Ids) -> sqlx::Result<ActorId> {
        let known = remembered.actors.peek(did).copied().or_else(|| self.actors.get(did)?.known);
        known.map(|known| known.id).ok_or_else(unresolved)
    }

    async fn resolve_actors(&mut self, connection: &mut PgConnection) -> sqlx::Result<()> {
        for _ in 0..ROUNDS {
            let dids: Vec<&str> = self.missing_actors().map(|new| new.did).collect();
            if dids.is_empty() {
                break;
            }
            let known = actors::load_ids(connection, &dids).await?;
            let known: Vec<(Box<str>, KnownActor)> =
                known.into_iter().map(|(at, known)| (dids[at].into(), known)).collect();
            for (did, known) in known {
                self.actors.entry(did).or_default().known = Some(known);
            }
            let added = actors::insert(connection, &self.missing_actors().collect::<Vec<_>>()).await?;
            for (did, id) in added {
                let actor = self.actors.entry(did.into()).or_default();
                actor.known = Some(KnownActor { id, is_author: actor.writes });
            }
        }
        self.mark_authors(connection).await
    }

    /// Those who were only mentioned so far and write now.
    async fn mark_authors(&mut self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let actors = self.actors.values_mut().filter(|actor| actor.writes).filter_map(|actor| actor.known.as_mut());
        let new: Vec<&mut KnownActor> = actors.filter(|known| !known.is_author).collect();
        actors::mark_authors(connection, &new.iter().map(|known| known.id).collect::<Vec<_>>()).await?;
        for known in new {
            known.is_author = true;
        }
        Ok(())
    }

    fn missing_actors(&self) -> impl Iterator<Item = NewActor<'_>> {
        let missing = self.actors.iter().filter(|(_, actor)| actor.known.is_none());
        missing.map(|(did, actor)| NewActor { did, is_author: actor.writes })
    }

    async fn resolve_tracks(&mut self, connection: &mut PgConnection, remembered: &Ids) -> sqlx::Result<()> {
        for _ in 0..ROUNDS {
            let uris: Vec<&str> = self.missing_tracks().map(|(uri, _)| uri).collect();
            if uris.is_empty() {
                break;
            }
            let known = tracks::load_ids(connection, &uris).await?;
            let known: Vec<(Box<str>, TrackId)> = known.into_iter().map(|(at, id)| (uris[at].into(), id)).collect();
            self.set_tracks(known.iter().map(|(uri, id)| (&**uri, *id)));
            let new = self.missing_tracks().map(|(uri, artist)| Ok((uri, self.actor(artist, remembered)?)));
            let (uris, artist_ids): (Vec<&str>, Vec<ActorId>) =
                new.collect::<sqlx::Result<Vec<_>>>()?.into_iter().unzip();
            let added = tracks::insert(connection, &uris, &artist_ids).await?;
            self.set_tracks(added.iter().map(|(uri, id)| (uri.as_str(), *id)));
        }
        Ok(())
    }

    fn missing_tracks(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tracks.iter().filter(|(_, track)| track.id.is_none()).map(|(uri, track)| (&**uri, &*track.artist))
    }

    fn set_tracks<'u>(&mut self, ids: impl Iterator<Item = (&'u str, TrackId)>) {
        for (uri, id) in ids {
            if let Some(track) = self.tracks.get_mut(uri) {
                track.id = Some(id);
            }
        }
    }

    async fn resolve_cids(&mut self, connection: &mut PgConnection) -> sqlx::Result<()> {
        for _ in 0..ROUNDS {
            let cids: Vec<Cid> = missing(&self.cids).copied().collect();
            if cids.is_empty() {
                break;
            }
            let known = subject_cids::load_ids(connection, &cids).await?;
            self.cids.extend(known.into_iter().map(|(at, id)| (cids[at], Some(id))));
            let cids: Vec<Cid> = missing(&self.cids).copied().collect();
            let added = subject_cids::insert(connection, &cids).await?;
            self.cids.extend(added.into_iter().map(|(cid, id)| (cid, Some(id))));
        }
        Ok(())
    }
}

/// What has no id yet.
fn missing<K: Eq + Hash, I>(ids: &HashMap<K, Option<I>>) -> impl Iterator<Item = &K> {
    ids.iter().filter(|(_, id)| id.is_none()).map(|(name, _)| name)
}
