use std::collections::HashMap;

use sqlx::PgConnection;

use super::diff::{Drift, Held, Ours, Path, Record, Theirs, compare};
use crate::{
    apply::{Batch, Origin},
    atproto::{Did, Tid},
    decode::{self, Item},
    model::{Collections, Commit, Event, EventBody, Operation, RecordPath},
    store::{
        actors,
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
    for (_, actor_id) in actors::load_ids(connection, &[did.as_str()]).await? {
        for HeldRecord { collection, rkey, rev, head } in records::load_held(connection, actor_id).await? {
            ours.paths.insert((collection, rkey), Held { rev, head });
        }
    }
    for RefusedRecord { collection, rkey, cid } in rejects::list_refused(connection, did).await? {
        if let (Some(collection), Ok(rkey)) = (collections.find(&collection), rkey.parse()) {
            ours.refused.insert(((collection, rkey), cid));
        }
    }
    Ok(ours)
}

/// Compares, and says what is to be written: everything at the rev at which the repo was read, so that whatever the streams
/// bring later wins, and whatever they brought before loses. What the index claims of that very rev, and wrongly, loses to the
/// next number, which no commit has: the next is a microsecond later.
pub fn plan(collections: &Collections, did: &Did, theirs: &Theirs, ours: &Ours) -> Repair {
    let paths = compare(theirs, ours);
    let mut batch = Batch::default();
    let mut drift = HashMap::new();
    for (path, kind) in &paths {
        // Left out while it was read because the index held it; what has purged it since knows better.
        if theirs.records.get(path).is_some_and(|record| record.bytes.is_empty()) {
            continue;
        }
        let place = RecordPlace { did, path, rev: rev_against(ours.paths.get(path), theirs.rev) };
        match place.item(collections, theirs.records.get(path)) {
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

/// The rev at which a repair wins over what is held, and over nothing that comes after the reading.
fn rev_against(held: Option<&Held>, read: Tid) -> Tid {
    let next = held.filter(|held| held.rev == read).and_then(|held| Tid::from_number(held.rev.number() + 1));
    next.unwrap_or(read)
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
