//! Cases A9, B3 to B6 and T14: what the streams lost is found in the repos, and nothing is taken for lost that is not.

use std::{collections::BTreeSet, time::Duration};

use plyr_likes_sim::{
    fault::When,
    model::differences,
    reads::{OddAnswer, ReadFault, ReadPlan},
    sim::{HostOptions, Options, Sim},
    world::{Mix, Shape},
};
use sqlx::{Connection as _, PgConnection};

use crate::cases::backfill::{figure, live_only, make_accounts, of_network, of_sim, said, wrong};
use crate::support::{
    comparison::Truth,
    database::{TestDatabase, fresh},
    dump,
    network::{Network, Operation, like, track},
    program::Program,
    run::until,
};

/// A world of a few accounts, on so many hosts.
async fn a_world(hosts: usize, mix: Mix, reads: &ReadPlan) -> Sim {
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let shape = Shape { seed, actors: 12, tracks: 24, events: 900, mix, ..Shape::default() };
    let hosts = vec![HostOptions { reads: reads.clone(), announces: true, ..HostOptions::default() }; hosts];
    Sim::start(Options { shape, hosts, web: 0, rate: 0 }).await.expect("a free port")
}

async fn change(database: &TestDatabase, statement: &'static str) {
    let done = sqlx::query(statement).execute(&database.pool).await.expect("a statement");
    assert!(done.rows_affected() > 0, "nothing to change: {statement}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b3_a_repo_that_never_rests_is_read_as_a_whole() {
    let reads = ReadPlan::default().with("getLatestCommit", When::Every(1), ReadFault::Move);
    let (sim, database) = (a_world(1, Mix::LIFE, &reads).await, fresh().await);
    let (text, code) = said(&of_sim(&database, &sim), &["backfill", "--discover"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(wrong(&sim, &database).await, "");
    assert!(sim.fired()["read move"] >= 24, "{:?}", sim.fired());
}

/// One odd item, or one method that a host refuses, does not cost the repo: what can't be listed is read as a whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f3_f4_f7_what_is_odd_in_an_answer_costs_no_repo() {
    let refusal = |status| ReadFault::Status { status, retry_after: None };
    for (on, fault) in [
        ("listRecords", ReadFault::Odd(OddAnswer::EmptyCursor)),
        ("listRecords", ReadFault::Odd(OddAnswer::NullList)),
        ("listRecords", ReadFault::Odd(OddAnswer::NoValue)),
        ("listRecords", ReadFault::Odd(OddAnswer::OddItem)),
        ("listRecords", refusal(400)),
        ("listRecords", refusal(500)),
        ("getLatestCommit", refusal(501)),
        ("listReposByCollection", ReadFault::Odd(OddAnswer::EmptyCursor)),
        ("listReposByCollection", ReadFault::Odd(OddAnswer::OddItem)),
        ("/did:plc:", ReadFault::Odd(OddAnswer::OddDocument)),
    ] {
        println!("{fault:?} of {on}");
        let (name, reads) = (fault.name(), ReadPlan::default().with(on, When::Every(1), fault));
        let (sim, database) = (a_world(1, Mix::LIFE, &reads).await, fresh().await);
        let (text, code) = said(&of_sim(&database, &sim), &["backfill", "--discover"]);
        assert_eq!(code, 0, "{text}");
        assert_eq!(wrong(&sim, &database).await, "");
        assert!(sim.fired()[&name] > 0, "{:?}", sim.fired());
        let is_shown =
            "SELECT bool_and(signing_key IS NOT NULL AND handle IS NOT NULL) FROM identities WHERE failure IS NULL";
        assert!(sqlx::query_scalar::<_, bool>(is_shown).fetch_one(&database.pool).await.expect("identities"));
    }
}

/// A world that has been read, and is read again on a host whose listings have this fault: nothing is deleted.
async fn deletes_nothing(fault: ReadFault, noted_as: &str) {
    let (sim, database) = (a_world(1, Mix::LIFE, &ReadPlan::default()).await, fresh().await);
    let (text, code) = said(&of_sim(&database, &sim), &["backfill", "--discover"]);
    assert_eq!(code, 0, "{text}");
    let whole = dump::state(&database.pool).await;
    drop(sim);

    // The same world from the same seed.
    let reads = ReadPlan::default().with("listRecords", When::Every(1), fault);
    let sim = a_world(1, Mix::LIFE, &reads).await;
    change(&database, "DELETE FROM identities").await;
    let (text, code) = said(&of_sim(&database, &sim), &["reconcile"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(figure(&text, "extra"), 0, "{text}");
    assert_eq!(differences(&whole, &dump::state(&database.pool).await).join("\n"), "");
    assert!(sim.fired()[noted_as] >= 12, "{:?}", sim.fired());
}

/// A host that has lost its records and does not know it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b6_an_empty_answer_deletes_nothing() {
    deletes_nothing(ReadFault::Empty, "read empty").await;
}

/// A listing that leaves out what a signed commit has written deletes nothing, however few records it leaves out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f12_what_a_listing_leaves_out_is_not_gone() {
    deletes_nothing(ReadFault::Omit, "read omit").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b4_one_broken_host_does_not_delay_the_others() {
    let (sim, database) = (a_world(2, Mix::LIFE, &ReadPlan::default()).await, fresh().await);
    sim.set_down(1, true);
    let settings = of_sim(&database, &sim);
    let (text, code) = said(&settings, &["backfill", "--discover"]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("repos: done=6 failed=6 pending=0"), "{text}");
    // One that is broken has not made anything disappear, and comes in when it is back.
    sim.set_down(1, false);
    let program = Program::serve(&settings).await;
    until(&database.pool, "SELECT count(*) = 12 AND bool_and(state = 'done') FROM repos").await;
    assert_eq!(wrong(&sim, &database).await, "");
    let metrics = program.metrics().await;
    assert!(metrics.contains("plyr_drift_total{cause=\"audit\",kind=\"extra\"} 0"), "{metrics}");
}

#[tokio::test]
async fn t14_what_no_source_carries_is_found_in_the_repos() {
    let (network, database) = (Network::start_fast().await, fresh().await);
    let accounts = make_accounts(&network, 4).await;
    // The stream begins now and never sends what was written before, nor of who wrote it.
    let settings = of_network(&database, &network).with("PLYR_SOURCES", network.source()).with("PLYR_START", "live");
    let program = Program::serve(&settings).await;
    until(&database.pool, "SELECT count(*) >= 5 AND bool_and(state = 'done') FROM repos").await;
    Truth::read(&accounts, &BTreeSet::new()).await.assert_shown_by(&program).await;
    let status = program.get("/status", &[]).await.expect("a status");
    assert_eq!(status["repos"]["done"], 5, "{status}");
    assert_eq!(status["repos"]["failed"], 0, "{status}");
    assert_eq!(status["repos"]["drift"][0]["kind"], "missing", "{status}");
    // A new account, which the relay was not asked about again, is found by the first record.
    let newcomer = network.account("newcomer").await;
    newcomer.create("fm.plyr.track", track("First")).await;
    until(&database.pool, "SELECT count(*) >= 6 AND bool_and(state = 'done') FROM repos").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a9_repos_that_diverged_are_read_and_their_gaps_close() {
    let mix = Mix { syncs: 60, ..Mix::LIFE };
    let (sim, database) = (a_world(1, mix, &ReadPlan::default()).await, fresh().await);
    let settings = of_sim(&database, &sim).with("PLYR_SOURCES", format!("firehose+ws://{}", sim.address(0)));
    let program = Program::serve(&settings).await;
    until(&database.pool, "SELECT count(*) > 3 AND bool_and(state = 'closed') FROM gaps WHERE reason = 'sync'").await;
    // It goes on: repos lose likes in silence while they are read.
    let lost = || sim.state().world.events().len();
    let before = lost();
    sim.advance(300);
    assert!(lost() > before);
    let last = "SELECT bool_and(state = 'closed') AND (SELECT max(value) FROM positions) >= $1 FROM gaps";
    let end = i64::try_from(sim.state().logs[0].end()).expect("few events") - 1;
    program
        .wait_until("all gaps are closed", async |_| {
            let closed: bool = sqlx::query_scalar(last).bind(end).fetch_one(&database.pool).await.expect("an answer");
            let wrong = wrong(&sim, &database).await;
            if closed && wrong.is_empty() { Ok(()) } else { Err(format!("closed: {closed}; {wrong}")) }
        })
        .await;
    assert_eq!(dump::miscounted(&database.pool).await, Vec::<String>::new());
    let by: Vec<String> = sqlx::query_scalar("SELECT DISTINCT closed_by FROM gaps")
        .fetch_all(&database.pool)
        .await
        .expect("the table is there");
    assert_eq!(by, ["repair"]);
}

#[tokio::test]
async fn a_gap_of_a_source_closes_when_all_repos_have_been_read() {
    let (network, database) = (Network::start().await, fresh().await);
    let accounts = make_accounts(&network, 3).await;
    let settings = of_network(&database, &network);
    said(&settings, &["backfill", "--discover"]);
    // What the stream had sent while the index was away is missing from it.
    let songs = accounts[0].list_records("fm.plyr.track").await;
    for fan in &accounts[1..] {
        let likes = fan.list_records("fm.plyr.like").await;
        let writes =
            [Operation::delete("fm.plyr.like", likes[0].rkey()), Operation::create("fm.plyr.like", like(&songs[0]))];
        fan.apply_writes(&writes).await;
    }
    change(
        &database,
        "INSERT INTO gaps (source, reason, detail, opened_at, from_at, to_at)
        VALUES ('firehose+wss://relay.example', 'too_old', 'it kept too little', now(), now() - interval '1 day', now())",
    )
    .await;
    let (text, _) = said(&settings, &["status"]);
    assert!(text.contains("too_old"), "{text}");
    let program = Program::serve(&settings).await;
    until(&database.pool, "SELECT bool_and(state = 'closed' AND closed_by = 'repair') FROM gaps").await;
    Truth::read(&accounts, &BTreeSet::new()).await.assert_shown_by(&program).await;
    let (text, _) = said(&settings, &["gaps", "list", "--all"]);
    assert!(text.contains("closed"), "{text}");
    let drift: i64 = sqlx::query_scalar("SELECT sum(count)::bigint FROM drift WHERE cause = 'gap'")
        .fetch_one(&database.pool)
        .await
        .expect("a sum");
    assert_eq!(drift, 6, "a like and an unlike of each of three");
}

#[tokio::test]
async fn a_gap_of_a_source_stays_open_where_no_relay_lists_all_repos() {
    let (network, database) = (Network::start().await, fresh().await);
    make_accounts(&network, 1).await;
    said(&of_network(&database, &network), &["backfill", "--discover"]);
    change(
        &database,
        "INSERT INTO gaps (source, reason, did, detail, opened_at)
        SELECT 'firehose+wss://relay.example', 'sync', max(did), 'it diverged', now() FROM actors
        UNION ALL SELECT 'firehose+wss://relay.example', 'too_old', NULL, 'it kept too little', now()",
    )
    .await;
    let program = Program::serve(&of_network(&database, &network).with("PLYR_RELAY_URL", "")).await;
    // The one repo is read and its gap closes, so both have been looked at.
    until(&database.pool, "SELECT count(*) = 1 FROM gaps WHERE reason = 'sync' AND closed_by = 'repair'").await;
    let state: String = sqlx::query_scalar("SELECT state FROM gaps WHERE reason = 'too_old'")
        .fetch_one(&database.pool)
        .await
        .expect("a gap");
    assert_eq!(state, "open");
    drop(program);
}

#[tokio::test]
async fn the_audit_finds_what_was_lost_and_a_restored_account_is_read() {
    let (network, database) = (Network::start().await, fresh().await);
    let accounts = make_accounts(&network, 3).await;
    let settings = of_network(&database, &network);
    said(&settings, &["backfill", "--discover"]);
    let whole = dump::state(&database.pool).await;
    change(
        &database,
        "UPDATE tracks SET title = 'Another', cid = decode('01711220' || repeat('ab', 32), 'hex'), rev = rev - 5
        WHERE id = (SELECT min(id) FROM tracks WHERE title IS NOT NULL)",
    )
    .await;
    change(&database, "UPDATE repos SET read_at = now() - interval '2 hours' WHERE did IN (SELECT did FROM actors a JOIN tracks t ON t.artist_id = a.id)").await;
    // A fan was deleted and purged, and has come back.
    change(
        &database,
        "INSERT INTO account_tombstones (actor_id, rev, is_purging, needs_resync)
        SELECT max(actor_id), 0, false, true FROM likes",
    )
    .await;
    change(&database, "DELETE FROM lists WHERE actor_id = (SELECT max(actor_id) FROM likes)").await;
    let program = Program::serve(&settings.with("PLYR_AUDIT_HOURS", "1")).await;
    until(&database.pool, "SELECT count(*) = 1 FROM drift WHERE cause = 'audit' AND kind = 'differing' AND count = 1")
        .await;
    until(&database.pool, "SELECT count(*) = 1 FROM drift WHERE cause = 'account' AND kind = 'missing' AND count = 1")
        .await;
    until(&database.pool, "SELECT NOT bool_or(needs_resync) FROM account_tombstones").await;
    let after = dump::state(&database.pool).await;
    assert_eq!(differences(&live_only(whole), &live_only(after)).join("\n"), "");
    drop((program, accounts));
}

#[tokio::test]
async fn an_account_event_that_was_lost_is_noticed_by_the_next_reading() {
    let (network, database) = (Network::start().await, fresh().await);
    let accounts = make_accounts(&network, 2).await;
    let settings = of_network(&database, &network);
    said(&settings, &["backfill", "--discover"]);
    accounts[1].deactivate().await;
    let before = dump::state(&database.pool).await;
    let (text, code) = said(&settings, &["reconcile"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(before, dump::state(&database.pool).await, "nothing is removed");
    let program = Program::serve(&settings).await;
    until(&database.pool, "SELECT count(*) = 1 FROM hidden_actors").await;
    accounts[1].activate().await;
    let (text, code) = said(&settings, &["reconcile"]);
    assert_eq!(code, 0, "{text}");
    until(&database.pool, "SELECT count(*) = 0 FROM hidden_actors").await;
    Truth::read(&accounts, &BTreeSet::new()).await.assert_shown_by(&program).await;
}

/// Tables that hold records or follow from them.
const RECORD_TABLES: &str = "likes lists tracks profiles track_counts actors subject_cids rejects";

/// What Postgres counts of a table.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
struct TableCounts {
    name: String,
    /// How often it was asked, by whatever index or as a whole.
    scans: i64,
    /// Rows inserted, updated and deleted, ever.
    writes: i64,
}

/// What has been done to the tables of records until now. The process that did it must have ended: connections count when they end. Those of
/// the pool of the test never ask these tables here.
async fn counts(database: &TestDatabase) -> Vec<TableCounts> {
    let ended = "SELECT bool_and(application_name = 'tests') FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend'";
    until(&database.pool, ended).await;
    let counted = "SELECT relname::text AS name, seq_scan + coalesce(idx_scan, 0) AS scans, n_tup_ins + n_tup_upd + n_tup_del AS writes
        FROM pg_stat_user_tables WHERE relname = ANY (string_to_array($1, ' ')) ORDER BY relname";
    sqlx::query_as(counted).bind(RECORD_TABLES).fetch_all(&database.pool).await.expect("counts")
}

/// The transactions that wrote the rows that there are.
async fn versions(database: &TestDatabase) -> Vec<String> {
    let mut connection = PgConnection::connect(&database.url).await.expect("a connection");
    let mut found = Vec::new();
    for table in RECORD_TABLES.split(' ') {
        let question =
            format!("SELECT count(*)::text || ' ' || coalesce(max(xmin::text::bigint), 0)::text FROM {table}");
        let version = sqlx::query_scalar(sqlx::AssertSqlSafe(question)).fetch_one(&mut connection).await;
        found.push(version.expect("a version"));
    }
    connection.close().await.expect("it closes");
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b3_each_repo_is_read_once_however_they_are_written_together() {
    // So many likes each that no number of repos fills a transaction to the last.
    let (actors, likes) = (150, 13_500);
    let shape = Shape { seed: 3, actors, tracks: 20, events: likes, mix: Mix::LIKES, ..Shape::default() };
    let hosts = vec![HostOptions::default(); 4];
    let sim = Sim::start(Options { shape, hosts, web: 0, rate: 0 }).await.expect("a port");
    let database = fresh().await;
    let settings = of_sim(&database, &sim);
    // The database takes nothing until more has been read than goes into a transaction.
    let mut holder = database.pool.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE likes IN EXCLUSIVE MODE").execute(&mut *holder).await.expect("a lock");
    let running = tokio::task::spawn_blocking(move || said(&settings, &["backfill", "--discover"]));
    while sim.asked().get("com.atproto.sync.getLatestCommit").is_none_or(|asked| *asked < 80) {
        assert!(!running.is_finished(), "the database has taken something");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    holder.rollback().await.expect("it ends");
    let (text, code) = running.await.expect("it ends");
    assert_eq!(
        (code, figure(&text, "read"), figure(&text, "missing")),
        (0, actors as u64, likes as u64 + 20),
        "{text}"
    );
    assert_eq!(sim.asked()["com.atproto.sync.getLatestCommit"], 2 * actors as u64);
    assert_eq!(wrong(&sim, &database).await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b8_an_audit_of_20_000_unchanged_likes_reads_once_and_writes_nothing() {
    let likes = 20_000;
    let shape = Shape { seed: 8, actors: 1, tracks: 250, events: likes, mix: Mix::LIKES, ..Shape::default() };
    let (host, tracks) = (HostOptions::default(), shape.tracks);
    let sim = Sim::start(Options { shape, hosts: vec![host], web: 0, rate: 0 }).await.expect("a port");
    let database = fresh().await;
    let settings = of_sim(&database, &sim);
    let (text, code) = said(&settings, &["backfill", "--discover"]);
    assert_eq!((code, figure(&text, "missing")), (0, (likes + tracks) as u64), "{text}");

    let (rows, before, asked) = (versions(&database).await, counts(&database).await, sim.asked());
    let (text, code) = said(&settings, &["reconcile"]);
    assert_eq!((code, figure(&text, "records")), (0, (likes + tracks) as u64), "{text}");
    let since = |method: &str| sim.asked()[method] - asked[method];
    // A page that is full is not known to be the last: so many and one each for likes and tracks, one each for lists and profile.
    let pages = (likes / 100 + 1) + (tracks / 100 + 1) + 2;
    assert_eq!(since("com.atproto.repo.listRecords"), pages as u64, "one pass of listing");
    assert_eq!(since("com.atproto.sync.getLatestCommit"), 2);
    assert_eq!(sim.asked().values().sum::<u64>() - asked.values().sum::<u64>(), pages as u64 + 2, "and nothing else");

    let after = counts(&database).await;
    let scans =
        |counts: &[TableCounts], table| counts.iter().find(|counts| counts.name == table).map(|counts| counts.scans);
    for table in ["likes", "lists", "tracks", "profiles", "rejects"] {
        assert_eq!(scans(&after, table), scans(&before, table).map(|scans| scans + 1), "{table}: {after:?}");
    }
    let writes = |counts: Vec<TableCounts>| counts.into_iter().map(|counts| counts.writes).collect::<Vec<_>>();
    assert_eq!(writes(after), writes(before));
    assert_eq!(versions(&database).await, rows);
    assert_eq!(wrong(&sim, &database).await, "");
}
