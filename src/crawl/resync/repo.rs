use std::collections::{BTreeSet, HashMap};

use sqlx::PgConnection;

use super::diff::{Both, Drift, Held, Ours, Path, Record, compare};
use crate::{
    apply::{Batch, Lowered, Origin},
    atproto::{Did, Tid},
    decode::{self, Item},
    model::{Collections, Commit, Event, EventBody, Operation, RecordPath},
    store::{
        records::{self, HeldRecord},
        rejects::{self, RefusedRecord},
    },
};

/// What is to be written so that the index holds what a repo holds.
#[derive(Debug, Default)]
pub struct Repair {
    /// Events and rejects, for the one write path that there is.
    pub batch: Batch,
    /// How many paths differ, and how.
    pub drift: HashMap<Drift, u64>,
    /// How many records of the repo were compared.
    pub compared: u64,
    /// Each of them, in order: for a dry run.
    pub paths: Vec<(Path, Drift)>,
}

impl Repair {
    /// How many paths differ like this.
    pub fn count(&self, drift: Drift) -> usize {
        self.paths.iter().filter(|(_, kind)| *kind == drift).count()
    }
}

/// Loads all that the index holds of a repo.
pub async fn load_ours(connection: &mut PgConnection, collections: &Collections, did: &Did) -> sqlx::Result<Ours> {
    let mut ours = Ours::default();
    for HeldRecord { collection, rkey, rev, head } in records::load_held(connection, did).await? {
        ours.paths.insert((collection, rkey), Held { rev, head });
    }
    for RefusedRecord { collection, rkey, cid } in rejects::list_refused(connection, did).await? {
        if let (Some(collection), Ok(rkey)) = (collections.find(&collection), rkey.parse()) {
            ours.refused.insert(((collection, rkey), cid));
        }
    }
    Ok(ours)
}

/// Compares, and says what is to be written: everything at the rev at which the repo was read, so that whatever the streams
/// bring later wins, and whatever they brought before loses. What the index holds wrongly at that very rev, or at one that the repo
/// has not reached, is put below it first; so is a tombstone that a refused record leaves, which stands one lower.
pub fn plan(collections: &Collections, did: &Did, both: Both<'_>) -> Repair {
    let Both { theirs, ours, .. } = both;
    let paths = compare(both);
    let mut batch = Batch::default();
    let held = paths.iter().filter_map(|(path, _)| ours.paths.get(path)).map(|held| held.rev);
    let unbeaten: BTreeSet<Tid> = held.filter(|rev| *rev >= theirs.rev).collect();
    if !unbeaten.is_empty() {
        let (did, revs) = (did.clone(), unbeaten.into_iter().collect());
        batch.lowered.push(Lowered { did, revs, to: theirs.rev.before().before() });
    }
    let mut drift = HashMap::new();
    for (path, kind) in &paths {
        // Left out while it was read because the index held it; what has purged it since knows better.
        if theirs.records.get(path).is_some_and(|record| record.bytes.is_empty()) {
            continue;
        }
        match (RecordPlace { did, path, rev: theirs.rev }).item(collections, theirs.records.get(path)) {
            Item::Event(event) => {
                *drift.entry(*kind).or_default() += 1;
                batch.events.push(event);
            }
            Item::Reject(reject) => {
                let origin = Origin { source: "reconcile".into(), kind: None, position: None };
                batch.rejects.push((origin, *reject));
            }
        }
    }
    Repair { batch, drift, compared: theirs.records.len() as u64, paths }
}

/// A path of a repo, and the rev at which it is repaired.
struct RecordPlace<'a> {
    did: &'a Did,
    path: &'a Path,
    rev: Tid,
}

impl RecordPlace<'_> {
    /// What the repo has there, or that it has nothing.
    fn item(&self, collections: &Collections, record: Option<&Record>) -> Item {
        let ((collection, rkey), rev, did) = (self.path.clone(), self.rev, self.did.clone());
        if let Some(record) = record {
            let path = RecordPath { did, collection, rkey, rev, cid: Some(record.cid) };
            return decode::decode_read(collections, path, record.format, &record.bytes);
        }
        let commit = Commit { rev, collection, rkey, operation: Operation::Delete };
        Item::Event(Event { did, body: EventBody::Commit(Box::new(commit)) })
    }
}
