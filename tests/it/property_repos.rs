//! Repos are read at any moment of a random history, at any rev that they ever had, and held against what the index held before or
//! after other events came: whatever order it is, the index ends with what the repos hold.

use std::collections::BTreeMap;

use plyr_likes::{
    atproto::{Cid, Did, RecordKey, Tid},
    decode::{Collections, RawFormat},
    reconcile::{Ours, Record, Theirs},
};

use super::{cases_backfill::live_only, property::setting};
use crate::support::{
    dump,
    history::{History, Random, World as Shape, deliver},
    model::{differences, tid_text},
    wire::{self, Body, Commit},
    world::World,
};

/// A repo after its first commits, as its PDS would list it.
fn theirs(commits: &[&Commit], random: &mut Random) -> Theirs {
    let collections = Collections::of_namespace("fm.plyr").expect("a namespace");
    let rev = Tid::parse(&tid_text(commits.last().expect("some commits").rev)).expect("a TID");
    let mut records = BTreeMap::new();
    for operation in commits.iter().flat_map(|commit| &commit.operations) {
        let (Some(collection), Ok(rkey)) = (collections.find(&operation.collection), RecordKey::parse(&operation.rkey))
        else {
            continue;
        };
        let path = (collection, rkey);
        let Body::Put { json, .. } = &operation.body else {
            records.remove(&path);
            continue;
        };
        let cbor = wire::cbor_of(json);
        let cid = Cid::parse(&wire::cid_of(&cbor).to_string()).expect("a CID");
        let (format, bytes) = if random.percent(50) {
            (RawFormat::RecordCbor, cbor)
        } else {
            (RawFormat::RecordJson, json.to_string().into_bytes())
        };
        records.insert(path, Record { cid, format, bytes });
    }
    Theirs { rev, records }
}

/// What is there, without what a listing does not tell: the revs, and the times that follow from them.
fn shown(state: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let without_time = |value: String| match value.split_once(" cid ") {
        Some((_, rest)) => rest.to_owned(),
        None => value,
    };
    live_only(state).into_iter().map(|(key, value)| (key, without_time(value))).collect()
}

/// A repo that is being read: loaded, and not compared yet.
struct Reading {
    did: Did,
    theirs: Theirs,
    ours: Ours,
}

struct Run<'h> {
    world: World,
    by_did: BTreeMap<&'h str, Vec<&'h Commit>>,
    under_way: Vec<Reading>,
    mended: usize,
}

impl Run<'_> {
    /// Ends readings that are under way, in any order, and begins others.
    async fn read_some(&mut self, random: &mut Random) {
        random.shuffle(&mut self.under_way);
        for _ in 0..random.below(self.under_way.len() + 1) {
            let Some(Reading { did, theirs, ours }) = self.under_way.pop() else { break };
            self.mended += self.world.repair(&did, &theirs, &ours).await;
        }
        for _ in 0..random.below(3) {
            let dids: Vec<&str> = self.by_did.keys().copied().collect();
            let name = *random.pick(&dids);
            let commits = &self.by_did[name];
            let theirs = theirs(&commits[..=random.below(commits.len())], random);
            let did = Did::parse(name).expect("a DID");
            let ours = self.world.ours(&did).await;
            self.under_way.push(Reading { did, theirs, ours });
        }
    }

    /// What the index holds otherwise than the model.
    async fn wrong(&self) -> Vec<String> {
        let mut wrong =
            differences(&shown(self.world.model.state()), &shown(dump::state(&self.world.database.pool).await));
        wrong.extend(dump::miscounted(&self.world.database.pool).await);
        wrong
    }
}

#[tokio::test]
async fn b1_repos_read_at_any_moment_of_a_history_end_as_the_model_says() {
    let cases = setting("PLYR_CASES").unwrap_or(40);
    let first = setting("PLYR_SEED").unwrap_or_else(|| u64::from(std::process::id()) * 1_000_003);
    println!("{cases} histories from PLYR_SEED={first}");
    let (mut world, mut mended) = (World::new().await, 0);
    for seed in first..first + cases {
        let mut random = Random::new(seed);
        let history = History::of(Shape::small(&mut random), &mut random);
        let batches = deliver(&history, &mut random);
        let mut by_did: BTreeMap<&str, Vec<&Commit>> = BTreeMap::new();
        for commit in &history.commits {
            by_did.entry(&commit.did).or_default().push(commit);
        }
        world.clear().await;
        let mut run = Run { world, by_did, under_way: Vec::new(), mended: 0 };
        for batch in &batches {
            run.read_some(&mut random).await;
            run.world.deliver(batch).await;
        }
        // Whatever was read too early or too late, nothing comes of it.
        while !run.under_way.is_empty() {
            run.read_some(&mut random).await;
        }
        let wrong = run.wrong().await;
        assert!(wrong.is_empty(), "PLYR_SEED={seed} PLYR_CASES=1 fails:\n{}", wrong.join("\n"));
        // A last reading of every repo finds nothing.
        for (name, commits) in run.by_did.clone() {
            let (did, last) = (Did::parse(name).expect("a DID"), theirs(&commits, &mut random));
            let ours = run.world.ours(&did).await;
            assert_eq!(run.world.repair(&did, &last, &ours).await, 0, "PLYR_SEED={seed} PLYR_CASES=1: {name}");
        }
        mended += run.mended;
        world = run.world;
    }
    println!("{mended} paths differed when their repos were read");
    assert!(mended > 100, "the readings had nothing to do");
}
