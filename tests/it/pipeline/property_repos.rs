//! Repos are read at any moment of a random history, at any rev that they ever had, and compared with what the index held before or
//! after other events came, while their accounts are deactivated, deleted, restored and checked: in whatever order, the index ends
//! with what the repos hold and their PDSes answer.

use std::collections::{BTreeMap, BTreeSet};

use plyr_likes::{
    apply::Decision,
    atproto::{Cid, Did, RecordKey, Tid},
    crawl::resync::{Both, Ours, Record, Theirs},
    decode::RawFormat,
    model::Collections,
};

use crate::support::{
    account_history::{AccountHistory, Repo, Standing},
    asking::Asked,
    dump,
    history::{Random, World as Shape, deliver_with_accounts, did},
    model::{Model, State, differences, tid_text},
    wire::{self, Body},
    world::World,
};
use crate::{cases::backfill::live_only, pipeline::property::setting};

/// A repo as its PDS would list it, if it gives it.
fn theirs(repo: &Repo<'_>, random: &mut Random) -> Option<Theirs> {
    let head = repo.rev.filter(|_| repo.standing == Standing::Active)?;
    let collections = Collections::of_namespace("fm.plyr").expect("a namespace");
    let rev = Tid::parse(&tid_text(head)).expect("a TID");
    let mut records = BTreeMap::new();
    for operation in repo.commits.iter().flat_map(|commit| &commit.operations) {
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
    Some(Theirs { rev, records })
}

/// What is there, without what a listing does not have: the revs, and the times that follow from them.
fn shown(state: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let without_time = |value: String| match value.split_once(" cid ") {
        Some((_, rest)) => rest.to_owned(),
        None => value,
    };
    live_only(state).into_iter().map(|(key, value)| (key, without_time(value))).collect()
}

/// What is there of these alone, and the counts of all.
fn shown_of(state: State, dids: &BTreeSet<String>) -> BTreeMap<String, String> {
    let is_theirs =
        |key: &str| key.starts_with("count ") || key.split(' ').nth(1).is_some_and(|did| dids.contains(did));
    shown(state).into_iter().filter(|(key, _)| is_theirs(key)).collect()
}

/// A repo that is being read: loaded, and not compared yet.
struct Reading {
    did: Did,
    theirs: Option<Theirs>,
    ours: Ours,
    earlier: Ours,
}

struct Run<'l> {
    world: World,
    accounts: &'l AccountHistory,
    actors: usize,
    under_way: Vec<Reading>,
    asked: Vec<Asked>,
    mended: usize,
    purged: usize,
}

impl Run<'_> {
    /// Ends readings that are under way, in any order, and begins others.
    async fn read_some(&mut self, random: &mut Random) {
        random.shuffle(&mut self.under_way);
        for reading in self.under_way.split_off(random.below(self.under_way.len() + 1)) {
            self.finish(reading).await;
        }
        for _ in 0..random.below(3) {
            let did = did(random.below(self.actors));
            let at_us = self.a_moment(&did, random);
            self.world.advance_to(at_us);
            let reading = self.begin((&did, at_us), random).await;
            self.under_way.push(reading);
        }
    }

    /// Mostly now; or else after any of its commits: a PDS is ahead of what streams deliver, and a read may have begun long ago.
    fn a_moment(&self, did: &str, random: &mut Random) -> i64 {
        let own: Vec<i64> = self
            .accounts
            .history
            .commits
            .iter()
            .filter(|commit| commit.did == did)
            .map(|commit| commit.rev >> 10)
            .collect();
        if own.is_empty() || random.percent(80) { self.world.now() } else { *random.pick(&own) }
    }

    async fn begin(&mut self, (did, at_us): (&str, i64), random: &mut Random) -> Reading {
        let theirs = theirs(&self.accounts.repo(did, at_us), random);
        let did = Did::parse(did).expect("a DID");
        let ours = self.world.ours(&did).await;
        // Of a read that began long ago it is not known what the index held by then.
        let is_of_now = at_us >= self.world.now();
        let earlier = if is_of_now { self.world.ours(&did).await } else { Ours::default() };
        Reading { did, theirs, ours, earlier }
    }

    async fn finish(&mut self, Reading { did, theirs, ours, earlier }: Reading) -> usize {
        let mended = match &theirs {
            Some(theirs) => self.world.repair(&did, Both { theirs, ours: &ours, earlier: &earlier }).await,
            None => 0,
        };
        self.world.note_given(&did, theirs.is_some()).await;
        self.mended += mended;
        mended
    }

    /// Answers some requests, and sends others.
    async fn ask_some(&mut self, random: &mut Random) {
        random.shuffle(&mut self.asked);
        for asked in self.asked.split_off(random.below(self.asked.len() + 1)) {
            self.purged += usize::from(self.world.answer(asked).await == Decision::Remove);
        }
        if random.percent(60) {
            let asked = self.world.ask(self.accounts, random).await;
            self.asked.extend(asked);
        }
        if random.percent(30) {
            self.world.follow().await;
        }
    }

    /// Finishes all that is under way, and reads the restored accounts.
    async fn end(&mut self, random: &mut Random) {
        while !self.under_way.is_empty() || !self.asked.is_empty() {
            self.read_some_last(random).await;
        }
        self.finish_checks(random).await;
    }

    async fn read_some_last(&mut self, random: &mut Random) {
        for reading in std::mem::take(&mut self.under_way) {
            self.finish(reading).await;
        }
        self.ask_some(random).await;
    }

    /// No account check is pending, and each account restored after a deletion has been read.
    async fn finish_checks(&mut self, random: &mut Random) {
        loop {
            self.purged += self.world.answer_all(self.accounts, random).await;
            let back = self.world.take_to_read().await;
            if back.is_empty() {
                break;
            }
            for did in back {
                let reading = self.begin((did.as_str(), i64::MAX), random).await;
                self.finish(reading).await;
            }
        }
        self.world.follow().await;
    }

    /// Every repo is read. Returns how many paths differed.
    async fn audit(&mut self, random: &mut Random) -> usize {
        let mut differed = 0;
        for actor in 0..self.actors {
            let reading = self.begin((&did(actor), i64::MAX), random).await;
            differed += self.finish(reading).await;
        }
        self.finish_checks(random).await;
        differed
    }

    /// What must hold in the end for the accounts that are active; only for those whose repo was never wiped, unless for `all`.
    fn truth(&self, all: bool) -> (BTreeSet<String>, State) {
        let repos = (0..self.actors).map(|actor| (did(actor), self.accounts.repo(&did(actor), i64::MAX)));
        let active: Vec<_> = repos.filter(|(_, repo)| repo.standing == Standing::Active).collect();
        let writes: Vec<_> =
            active.iter().flat_map(|(_, repo)| &repo.commits).flat_map(|commit| commit.writes()).collect();
        let kept = active.into_iter().filter(|(_, repo)| all || !repo.was_wiped).map(|(did, _)| did).collect();
        (kept, Model::of(&writes).state())
    }

    /// What the index holds otherwise than the repos.
    async fn wrong(&self, all: bool) -> Vec<String> {
        let pool = &self.world.database.pool;
        let (dids, truth) = self.truth(all);
        let without_counts = |mut state: BTreeMap<String, String>| {
            state.retain(|key, _| all || !key.starts_with("count "));
            state
        };
        let (expected, found) = (shown_of(truth, &dids), shown_of(dump::state(pool).await, &dids));
        let mut wrong = differences(&without_counts(expected), &without_counts(found));
        wrong.extend(dump::miscounted(pool).await);
        if all {
            wrong.extend(self.wrongly_there().await);
        }
        wrong
    }

    /// Who is shown, or not, against the answer of their PDS, and what is left of the deleted.
    async fn wrongly_there(&self) -> Vec<String> {
        let pool = &self.world.database.pool;
        let (hidden, state) = (dump::hidden(pool).await, shown(dump::state(pool).await));
        let mut wrong = Vec::new();
        for did in dump::actors(pool).await {
            let standing = self.accounts.repo(&did, i64::MAX).standing;
            if hidden.contains(&did) != (standing != Standing::Active) {
                wrong.push(format!("{did} is {standing:?}, and hidden are {hidden:?}"));
            }
            let left = state.keys().filter(|key| key.split(' ').nth(1) == Some(&did)).collect::<Vec<_>>();
            if standing == Standing::Deleted && !left.is_empty() {
                wrong.push(format!("{did} is gone, and this is left: {left:?}"));
            }
        }
        wrong
    }
}

#[tokio::test]
async fn b1_repos_read_at_any_moment_of_a_history_end_as_the_model_says() {
    let cases = setting("PLYR_CASES").unwrap_or(40);
    let first = setting("PLYR_SEED").unwrap_or_else(|| u64::from(std::process::id()) * 1_000_003);
    println!("{cases} histories from PLYR_SEED={first}");
    let (mut world, mut mended, mut purged) = (World::new().await, 0, 0);
    for seed in first..first + cases {
        let mut random = Random::new(seed);
        let shape = Shape::small(&mut random);
        let accounts = AccountHistory::of(shape, &mut random);
        let batches = deliver_with_accounts(&accounts, &mut random);
        world.clear().await;
        world.play();
        let (under_way, asked) = (Vec::new(), Vec::new());
        let mut run = Run { world, accounts: &accounts, actors: shape.actors, under_way, asked, mended: 0, purged: 0 };
        for batch in &batches {
            run.read_some(&mut random).await;
            run.ask_some(&mut random).await;
            run.world.deliver(batch).await;
        }
        // Whatever was read or asked too early or too late, nothing comes of it.
        run.end(&mut random).await;
        let fails = format!("PLYR_SEED={seed} PLYR_CASES=1 fails");
        let wrong = run.wrong(false).await;
        assert!(wrong.is_empty(), "{fails}:\n{}", wrong.join("\n"));
        // A repo that was emptied in silence takes a reading; after it another finds nothing.
        run.audit(&mut random).await;
        let wrong = run.wrong(true).await;
        assert!(wrong.is_empty(), "{fails} when all were read:\n{}", wrong.join("\n"));
        assert_eq!(run.audit(&mut random).await, 0, "{fails}: a last reading finds something");
        mended += run.mended;
        purged += run.purged;
        world = run.world;
    }
    println!("{mended} paths differed when their repos were read; {purged} accounts were purged");
    assert!(mended > 100 && purged > 2, "too little happened: {mended}, {purged}");
}
