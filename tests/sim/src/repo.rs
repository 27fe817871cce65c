//! A repo as its PDS holds it: folded from the actor's events when it is requested.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ipld_core::cid::Cid;
use serde_json::Value;

use crate::{
    signing,
    tree::Tree,
    wire::{Body, car, cbor_of, cid_of},
    world::World,
};

/// How many folded repos are kept.
const FOLDED_MAX: usize = 512;

/// A repo at one moment.
pub struct Repo {
    /// How many events of the actor it comes from.
    events: usize,
    /// The number of its rev.
    pub rev: i64,
    /// Records by their path, in order.
    pub records: BTreeMap<String, (Cid, Value)>,
    signed: std::sync::OnceLock<(Cid, Vec<u8>, Tree)>,
}

impl Repo {
    fn fold(world: &World, actor: u32) -> Self {
        let held = world.actor(actor);
        let mut records = BTreeMap::new();
        for event in &held.events {
            for operation in world.events()[crate::world::index(*event)].commit(world).operations {
                let path = format!("{}/{}", operation.collection, operation.rkey);
                match operation.body {
                    Body::Put { json, .. } => {
                        records.insert(path, json);
                    }
                    Body::Delete => drop(records.remove(&path)),
                }
            }
        }
        let records = records.into_iter().map(|(path, json)| (path, (cid_of(&cbor_of(&json)), json))).collect();
        Self { events: held.events.len(), rev: held.commit_rev, records, signed: std::sync::OnceLock::new() }
    }

    fn signed(&self, world: &World, actor: u32) -> &(Cid, Vec<u8>, Tree) {
        self.signed.get_or_init(|| {
            let tree = Tree::of(self.records.iter().map(|(path, (cid, _))| (path.as_str(), *cid)));
            let commit = signing::signed_commit(world, actor, self.rev, tree.root);
            (cid_of(&commit), commit, tree)
        })
    }

    /// The CID of its commit.
    pub fn commit_cid(&self, world: &World, actor: u32) -> Cid {
        self.signed(world, actor).0
    }

    /// The whole as a CAR.
    pub fn car(&self, world: &World, actor: u32) -> Vec<u8> {
        let (root, commit, tree) = self.signed(world, actor);
        let mut blocks = vec![commit.clone()];
        blocks.extend(tree.nodes.iter().map(|(_, bytes)| bytes.clone()));
        let mut records: BTreeMap<Cid, Vec<u8>> = BTreeMap::new();
        for (cid, json) in self.records.values() {
            records.entry(*cid).or_insert_with(|| cbor_of(json));
        }
        blocks.extend(records.into_values());
        car(*root, &blocks)
    }

    /// The records of a collection, in the order of their keys.
    pub fn list(&self, collection: &str) -> impl DoubleEndedIterator<Item = (&str, &(Cid, Value))> {
        let prefix = format!("{collection}/");
        let length = prefix.len();
        let end = format!("{collection}0");
        // The letter after the slash is the zero.
        self.records.range(prefix..end).map(move |(path, record)| (&path[length..], record))
    }
}

/// The repos that were folded last.
#[derive(Default)]
pub(crate) struct Folded(Mutex<HashMap<u32, Arc<Repo>>>);

impl Folded {
    /// The repo as it is now.
    pub fn repo(&self, world: &World, actor: u32) -> Arc<Repo> {
        if let Some(repo) = self.lock().get(&actor)
            && repo.events == world.actor(actor).events.len()
        {
            return Arc::clone(repo);
        }
        // Others are not kept waiting: should another task fold the same repo now, it comes to the same.
        let repo = Arc::new(Repo::fold(world, actor));
        let mut kept = self.lock();
        if kept.len() >= FOLDED_MAX {
            kept.clear();
        }
        kept.insert(actor, Arc::clone(&repo));
        repo
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Arc<Repo>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
