use std::collections::hash_map::Entry;

use foldhash::{HashMap, HashMapExt};

use crate::{
    atproto::{AtUri, Cid, Did, RecordKey, Tid},
    decode::Reject,
    model::{Collection, CollectionMap, Event, EventBody, Operation, Record},
};

/// What a batch says of each path in the end: the operation with the greatest rev, the first of equals.
///
/// A statement may name a path only once, and the outcome is the same as applying one after the other.
#[derive(Debug, Default)]
pub struct Fold<'a> {
    paths: CollectionMap<HashMap<(&'a str, &'a str), PathState<'a>>>,
    anomalies: CollectionMap<u64>,
    /// Subjects of records that another operation of the batch has overtaken: they too have named their track.
    overtaken: Vec<&'a AtUri>,
}

/// What one path comes to.
#[derive(Debug, Clone, Copy)]
pub struct PathState<'a> {
    pub did: &'a Did,
    pub rkey: &'a RecordKey,
    pub rev: Tid,
    /// The record, or none when it is gone.
    pub record: Option<(&'a Cid, &'a Record)>,
}

impl<'a> Fold<'a> {
    /// Folds the operations among the events.
    pub fn of_events(events: &'a [Event]) -> Self {
        let commits = || {
            events.iter().filter_map(|event| match &event.body {
                EventBody::Commit(commit) => Some((&event.did, &**commit)),
                EventBody::Identity { .. } | EventBody::Account { .. } | EventBody::Sync { .. } => None,
            })
        };
        let mut counts = CollectionMap::<usize>::default();
        commits().for_each(|(_, commit)| counts[commit.collection] += 1);
        let paths = CollectionMap::from_fn(|collection| HashMap::with_capacity(counts[collection]));
        let mut fold = Self { paths, ..Self::default() };
        for (did, commit) in commits() {
            let record = match &commit.operation {
                Operation::Put { cid, record } => Some((cid, record)),
                Operation::Delete => None,
            };
            fold.add(commit.collection, PathState { did, rkey: &commit.rkey, rev: commit.rev, record });
        }
        fold
    }

    /// Folds what refused records leave behind: their path no longer holds what it held. What was not delivered as its owner wrote
    /// it says nothing of the record.
    ///
    /// The tombstone's rev is the one directly before the record's: it hides everything older, and leaves room for the
    /// record itself when we have learnt to read it. No commit of the repo can lie between the two.
    pub fn of_rejects(rejects: impl Iterator<Item = &'a Reject>) -> Self {
        let mut fold = Self::default();
        let refused = rejects.filter(|reject| !reject.reason.is_of_delivery());
        for path in refused.filter_map(|reject| reject.path.as_ref()) {
            if path.collection.key_form().fits(&path.rkey) {
                let rev = path.rev.before();
                fold.add(path.collection, PathState { did: &path.did, rkey: &path.rkey, rev, record: None });
            }
        }
        fold
    }

    fn add(&mut self, collection: Collection, state: PathState<'a>) {
        match self.paths[collection].entry((state.did.as_str(), state.rkey.as_str())) {
            Entry::Vacant(vacant) => {
                vacant.insert(state);
            }
            Entry::Occupied(mut occupied) => {
                let held = occupied.get_mut();
                let differs = held.record.map(|(cid, _)| cid) != state.record.map(|(cid, _)| cid);
                if held.rev == state.rev && differs {
                    self.anomalies[collection] += 1;
                }
                let loser = if held.rev < state.rev { std::mem::replace(held, state) } else { state };
                self.overtaken
                    .extend(loser.record.and_then(|(_, record)| record.subject()).map(|subject| subject.track));
            }
        }
    }

    /// Operations with the rev of another one on the same path, and another CID.
    pub fn anomalies(&self, collection: Collection) -> u64 {
        self.anomalies[collection]
    }

    /// The paths of one collection, in no order.
    pub fn of(&self, collection: Collection) -> impl Iterator<Item = &PathState<'a>> {
        self.paths[collection].values()
    }

    /// All paths, in no order.
    pub fn paths(&self) -> impl Iterator<Item = &PathState<'a>> {
        self.paths.iter().flat_map(|(_, paths)| paths.values())
    }

    /// Subjects of records that another operation of the batch has overtaken.
    pub fn overtaken(&self) -> &[&'a AtUri] {
        &self.overtaken
    }

    /// Drops the paths that are not to be kept.
    pub fn retain(&mut self, keep: impl Fn(&PathState<'a>) -> bool) {
        for (_, paths) in self.paths.iter_mut() {
            paths.retain(|_, path| keep(path));
        }
    }
}
