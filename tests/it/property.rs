//! Random histories, delivered as the network delivers them, end in the state of a naive model, and twice equals once.
//!
//! `PLYR_CASES` says how many, `PLYR_SEED` where to start; a failure prints the seed of its case and the fewest messages
//! that still fail.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::support::{
    dump,
    history::{Dialect, History, Message, Random, World as Shape, deliver, some_garbage},
    model::{Kind, Model, What, differences, tid_number, tid_text},
    wire::{self, Body, Operation},
    world::World,
};

pub fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a whole number"))
}

/// Runs one delivery and says what is wrong afterwards.
async fn run(world: &mut World, batches: &[Vec<Message>]) -> Vec<String> {
    world.clear().await;
    let mut ids: BTreeMap<String, i64> = BTreeMap::new();
    for (number, batch) in batches.iter().enumerate() {
        let applied = world.deliver(batch).await;
        if applied.anomalies > 0 {
            return vec![format!("batch {number}: {} anomalies, and no two records share a rev", applied.anomalies)];
        }
        // A restart in the middle loses what the program remembered, not what it knows.
        if number % 7 == 6 {
            world.restart();
            let now = dump::track_ids(&world.database.pool).await;
            if ids.iter().any(|(uri, id)| now.get(uri) != Some(id)) {
                return vec![format!("batch {number}: a track's id changed")];
            }
            ids = now;
        }
    }
    let mut wrong = world.disagreements().await;
    if wrong.is_empty() {
        wrong = run_again(world, batches).await;
    }
    wrong
}

/// The same once more, in one batch: nothing may change.
async fn run_again(world: &mut World, batches: &[Vec<Message>]) -> Vec<String> {
    let pool = world.database.pool.clone();
    let before = (dump::state(&pool).await, dump::track_ids(&pool).await, dump::count_rejects(&pool).await);
    let commits = batches.iter().flatten().filter(|message| !message.writes.is_empty()).cloned().collect::<Vec<_>>();
    let applied = world.deliver(&commits).await;
    let after = (dump::state(&pool).await, dump::track_ids(&pool).await, dump::count_rejects(&pool).await);
    let mut wrong = differences(&before.0, &after.0);
    if applied.applied > 0 {
        wrong.push(format!("the second time {} operations were applied", applied.applied));
    }
    if before.1 != after.1 {
        wrong.push("the second time ids changed".to_owned());
    }
    if before.2 != after.2 {
        wrong.push(format!("the second time there are {} rejects after {}", after.2, before.2));
    }
    wrong
}

/// The fewest messages that still fail, as far as leaving out ever smaller runs of them finds.
async fn shrink(world: &mut World, batches: Vec<Vec<Message>>) -> Vec<Vec<Message>> {
    let mut fewest = batches;
    let mut size = fewest.iter().map(Vec::len).sum::<usize>() / 2;
    let limit = Instant::now() + Duration::from_mins(1);
    while size > 0 && Instant::now() < limit {
        let total: usize = fewest.iter().map(Vec::len).sum();
        let mut from = 0;
        let mut smaller = None;
        while from < total && smaller.is_none() {
            let candidate = without(&fewest, from..from + size);
            if !run(world, &candidate).await.is_empty() {
                smaller = Some(candidate);
            }
            from += size;
        }
        match smaller {
            Some(candidate) => fewest = candidate,
            None => size /= 2,
        }
    }
    fewest
}

fn without(batches: &[Vec<Message>], range: std::ops::Range<usize>) -> Vec<Vec<Message>> {
    let mut place = 0;
    let mut kept = Vec::new();
    for batch in batches {
        let batch: Vec<Message> = batch
            .iter()
            .filter(|_| {
                place += 1;
                !range.contains(&(place - 1))
            })
            .cloned()
            .collect();
        if !batch.is_empty() {
            kept.push(batch);
        }
    }
    kept
}

fn show(batches: &[Vec<Message>]) -> String {
    let message = |message: &Message| match message.dialect {
        Dialect::JetstreamV1 => String::from_utf8_lossy(&message.bytes).chars().take(600).collect(),
        Dialect::Firehose => format!("firehose: {:?}", message.writes),
    };
    let batch = |batch: &Vec<Message>| batch.iter().map(message).collect::<Vec<String>>().join("\n");
    batches.iter().map(batch).collect::<Vec<_>>().join("\n--- next batch ---\n")
}

#[tokio::test]
async fn s3_any_delivery_of_a_history_ends_as_the_model_says() {
    let cases = setting("PLYR_CASES").unwrap_or(100);
    let first = setting("PLYR_SEED").unwrap_or_else(|| u64::from(std::process::id()) * 1_000_003);
    println!("{cases} histories from PLYR_SEED={first}");
    let mut world = World::new().await;
    let (mut messages, mut commits) = (0, 0);
    for seed in first..first + cases {
        let mut random = Random::new(seed);
        let history = History::of(Shape::small(&mut random), &mut random);
        let batches = deliver(&history, &mut random);
        commits += history.commits.len();
        messages += batches.iter().map(Vec::len).sum::<usize>();
        let wrong = run(&mut world, &batches).await;
        if !wrong.is_empty() {
            let fewest = shrink(&mut world, batches).await;
            let still = run(&mut world, &fewest).await;
            panic!("PLYR_SEED={seed} PLYR_CASES=1 fails:\n{}\nafter\n{}", still.join("\n"), show(&fewest));
        }
    }
    println!("{commits} commits in {messages} messages");
}

#[test]
fn the_model_does_not_care_for_order_or_repetition() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let history = History::of(Shape::small(&mut random), &mut random);
        let mut writes: Vec<_> = history.commits.iter().flat_map(wire::Commit::writes).collect();
        let expected = Model::of(&writes);
        let batches = deliver(&history, &mut random);
        let delivered = Model::of(batches.iter().flatten().flat_map(|message| &message.writes));
        assert_eq!(expected.state(), delivered.state(), "seed {seed}: a delivery loses or invents something");
        assert_eq!(expected.refused(), delivered.refused(), "seed {seed}");
        writes.extend_from_within(..writes.len() / 2);
        random.shuffle(&mut writes);
        assert_eq!(expected.state(), Model::of(&writes).state(), "seed {seed}: the order of arrival matters");
    }
}

#[test]
fn histories_hold_what_they_are_made_for() {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut see = |what| *seen.entry(what).or_default() += 1;
    for seed in 0..100 {
        let mut random = Random::new(seed);
        let history = History::of(Shape::small(&mut random), &mut random);
        let mut model = Model::default();
        for commit in &history.commits {
            if commit.operations.len() > 1 {
                see("commits with several operations");
            }
            for at in 0..commit.operations.len() {
                let Some(write) = commit.write(at) else {
                    see("operations on other collections");
                    continue;
                };
                match (&write.what, write.kind) {
                    (What::Deleted, Kind::Like) => see("likes deleted"),
                    (What::Invalid, _) => see("records refused"),
                    (What::Valid { .. }, Kind::Like) => see("likes"),
                    (What::Valid { .. }, Kind::List) => see("lists"),
                    (What::Valid { .. }, Kind::Track) => see("tracks"),
                    _ => see("others"),
                }
                model.take(&write);
            }
        }
        let likes = model.state().keys().filter(|key| key.starts_with("like ")).count();
        let counted: i64 = model.counts().values().sum();
        if i64::try_from(likes).expect("few") > counted {
            see("histories that end with two likes by one actor on one track");
        }
        for message in deliver(&history, &mut random).iter().flatten() {
            see(match (message.garbage, message.dialect) {
                (true, _) => "garbage",
                (false, Dialect::Firehose) => "firehose messages",
                (false, Dialect::JetstreamV1) => "Jetstream messages",
            });
        }
    }
    println!("{seen:#?}");
    assert!(seen.len() == 12 && seen.values().all(|count| *count >= 10), "too few of something: {seen:#?}");
}

#[test]
fn tids_of_the_model_are_those_of_the_specification() {
    // The examples of the specification.
    for text in ["3jzfcijpj2z2a", "7777777777777", "3zzzzzzzzzzzz", "2222222222222"] {
        assert_eq!(tid_number(text).map(tid_text).as_deref(), Some(text));
    }
    for text in
        ["3jzfcijpj2z21", "0000000000000", "3jzfcijpj2z2aa", "3jzf-cij-pj2z-2a", "zzzzzzzzzzzzz", "kjzfcijpj2z2a"]
    {
        assert_eq!(tid_number(text), None, "{text}");
    }
}

/// The frames are read here by the types of another library.
#[test]
fn firehose_messages_are_as_the_specification_says() {
    use atrium_api::com::atproto::sync::subscribe_repos::Commit;
    let mut random = Random::new(7);
    let history = History::of(Shape { actors: 3, keys: 3, commits: 200 }, &mut random);
    for commit in &history.commits {
        let bytes = wire::firehose_message(commit, 5, crate::support::history::START_US);
        let mut rest = std::io::Cursor::new(&bytes);
        let header: BTreeMap<String, ipld_core::ipld::Ipld> =
            serde_ipld_dagcbor::de::from_reader_once(&mut rest).expect("a header");
        assert_eq!(header["t"], ipld_core::ipld::Ipld::String("#commit".to_owned()));
        let at = usize::try_from(rest.position()).expect("a place in memory");
        let read: Commit = serde_ipld_dagcbor::from_slice(&bytes[at..]).expect("a payload");
        assert_eq!(read.repo.as_str(), commit.did);
        assert_eq!(read.rev.as_str(), tid_text(commit.rev));
        assert_eq!(read.ops.len(), commit.operations.len());
        for (written, operation) in commit.operations.iter().zip(&read.ops) {
            assert_eq!(operation.path, format!("{}/{}", written.collection, written.rkey));
            if let Body::Put { json, .. } = &written.body {
                let cid = &operation.cid.as_ref().expect("a put has a CID").0;
                let record = wire::cbor_of(json);
                assert_eq!(cid.to_bytes(), wire::cid_of(&record).to_bytes());
                let within = read.blocks.windows(record.len()).any(|window| window == record);
                assert!(within, "the record is in the slice");
            }
        }
    }
}

#[test]
fn jetstream_messages_are_as_the_hosts_send_them() {
    let body = wire::like("at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/fm.plyr.track/3l3pte3p2e325", "2025-01-01T00:00:00Z");
    let rev = tid_number("3l3qo2vutsw2b").expect("a TID");
    let commit = wire::Commit::new("did:plc:b", rev, vec![Operation::like("3l3qo2vuowo2b", body)]);
    let read: serde_json::Value =
        serde_json::from_slice(&wire::v1_message(&commit, 0, 1_725_911_162_329_308)).expect("JSON");
    assert_eq!(read["kind"], "commit");
    assert_eq!(read["commit"]["rev"], "3l3qo2vutsw2b");
    assert_eq!(read["commit"]["operation"], "create");
    assert!(read["commit"]["cid"].as_str().is_some_and(|cid| cid.starts_with("bafyrei")));
    let garbage = some_garbage(&mut Random::new(1));
    assert!(serde_json::from_slice::<serde_json::Value>(&garbage).is_err());
}
