//! Cases B1 to B8: repos read from their PDSes, a real one and the fake network, and the index mended.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use plyr_likes_sim::{
    fault::When,
    model::{Model, differences},
    reads::{ReadFault, ReadPlan},
    sim::{HostOptions, Options, Sim},
    world::{Mix, Shape},
};

use sqlx::AssertSqlSafe;

use crate::support::{
    comparison::Truth,
    database::{TestDatabase, fresh},
    dump,
    network::{Account, Network, Operation, like, list, track},
    program::{Program, Settings},
    run::until,
};

/// Nothing listens there: what is in the index was read from repos.
pub const NOWHERE: &str = "firehose+ws://127.0.0.1:9";

fn settings_over(database: &TestDatabase) -> Settings {
    Settings::new()
        .with("DATABASE_URL", &database.url)
        .with("PLYR_SOURCES", NOWHERE)
        .with("PLYR_ALLOW_PRIVATE_HOSTS", "true")
        .with("PLYR_RELAY_URL", "")
}

pub fn of_network(database: &TestDatabase, network: &Network) -> Settings {
    settings_over(database).with("PLYR_PLC_URL", &network.plc_url).with("PLYR_RELAY_URL", &network.pds_url)
}

pub fn of_sim(database: &TestDatabase, sim: &Sim) -> Settings {
    settings_over(database).with("PLYR_PLC_URL", sim.url(0)).with("PLYR_RELAY_URL", sim.url(0))
}

/// What a command printed, and its exit code.
pub fn said(settings: &Settings, arguments: &[&str]) -> (String, i32) {
    let output = settings.try_run(arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (text, output.status.code().expect("it ends by itself"))
}

/// The number behind a word of the summary.
pub fn figure(said: &str, word: &str) -> u64 {
    let found = said.split_whitespace().find_map(|part| part.strip_prefix(word)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {word} in {said}")).parse().expect("a number")
}

/// An artist with tracks, and fans who like some of them and keep a list.
pub async fn make_accounts(network: &Network, fans: usize) -> Vec<Account> {
    let artist = network.account("artist").await;
    let titles: Vec<Operation> =
        (0..6).map(|number| Operation::create("fm.plyr.track", track(&format!("Song {number}")))).collect();
    let songs: Vec<_> = artist.apply_writes(&titles).await.into_iter().flatten().collect();
    let mut accounts = vec![artist];
    for number in 0..fans {
        let fan = network.account(&format!("fan{number}")).await;
        let mut writes: Vec<Operation> = songs
            .iter()
            .enumerate()
            .filter(|(at, _)| (at + number) % 3 != 0)
            .map(|(_, song)| Operation::create("fm.plyr.like", like(song)))
            .collect();
        writes.push(Operation::create("fm.plyr.list", list("liked", "Liked", songs.iter().take(3))));
        fan.apply_writes(&writes).await;
        accounts.push(fan);
    }
    accounts
}

#[tokio::test]
async fn b7_a_real_network_is_found_read_and_read_again() {
    let (network, database) = (Network::start().await, fresh().await);
    let accounts = make_accounts(&network, 8).await;
    let settings = of_network(&database, &network);

    let (first, code) = said(&settings, &["backfill", "--discover"]);
    assert_eq!(code, 0, "{first}");
    assert_eq!(figure(&first, "read"), 9, "{first}");
    assert!(figure(&first, "missing") > 40, "{first}");
    let state = dump::state(&database.pool).await;

    let (again, code) = said(&settings, &["reconcile"]);
    assert_eq!(code, 0, "{again}");
    let found = ["missing", "extra", "differing"].map(|kind| figure(&again, kind));
    assert_eq!((figure(&again, "read"), found), (9, [0, 0, 0]), "{again}");
    assert_eq!(state, dump::state(&database.pool).await);
    assert_eq!(dump::miscounted(&database.pool).await, Vec::<String>::new());

    let program = Program::serve(&settings).await;
    Truth::read(&accounts, &BTreeSet::new()).await.assert_shown_by(&program).await;
}

/// What a stream that lost a delete, a create and an update has left.
const LOST: [&str; 3] = [
    "UPDATE likes SET subject_id = NULL, subject_cid_id = NULL, sort_at = NULL, created_at = NULL, cid = NULL, rev = rev - 5
        WHERE (actor_id, rkey) = (SELECT actor_id, rkey FROM likes ORDER BY 1, 2 LIMIT 1)",
    "INSERT INTO likes SELECT actor_id, rkey - 999, rev - 5, indexed_at, subject_id, subject_cid_id, sort_at, created_at, cid
        FROM likes WHERE subject_id IS NOT NULL ORDER BY actor_id DESC, rkey LIMIT 1",
    "UPDATE tracks SET title = 'An old title', cid = decode('01711220' || repeat('ab', 32), 'hex'), rev = rev - 5
        WHERE id = (SELECT min(id) FROM tracks WHERE title IS NOT NULL)",
];

#[tokio::test]
async fn b5_missing_extra_and_differing_are_found_and_mended() {
    let (network, database) = (Network::start().await, fresh().await);
    let accounts = make_accounts(&network, 3).await;
    let settings = of_network(&database, &network);
    said(&settings, &["backfill", "--discover"]);
    let whole = dump::state(&database.pool).await;

    for statement in LOST {
        let done = sqlx::query(statement).execute(&database.pool).await.expect("a statement");
        assert_eq!(done.rows_affected(), 1, "{statement}");
    }
    let broken = dump::state(&database.pool).await;
    assert!(differences(&whole, &broken).len() >= 3);

    let (shown, code) = said(&settings, &["reconcile", "--dry-run"]);
    assert_eq!(code, 3, "{shown}");
    for kind in ["missing ", "extra ", "differing "] {
        assert_eq!(shown.lines().filter(|line| line.starts_with(kind)).count(), 1, "{shown}");
    }
    assert_eq!(broken, dump::state(&database.pool).await, "a dry run changes nothing");

    let (mended, code) = said(&settings, &["reconcile"]);
    assert_eq!(code, 0, "{mended}");
    assert_eq!(["missing", "extra", "differing"].map(|kind| figure(&mended, kind)), [1, 1, 1], "{mended}");
    let after = dump::state(&database.pool).await;
    let text = differences(&live_only(whole), &live_only(after)).join("\n");
    assert_eq!(text, "", "the index is as it was");
    let causes: Vec<(String, String, i64)> =
        sqlx::query_as("SELECT cause, kind, count FROM drift WHERE cause = 'asked' ORDER BY kind")
            .fetch_all(&database.pool)
            .await
            .expect("rows");
    let expected = ["differing", "extra", "missing"].map(|kind| ("asked".to_owned(), kind.to_owned(), 1));
    assert_eq!(causes, expected);
    let (silent, code) = said(&settings, &["reconcile", "--dry-run"]);
    assert_eq!(code, 0, "{silent}");
    // The same once more, claimed of the very rev at which the repos still are.
    for statement in LOST {
        let statement = statement.replace("rev - 5", "rev").replace("999", "998");
        let done = sqlx::query(AssertSqlSafe(statement)).execute(&database.pool).await.expect("a statement");
        assert_eq!(done.rows_affected(), 1);
    }
    let (mended, _) = said(&settings, &["reconcile"]);
    assert_eq!(["missing", "extra", "differing"].map(|kind| figure(&mended, kind)), [1, 1, 1], "{mended}");
    let (silent, code) = said(&settings, &["reconcile"]);
    assert_eq!(["missing", "extra", "differing"].map(|kind| figure(&silent, kind)), [0, 0, 0], "{silent}");
    assert_eq!((code, dump::miscounted(&database.pool).await), (0, Vec::new()));
    drop(accounts);
}

/// A rev that the repo has not reached is none of the repo as it is: its host was restored from a backup (F6), or the rev is one of the future that was
/// stored before such revs were refused (H5). What stands at one would win over all that the owner writes.
#[tokio::test]
async fn h5_f6_what_stands_above_the_head_of_its_repo_is_mended() {
    let (network, database) = (Network::start().await, fresh().await);
    let accounts = make_accounts(&network, 2).await;
    let settings = of_network(&database, &network);
    said(&settings, &["backfill", "--discover"]);
    let whole = dump::state(&database.pool).await;
    for (above, shift) in [("rev + 40000000000", "997"), ("5120000000000000000", "996")] {
        for statement in LOST {
            let done = sqlx::query(AssertSqlSafe(statement.replace("rev - 5", above).replace("999", shift)))
                .execute(&database.pool)
                .await;
            assert_eq!(done.expect("a statement").rows_affected(), 1, "{statement}");
        }
        let agreeing = "UPDATE likes SET rev = ABOVE WHERE (actor_id, rkey) =
            (SELECT actor_id, rkey FROM likes WHERE subject_id IS NOT NULL ORDER BY 1 DESC, 2 DESC LIMIT 1)";
        sqlx::query(AssertSqlSafe(agreeing.replace("ABOVE", above)))
            .execute(&database.pool)
            .await
            .expect("a statement");
        sqlx::query("INSERT INTO commit_chains (actor_id, rev) SELECT id, 5120000000000000000 FROM actors ON CONFLICT DO NOTHING")
            .execute(&database.pool)
            .await
            .expect("a statement");

        let (mended, code) = said(&settings, &["reconcile"]);
        assert_eq!(code, 0, "{mended}");
        assert_eq!(["missing", "extra", "differing"].map(|kind| figure(&mended, kind)), [0, 1, 3], "{above}: {mended}");
        let after = dump::state(&database.pool).await;
        assert_eq!(differences(&live_only(whole.clone()), &live_only(after)), Vec::<String>::new(), "{above}");
        let (silent, _) = said(&settings, &["reconcile"]);
        assert_eq!(["missing", "extra", "differing"].map(|kind| figure(&silent, kind)), [0, 0, 0], "{silent}");
        let pinned = "SELECT count(*) FROM (SELECT rev FROM likes UNION ALL SELECT rev FROM tracks UNION ALL SELECT rev FROM commit_chains) r
            WHERE rev > 4000000000000000000";
        assert_eq!(
            sqlx::query_scalar::<_, i64>(pinned).fetch_one(&database.pool).await.expect("a count"),
            0,
            "{above}"
        );
    }
    drop(accounts);
}

#[tokio::test]
async fn b6_a_server_that_fails_or_has_no_repo_deletes_nothing() {
    let (network, database) = (Network::start().await, fresh().await);
    let accounts = make_accounts(&network, 2).await;
    let settings = of_network(&database, &network);
    said(&settings, &["backfill", "--discover"]);
    let whole = dump::state(&database.pool).await;
    assert!(whole.len() > 10);
    network.stop_pds().await;
    let (failing, code) = said(&settings, &["reconcile"]);
    assert_eq!(code, 3, "failures have an exit code of their own: {failing}");
    assert!(failing.contains("failed=3"), "{failing}");
    assert_eq!(whole, dump::state(&database.pool).await);
    network.start_pds().await;
    // The server is there, and gives none of the repos: that says nothing of what is in them.
    network.takedown(&accounts[1].did, true).await;
    accounts[2].deactivate().await;
    let artist = accounts.into_iter().next().expect("there are three");
    network.delete_account(artist).await;
    let (closed, _) = said(&settings, &["reconcile"]);
    let done = ["read", "missing", "extra", "differing"].map(|word| figure(&closed, word));
    assert_eq!(done, [3, 0, 0, 0], "{closed}");
    assert_eq!(whole, dump::state(&database.pool).await);
}

/// A world whose streams no index follows, served by its PDSes alone.
async fn a_world(seed: u64, reads: ReadPlan) -> Sim {
    let shape = Shape { seed, actors: 60, tracks: 90, events: 3_000, mix: Mix::LIFE, ..Shape::default() };
    let hosts = vec![HostOptions { reads, ..HostOptions::default() }];
    Sim::start(Options { shape, hosts, web: 1, rate: 0 }).await.expect("a free port")
}

/// What the index should hold of live records: the PDS lists no tombstone.
fn truth(sim: &Sim) -> BTreeMap<String, String> {
    let state = sim.state();
    Model::of(&state.world.writes().collect::<Vec<_>>()).state()
}

/// What the index holds otherwise than the repos.
pub async fn wrong(sim: &Sim, database: &TestDatabase) -> String {
    let found = dump::state(&database.pool).await;
    let lines = differences(&live_only(truth(sim)), &live_only(found));
    lines.into_iter().take(20).collect::<Vec<_>>().join("\n")
}

/// What is there, without the revs of the writes, which no listing has, and without what is gone.
pub fn live_only(state: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let is_there = |key: &str| !key.starts_with("gone ") && !key.starts_with("refused ");
    let without_rev = |value: String| match value.strip_prefix("rev ").and_then(|rest| rest.split_once(' ')) {
        Some((_, rest)) => rest.to_owned(),
        None => value,
    };
    state.into_iter().filter(|(key, _)| is_there(key)).map(|(key, value)| (key, without_rev(value))).collect()
}

#[tokio::test]
async fn b3_hosts_that_misbehave_are_read_in_the_end() {
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let reads = ReadPlan::default()
        .with("listRecords", When::OneIn(70), ReadFault::Status { status: 500, retry_after: None })
        .with("listRecords", When::OneIn(90), ReadFault::Status { status: 429, retry_after: Some("1".to_owned()) })
        .with("getLatestCommit", When::OneIn(80), ReadFault::Truncate);
    let (sim, database) = (a_world(seed, reads).await, fresh().await);
    let settings = of_sim(&database, &sim);
    let program = Program::serve(&settings).await;
    until(&database.pool, "SELECT count(*) > 30 AND bool_and(state = 'done') FROM repos").await;
    assert_eq!(wrong(&sim, &database).await, "");
    let fired = sim.fired();
    assert!(fired.values().sum::<u64>() > 0, "no fault fired");
    println!("{fired:?}");
    drop(program);
}

#[tokio::test]
async fn b2_kill_9_in_the_middle_resumes() {
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let (sim, database) = (a_world(seed, ReadPlan::default()).await, fresh().await);
    let settings = of_sim(&database, &sim);
    let program = Program::serve(&settings).await;
    until(&database.pool, "SELECT count(*) FILTER (WHERE state = 'done') > 5 FROM repos").await;
    program.kill9();
    let (done, all): (i64, i64) = sqlx::query_as("SELECT count(*) FILTER (WHERE state = 'done'), count(*) FROM repos")
        .fetch_one(&database.pool)
        .await
        .expect("counts");
    println!("killed with {done} of {all} repos done");
    let program = Program::serve(&settings).await;
    until(&database.pool, "SELECT count(*) >= 60 AND bool_and(state = 'done') FROM repos").await;
    assert_eq!(wrong(&sim, &database).await, "");
    assert_eq!(dump::miscounted(&database.pool).await, Vec::<String>::new());
    drop(program);
}

#[tokio::test]
async fn b1_writes_during_the_reading_are_not_undone() {
    let (network, database) = (Network::start_fast().await, fresh().await);
    let accounts = make_accounts(&network, 12).await;
    // The stream begins now: what was written before is in the repos alone.
    let settings = of_network(&database, &network).with("PLYR_SOURCES", network.source()).with("PLYR_START", "live");
    let program = Program::serve(&settings).await;
    let songs = accounts[0].list_records("fm.plyr.track").await;
    for round in 0..6 {
        for fan in &accounts[1..] {
            let likes = fan.list_records("fm.plyr.like").await;
            let old = &likes[round % likes.len()];
            let song = &songs[round % songs.len()];
            let writes = [Operation::delete("fm.plyr.like", old.rkey()), Operation::create("fm.plyr.like", like(song))];
            fan.apply_writes(&writes).await;
        }
    }
    until(&database.pool, "SELECT count(*) >= 13 AND bool_and(state = 'done') FROM repos").await;
    let marker = &accounts[0];
    let mark = marker.create("fm.plyr.track", track("Mark")).await;
    let shown = async |program: &Program| program.get("/tracks/by-uri", &[("uri", &mark.uri)]).await.map(drop);
    program.wait_until("the last write is seen", shown).await;
    Truth::read(&accounts, &BTreeSet::new()).await.assert_shown_by(&program).await;
    tokio::time::timeout(Duration::from_mins(1), async {
        let (silent, code) = said(&settings, &["reconcile", "--dry-run"]);
        assert_eq!(code, 0, "{silent}");
    })
    .await
    .expect("a dry run ends");
}
