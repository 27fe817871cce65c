use std::collections::hash_map::Entry;

use foldhash::{HashMap, HashMapExt};

use crate::{
    atproto::{Cid, Did, RecordKey, Tid},
    decode::Reject,
    model::{Collection, Event, EventBody, Like, Operation, Record},
};

/// What a batch says of each path in the end: the operation with the greatest rev, the first of equals.
///
/// A statement may name a path only once, and the outcome is the same as applying one after the other.
#[derive(Debug, Default)]
pub struct Fold<'a> {
    paths: HashMap<(Collection, &'a str, &'a str), PathState<'a>>,
    anomalies: HashMap<Collection, u64>,
    /// Likes that another operation of the batch has overtaken: they too have mentioned their track.
    overtaken: Vec<&'a Like>,
}

/// What one path comes to.
#[derive(Debug, Clone, Copy)]
pub struct PathState<'a> {
    pub did: &'a Did,
    pub rkey: &'a RecordKey,
    pub rev: Tid,
    /// The record, or none when it is gone.
    pub record: Option<(&'a Cid, &'a Record)>,
    /// The id of `did`; like the next two, zero until it is resolved.
    pub actor_id: i64,
    /// The id of the track that the path is about, if it is about one.
    pub track_id: i64,
    /// The id of the CID that a like names.
    pub cid_id: i64,
}

impl<'a> PathState<'a> {
    fn new(did: &'a Did, rkey: &'a RecordKey, rev: Tid, record: Option<(&'a Cid, &'a Record)>) -> Self {
        Self { did, rkey, rev, record, actor_id: 0, track_id: 0, cid_id: 0 }
    }
}

impl<'a> Fold<'a> {
    /// Folds the operations among the events.
    pub fn of_events(events: &'a [Event]) -> Self {
        let mut fold = Self { paths: HashMap::with_capacity(events.len()), ..Self::default() };
        for event in events {
            if let EventBody::Commit(commit) = &event.body {
                let record = match &commit.operation {
                    Operation::Put { cid, record } => Some((cid, record)),
                    Operation::Delete => None,
                };
                fold.add(commit.collection, PathState::new(&event.did, &commit.rkey, commit.rev, record));
            }
        }
        fold
    }

    /// Folds what refused records leave behind: their path no longer holds what it held.
    ///
    /// The tombstone's rev is the one directly before the record's: it hides everything older, and leaves room for the
    /// record itself when we have learnt to read it. No commit of the repo can lie between the two.
    pub fn of_rejects(rejects: impl Iterator<Item = &'a Reject>) -> Self {
        let mut fold = Self::default();
        for path in rejects.filter_map(|reject| reject.path.as_ref()) {
            if has_row(path.collection, &path.rkey) {
                fold.add(path.collection, PathState::new(&path.did, &path.rkey, path.rev.before(), None));
            }
        }
        fold
    }

    fn add(&mut self, collection: Collection, state: PathState<'a>) {
        match self.paths.entry((collection, state.did.as_str(), state.rkey.as_str())) {
            Entry::Vacant(vacant) => {
                vacant.insert(state);
            }
            Entry::Occupied(mut occupied) => {
                let held = occupied.get_mut();
                let differs = held.record.map(|(cid, _)| cid) != state.record.map(|(cid, _)| cid);
                if held.rev == state.rev && differs {
                    *self.anomalies.entry(collection).or_default() += 1;
                }
                let loser = if held.rev < state.rev { std::mem::replace(held, state) } else { state };
                if let Some((_, Record::Like(like))) = loser.record {
                    self.overtaken.push(like);
                }
            }
        }
    }

    /// Operations with the rev of another one on the same path, and another CID.
    pub fn anomalies(&self, collection: Collection) -> u64 {
        self.anomalies.get(&collection).copied().unwrap_or_default()
    }

    /// The paths of one collection, in no order.
    pub fn of(&self, collection: Collection) -> impl Iterator<Item = &PathState<'a>> {
        self.paths.iter().filter(move |((of, _, _), _)| *of == collection).map(|(_, state)| state)
    }

    /// Likes that another operation of the batch has overtaken.
    pub fn overtaken(&self) -> &[&'a Like] {
        &self.overtaken
    }

    /// Forgets the paths that are not to be kept.
    pub fn retain(&mut self, keep: impl Fn(&PathState<'a>) -> bool) {
        self.paths.retain(|_, path| keep(path));
    }

    /// All paths with their collections, in no order.
    pub fn paths(&mut self) -> impl Iterator<Item = (Collection, &mut PathState<'a>)> {
        self.paths.iter_mut().map(|((collection, _, _), state)| (*collection, state))
    }
}

/// Whether a path can have a row: likes and lists are keyed by TID, an actor has one profile.
fn has_row(collection: Collection, rkey: &RecordKey) -> bool {
    match collection {
        Collection::Like | Collection::List | Collection::Track => Tid::parse(rkey.as_str()).is_ok(),
        Collection::Profile => rkey.as_str() == "self",
    }
}
