//! Random histories, delivered as the network delivers them, end in the state of a naive model, and twice equals once.
//!
//! `PLYR_CASES` says how many, `PLYR_SEED` where to start; a failure prints the seed of its case and the fewest messages
//! that still fail.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use plyr_likes::model::EventKind;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::support::{
    account_history::{AccountEvent, AccountEventKind, AccountHistory, Standing},
    account_model::artist_of,
    api,
    asking::Asked,
    dump,
    history::{Dialect, History, Message, Random, World as Shape, deliver, deliver_with_accounts, some_garbage},
    http,
    model::{Kind, Model, Record, What, tid_number, tid_text},
    wire::{self, Body, Operation},
    world::World,
};

pub fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a whole number"))
}

/// A history, how it is delivered, and by which chance the rest happens.
struct Case {
    accounts: AccountHistory,
    batches: Vec<Vec<Message>>,
    seed: u64,
}

impl Case {
    fn of(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let accounts = AccountHistory::of(Shape::small(&mut random), &mut random);
        let batches = deliver_with_accounts(&accounts, &mut random);
        Self { accounts, batches, seed }
    }
}

/// Where things are run, and the API over it.
struct Environment {
    world: World,
    url: String,
    client: reqwest::Client,
    stop: CancellationToken,
}

impl Environment {
    async fn new() -> Self {
        let world = World::new().await;
        let (url, stop) = api::start(world.database.pool.clone(), api::settings()).await;
        Self { world, url, client: http::client(Duration::from_secs(30)), stop }
    }

    async fn ask(&self, method: &str, parameters: &[(&str, &str)]) -> Value {
        let url = format!("{}/xrpc/fm.plyr.{method}", self.url);
        let answer = self.client.get(url).query(parameters).send().await.expect("an answer");
        answer.error_for_status().expect("it is answered").json().await.expect("JSON")
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Runs one delivery and says what is wrong afterwards.
async fn run(environment: &mut Environment, case: &Case) -> Vec<String> {
    let world = &mut environment.world;
    world.clear().await;
    world.play();
    let mut ids: BTreeMap<String, i64> = BTreeMap::new();
    let mut asked: Vec<Asked> = Vec::new();
    for (number, batch) in case.batches.iter().enumerate() {
        let mut random = Random::new(case.seed ^ ((number as u64 + 1) << 32));
        let applied = world.deliver(batch).await;
        if applied.anomalies > 0 {
            return vec![format!("batch {number}: {} anomalies, and no two records share a rev", applied.anomalies)];
        }
        let mut wrong = wrongly_hidden(world).await;
        // Earlier requests are answered, and others are sent; purges happen at random.
        random.shuffle(&mut asked);
        for asked in asked.split_off(random.below(asked.len() + 1)) {
            world.answer(asked).await;
        }
        wrong.extend(wrongly_hidden(world).await);
        if random.percent(30) {
            asked.extend(world.ask(&case.accounts, &mut random).await);
        }
        if random.percent(30) {
            world.follow().await;
        }
        if !wrong.is_empty() {
            return wrong.into_iter().map(|line| format!("batch {number}: {line}")).collect();
        }
        // A restart in the middle loses what the program remembered, not what it knows.
        if number % 7 == 6 {
            world.restart();
            asked.clear();
            let now = dump::track_ids(&world.database.pool).await;
            if ids.iter().any(|(uri, id)| now.get(uri) != Some(id)) {
                return vec![format!("batch {number}: a track's id changed")];
            }
            ids = now;
        }
    }
    for asked in asked {
        world.answer(asked).await;
    }
    wrong_in_the_end(environment, case).await
}

/// What is wrong when nothing more comes: before all account checks are answered, and after.
async fn wrong_in_the_end(environment: &mut Environment, case: &Case) -> Vec<String> {
    environment.world.follow().await;
    let mut wrong = wrong_now(environment).await;
    // Comparing what is shown takes most of the time: it is done once for each history, before that in one, after it in the next.
    let is_shown_first = case.seed.is_multiple_of(2);
    if is_shown_first {
        wrong.extend(wrongly_shown(environment).await);
    }
    if wrong.is_empty() {
        environment.world.answer_all(&case.accounts, &mut Random::new(case.seed)).await;
        environment.world.follow().await;
        wrong = wrong_now(environment).await;
        wrong.extend(contradicting_servers(&environment.world, case).await);
        if !is_shown_first {
            wrong.extend(wrongly_shown(environment).await);
        }
    }
    if wrong.is_empty() {
        wrong = run_again(&mut environment.world, &case.batches).await;
    }
    wrong
}

/// What index and referee disagree about, in the tables.
async fn wrong_now(environment: &Environment) -> Vec<String> {
    let mut wrong = environment.world.disagreements().await;
    wrong.extend(wrongly_hidden(&environment.world).await);
    let syncs = dump::syncs(&environment.world.database.pool).await;
    if &syncs != environment.world.accounts.syncs() {
        wrong.push(format!("repos named by #sync: {syncs:?}, and not {:?}", environment.world.accounts.syncs()));
    }
    wrong
}

async fn wrongly_hidden(world: &World) -> Vec<String> {
    let (found, expected) = (dump::hidden(&world.database.pool).await, world.accounts.hidden());
    let line = format!("{found:?} are hidden, and not {expected:?}");
    if found == expected { Vec::new() } else { vec![line] }
}

/// What is shown otherwise than the referee says: hidden actors nowhere, all others completely.
async fn wrongly_shown(environment: &Environment) -> Vec<String> {
    let (model, hidden) = (&environment.world.model, environment.world.accounts.hidden());
    let mut likers: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut likes: BTreeMap<&str, usize> = environment.world.accounts.known().map(|did| (did, 0)).collect();
    for (did, _, _, _, record) in model.records() {
        let Record::Like(like) = record else { continue };
        let (likers, likes) = (likers.entry(&like.subject).or_default(), likes.entry(did).or_default());
        if !hidden.contains(did) && !hidden.contains(artist_of(&like.subject)) {
            likers.insert(did);
            *likes += 1;
        }
    }
    let mut wrong = Vec::new();
    for (uri, likers) in likers.into_iter().filter(|(uri, _)| !uri.ends_with("~key")) {
        let answer = environment.ask("feed.getTrackLikes", &[("uri", uri)]).await;
        let found = answer["likes"].as_array().expect("likes").iter().map(|like| like["actor"]["did"].as_str());
        if found.collect::<Option<BTreeSet<&str>>>().as_ref() != Some(&likers) || answer["count"] != likers.len() {
            wrong.push(format!("{uri} is shown as liked by {answer}, and not {likers:?}"));
        }
    }
    for (did, count) in likes {
        let found = environment.ask("feed.getActorLikes", &[("actor", did)]).await;
        if found["likes"].as_array().map(Vec::len) != Some(count) {
            wrong.push(format!("{did} is shown with {found}, and not with {count} likes"));
        }
    }
    wrong
}

/// Accounts that are not shown as their own PDS says, although all their events were delivered and no check is pending.
async fn contradicting_servers(world: &World, Case { accounts, batches, .. }: &Case) -> Vec<String> {
    let hidden = dump::hidden(&world.database.pool).await;
    let delivered: Vec<&AccountEvent> =
        batches.iter().flatten().filter_map(|message| message.account_event.as_ref()).collect();
    let is_delivered = |event: &AccountEvent| {
        matches!(event.kind, AccountEventKind::Identity | AccountEventKind::Sync(_)) || delivered.contains(&event)
    };
    let is_right = |did: &str| (accounts.repo(did, i64::MAX).standing == Standing::Active) != hidden.contains(did);
    let has_all =
        |did: &str| accounts.changes.iter().all(|(_, change)| change.event.did != did || is_delivered(&change.event));
    let wrong = world.accounts.known().filter(|did| has_all(did) && !is_right(did));
    wrong.map(|did| format!("{did} is shown, or not, against the answer of its PDS: hidden are {hidden:?}")).collect()
}

/// The same once more, in one batch: nothing may change but what comes back of accounts that came back.
async fn run_again(world: &mut World, batches: &[Vec<Message>]) -> Vec<String> {
    let pool = world.database.pool.clone();
    let (expected, rejects) = (world.model.state(), dump::count_rejects(&pool).await);
    let ids = dump::track_ids(&pool).await;
    let messages = batches.iter().flatten().filter(|message| !message.garbage).cloned().collect::<Vec<_>>();
    let applied = world.deliver(&messages).await;
    world.follow().await;
    let mut wrong = world.disagreements().await;
    wrong.extend(wrongly_hidden(world).await);
    // Events about unknown accounts that were forgotten are new again.
    let written: u64 =
        applied.by_kind().filter(|(kind, _)| *kind != EventKind::Account).map(|(_, counts)| counts.applied).sum();
    if expected == world.model.state() && written > 0 {
        wrong.push(format!("the second time {written} operations were applied"));
    }
    let again = dump::track_ids(&pool).await;
    if ids.iter().any(|(uri, id)| again.get(uri) != Some(id)) {
        wrong.push("the second time ids changed".to_owned());
    }
    let found = dump::count_rejects(&pool).await;
    if expected == world.model.state() && found != rejects {
        wrong.push(format!("the second time there are {found} rejects after {rejects}"));
    }
    wrong
}

/// The fewest messages that still fail, as far as leaving out ever smaller runs of them finds.
async fn shrink(environment: &mut Environment, case: Case) -> Case {
    let Case { accounts, batches: mut fewest, seed } = case;
    let mut case = Case { accounts, batches: Vec::new(), seed };
    let mut size = fewest.iter().map(Vec::len).sum::<usize>() / 2;
    let limit = Instant::now() + Duration::from_mins(1);
    while size > 0 && Instant::now() < limit {
        let total: usize = fewest.iter().map(Vec::len).sum();
        let mut from = 0;
        let mut smaller = None;
        while from < total && smaller.is_none() {
            case.batches = without(&fewest, from..from + size);
            if !run(environment, &case).await.is_empty() {
                smaller = Some(case.batches.clone());
            }
            from += size;
        }
        match smaller {
            Some(candidate) => fewest = candidate,
            None => size /= 2,
        }
    }
    Case { batches: fewest, ..case }
}

fn without(batches: &[Vec<Message>], range: std::ops::Range<usize>) -> Vec<Vec<Message>> {
    let mut position = 0;
    let mut kept = Vec::new();
    for batch in batches {
        let batch: Vec<Message> = batch
            .iter()
            .filter(|_| {
                position += 1;
                !range.contains(&(position - 1))
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
        Dialect::Firehose => format!("firehose: {:?} {:?}", message.writes, message.account_event),
    };
    let batch = |batch: &Vec<Message>| batch.iter().map(message).collect::<Vec<String>>().join("\n");
    batches.iter().map(batch).collect::<Vec<_>>().join("\n--- next batch ---\n")
}

#[tokio::test]
async fn s3_any_delivery_of_a_history_ends_as_the_model_says() {
    let cases = setting("PLYR_CASES").unwrap_or(100);
    let first = setting("PLYR_SEED").unwrap_or_else(|| u64::from(std::process::id()) * 1_000_003);
    println!("{cases} histories from PLYR_SEED={first}");
    let mut environment = Environment::new().await;
    let (mut messages, mut commits, mut changes) = (0, 0, 0);
    for seed in first..first + cases {
        let case = Case::of(seed);
        commits += case.accounts.history.commits.len();
        changes += case.accounts.changes.len();
        messages += case.batches.iter().map(Vec::len).sum::<usize>();
        let wrong = run(&mut environment, &case).await;
        if !wrong.is_empty() {
            let fewest = shrink(&mut environment, case).await;
            let still = run(&mut environment, &fewest).await;
            panic!(
                "PLYR_SEED={seed} PLYR_CASES=1 fails:\n{}\nand\n{}\nafter\n{}",
                wrong.join("\n"),
                still.join("\n"),
                show(&fewest.batches)
            );
        }
    }
    println!("{commits} commits and {changes} changes of accounts in {messages} messages");
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
        let accounts = AccountHistory::of(Shape::small(&mut random), &mut random);
        let history = &accounts.history;
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
        for (_, change) in &accounts.changes {
            see(match change.standing {
                Some(Standing::Active) if change.is_wiped => "returns to an empty repo",
                Some(Standing::Active) => "returns",
                Some(Standing::Inactive(_)) => "accounts that become inactive",
                Some(Standing::Deleted) => "deletions",
                None => "events that change nothing",
            });
        }
        for message in deliver_with_accounts(&accounts, &mut random).iter().flatten() {
            see(match (message.garbage, message.dialect) {
                (true, _) => "garbage",
                (false, Dialect::Firehose) => "firehose messages",
                (false, Dialect::JetstreamV1) => "Jetstream messages",
            });
            see(match message.account_event.as_ref().map(|event| event.kind) {
                None => continue,
                Some(AccountEventKind::Identity) => "event: identity",
                Some(AccountEventKind::Sync(_)) => "event: sync",
                Some(AccountEventKind::Account(true, _)) => "event: active",
                Some(AccountEventKind::Account(false, None)) => "event: inactive without a reason",
                Some(AccountEventKind::Account(false, Some(status))) => status,
            });
        }
    }
    println!("{seen:#?}");
    assert!(seen.len() == 28 && seen.values().all(|count| *count >= 10), "too few of something: {seen:#?}");
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
        let at = usize::try_from(rest.position()).expect("a position in memory");
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
    let read: Value = serde_json::from_slice(&wire::v1_message(&commit, 0, 1_725_911_162_329_308)).expect("JSON");
    assert_eq!(read["kind"], "commit");
    assert_eq!(read["commit"]["rev"], "3l3qo2vutsw2b");
    assert_eq!(read["commit"]["operation"], "create");
    assert!(read["commit"]["cid"].as_str().is_some_and(|cid| cid.starts_with("bafyrei")));
    let garbage = some_garbage(&mut Random::new(1));
    assert!(serde_json::from_slice::<Value>(&garbage).is_err());
}
