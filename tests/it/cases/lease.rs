//! Case S4: several indexers on one database. One works, the others take over when it ends, dies, hangs or is cut off; one
//! that has lost the lease writes nothing more.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use plyr_likes::{
    apply::{Applier, ApplyError, Batch, Reached},
    clock::Clock,
    model::{Collections, PositionKind},
    store::{
        begin_apply,
        sources::lease::{self, Indexer, Token},
    },
};
use rustix::process::Signal;
use sqlx::{Connection as _, PgConnection, PgPool, Postgres, Transaction};
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::support::{
    database::{TestDatabase, fresh},
    dump,
    history::{History, Random, World as Shape},
    process::{Process, command, get},
    proxy::Proxy,
    run::{self, Log, lines_from, until, until_as},
    upstream::{Act, Upstream},
};

/// What an indexer says when it begins to work, stands by, and has lost the lease.
const LEADS: &str = "this indexer leads now";
const STANDS_BY: &str = "standing by: another indexer leads";
const STANDS_DOWN: &str = "standing by: another indexer has taken over";
/// "Within seconds", on a machine that compiles at the same time.
const SECONDS: Duration = Duration::from_secs(20);

const ONE_LEADS: &str =
    "SELECT count(*) = 1 FROM indexers i JOIN lease l ON l.indexer_id = i.id WHERE expires_at > clock_timestamp()";
const ONE_WAITS_FOR_LOCK: &str = "SELECT count(*) > 0 FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND xact_start IS NOT NULL";

/// A database for several indexers, and an upstream that sends the first half of a history and, after `go`, the second; later
/// connections get all that follows their cursor.
struct Fixture {
    database: TestDatabase,
    log: Log,
    upstream: Upstream,
    folder: tempfile::TempDir,
}

impl Fixture {
    async fn new(seed: u64) -> Self {
        println!("seed {seed}");
        let log = Log::of(&History::of(Shape { actors: 10, keys: 20, commits: 600 }, &mut Random::new(seed)));
        let lines = log.lines.clone();
        let upstream = Upstream::start(move |request| {
            let burst = |lines: &[String]| Act::Burst(lines.iter().cloned().map(Frame::text).collect());
            match request.connection {
                0 => vec![burst(&lines[..half(&lines)]), Act::WaitForGo, burst(&lines[half(&lines)..]), Act::Stay],
                _ => vec![burst(lines_from(&lines, request.cursor())), Act::Stay],
            }
        })
        .await;
        Self { database: fresh().await, log, upstream, folder: tempfile::tempdir().unwrap() }
    }

    fn start(&self, what: &str) -> Process {
        self.start_on(what, &self.database.url)
    }

    fn start_on(&self, what: &str, url: &str) -> Process {
        let mut command = command(self.folder.path(), &[what]);
        command.env("DATABASE_URL", url);
        command.env("PLYR_SOURCES", format!("jetstream+ws://{}", self.upstream.address));
        Process::start(command)
    }

    /// One works and has the first half in, the other stands by.
    async fn two(&self) -> (Process, Process) {
        self.two_on(&self.database.url).await
    }

    async fn two_on(&self, url: &str) -> (Process, Process) {
        let mut first = self.start_on("index", url);
        first.wait_for(LEADS);
        let mut second = self.start("index");
        second.wait_for(STANDS_BY);
        until_as(self.pool(), &self.log.model_after(half(&self.log.lines))).await;
        (first, second)
    }

    fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    /// Holds up every transaction that writes likes, until the lock is given back.
    async fn block(&self) -> Transaction<'static, Postgres> {
        let mut holder = self.pool().begin().await.unwrap();
        sqlx::query("LOCK TABLE rejects, track_counts, likes IN ACCESS EXCLUSIVE MODE")
            .execute(&mut *holder)
            .await
            .unwrap();
        holder
    }

    /// The index is as the referee says, nothing lost and nothing doubled, and stays so.
    async fn ends_well(&self) {
        until_as(self.pool(), &self.log.model()).await;
        assert_eq!(dump::miscounted(self.pool()).await, Vec::<String>::new());
    }

    async fn token(&self) -> i32 {
        sqlx::query_scalar("SELECT token FROM lease").fetch_one(self.pool()).await.unwrap()
    }
}

fn half(lines: &[String]) -> usize {
    lines.len() / 2
}

fn report(what: &str, since: Instant) {
    let took = since.elapsed();
    println!("{what}: {took:?}");
    assert!(took < SECONDS, "{what} took {took:?}");
}

/// The line of a metric.
fn metric(process: &Process, name: &str) -> String {
    let (status, answer) = get(&process.address("admin"), "/metrics");
    assert_eq!(status, 200, "{answer}");
    let line = answer.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {answer}"));
    line.to_owned()
}

/// What `plyr-likes status` prints.
fn status_of(database_url: &str) -> String {
    let output = run::command(database_url).arg("status").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_two_daemons_one_works() {
    let fixture = Fixture::new(41).await;
    let mut first = fixture.start("index");
    first.wait_for(LEADS);
    let mut second = fixture.start("serve");
    second.wait_for(STANDS_BY);
    let mut api = fixture.start("api");
    api.wait_for("serving");
    fixture.upstream.go();
    fixture.ends_well().await;
    assert_eq!(fixture.upstream.requests().len(), 1, "a standby has connected to the upstream");
    assert_eq!(metric(&first, "plyr_index_leading"), "plyr_index_leading 1");
    assert_eq!(metric(&second, "plyr_index_leading"), "plyr_index_leading 0");
    assert_eq!(metric(&first, "plyr_lease_takeovers_total"), "plyr_lease_takeovers_total{from=\"free\"} 1");

    until(fixture.pool(), "SELECT EXISTS (SELECT FROM sources WHERE state = 'connected')").await;
    for process in [&second, &api] {
        let (status, answer) = get(&process.address("api"), "/ready");
        assert!(status == 200 || answer.contains("behind"), "{answer}");
        let (_, answer) = get(&process.address("api"), "/status");
        let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        let status: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
        let states: Vec<&str> =
            status["indexers"].as_array().unwrap().iter().map(|one| one["state"].as_str().unwrap()).collect();
        assert_eq!(states, ["leading", "standby"], "{status}");
    }
    let shown = status_of(&fixture.database.url);
    assert!(shown.contains("  leading  ") && shown.contains("  standby  "), "{shown}");
    assert!(first.terminate().0.success());
    second.wait_for(LEADS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_the_other_takes_over_after_kill_9() {
    let fixture = Fixture::new(42).await;
    let (first, mut second) = fixture.two().await;
    let since = Instant::now();
    first.kill9();
    second.wait_for(LEADS);
    report("takeover after kill -9", since);
    fixture.ends_well().await;
    report("and all is in", since);
    assert!(metric(&second, "plyr_lease_takeovers_total").contains("from=\"crashed\"} 1"));

    let mut third = fixture.start("index");
    third.wait_for(STANDS_BY);
    let since = Instant::now();
    second.kill9();
    third.wait_for(LEADS);
    report("takeover by a third", since);
    fixture.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_the_other_takes_over_after_sigterm() {
    let fixture = Fixture::new(43).await;
    let (first, mut second) = fixture.two().await;
    let since = Instant::now();
    let (status, _, log) = first.terminate();
    assert!(status.success(), "{log}");
    second.wait_for(LEADS);
    report("takeover after SIGTERM", since);
    fixture.ends_well().await;
    assert!(metric(&second, "plyr_lease_takeovers_total").contains("from=\"free\"} 1"));
}

/// Notes each transaction that was refused for its token: a sequence is not rolled back.
async fn note_refusals(pool: &PgPool) {
    let made: String =
        sqlx::query_scalar("SELECT pg_get_functiondef('hold_lease'::regproc)").fetch_one(pool).await.unwrap();
    let noting = made.replace("RAISE EXCEPTION", "PERFORM nextval('refusals'); RAISE EXCEPTION");
    assert_ne!(made, noting);
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE SEQUENCE refusals; {noting}"))).execute(pool).await.unwrap();
}

const ONE_WAS_REFUSED: &str = "SELECT is_called FROM refusals";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_a_holder_that_wakes_up_with_a_batch_writes_nothing() {
    let fixture = Fixture::new(44).await;
    note_refusals(fixture.pool()).await;
    let (mut first, mut second) = fixture.two().await;
    let lock = fixture.block().await;
    fixture.upstream.go();
    until(fixture.pool(), ONE_WAITS_FOR_LOCK).await;
    let since = Instant::now();
    first.signal(Signal::STOP);
    // The transaction still waits when the other takes over: it was ended.
    second.wait_for(LEADS);
    report("takeover after SIGSTOP inside a transaction", since);
    lock.rollback().await.unwrap();
    fixture.ends_well().await;
    let positions = dump::positions(fixture.pool()).await;
    assert!(!sqlx::query_scalar::<_, bool>(ONE_WAS_REFUSED).fetch_one(fixture.pool()).await.unwrap());

    first.signal(Signal::CONT);
    first.wait_for(STANDS_DOWN);
    until(fixture.pool(), ONE_WAS_REFUSED).await;
    first.wait_for(STANDS_BY);
    assert_eq!(metric(&first, "plyr_index_leading"), "plyr_index_leading 0");
    assert_eq!(positions, dump::positions(fixture.pool()).await, "the woken one has written");
    fixture.ends_well().await;
    // And back again: what was dropped was dropped in order.
    second.kill9();
    first.wait_for(LEADS);
    fixture.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_a_holder_that_hangs_between_transactions_is_replaced() {
    let fixture = Fixture::new(45).await;
    let (mut first, mut second) = fixture.two().await;
    let since = Instant::now();
    first.signal(Signal::STOP);
    fixture.upstream.go();
    second.wait_for(LEADS);
    report("takeover after SIGSTOP", since);
    fixture.ends_well().await;
    first.signal(Signal::CONT);
    first.wait_for(STANDS_DOWN);
    fixture.ends_well().await;
    until(fixture.pool(), ONE_LEADS).await;
    assert!(metric(&second, "plyr_lease_takeovers_total").contains("from=\"expired\"} 1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_a_holder_killed_inside_a_transaction_does_not_keep_its_lease() {
    let fixture = Fixture::new(46).await;
    let (first, mut second) = fixture.two().await;
    let lock = fixture.block().await;
    fixture.upstream.go();
    until(fixture.pool(), ONE_WAITS_FOR_LOCK).await;
    let since = Instant::now();
    // Its session in the database goes on waiting for the lock, and does not know that its client is gone.
    first.kill9();
    second.wait_for(LEADS);
    report("takeover after kill -9 inside a transaction", since);
    lock.rollback().await.unwrap();
    fixture.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_connections_cut_again_and_again() {
    let fixture = Fixture::new(47).await;
    let (first, second) = fixture.two().await;
    fixture.upstream.go();
    let mut cut = 0;
    for _ in 0..10 {
        cut += sqlx::query_scalar::<_, i64>(
            "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'plyr-likes'",
        )
        .fetch_one(fixture.pool())
        .await
        .unwrap();
        // Long enough for some of them to come back, and for others to be cut while they do.
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    println!("{cut} connections were cut; the token is {}", fixture.token().await);
    assert!(cut > 10, "{cut}: the test shows nothing");
    fixture.ends_well().await;
    until(fixture.pool(), ONE_LEADS).await;
    for process in [first, second] {
        assert!(process.terminate().0.success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_a_holder_cut_off_from_the_database_stops_by_itself() {
    let fixture = Fixture::new(48).await;
    let (proxy, url) = Proxy::to(&fixture.database.url);
    let (mut first, mut second) = fixture.two_on(&url).await;
    let since = Instant::now();
    proxy.shut();
    fixture.upstream.go();
    second.wait_for(LEADS);
    report("takeover from one that is cut off", since);
    fixture.ends_well().await;
    first.wait_for("the database has not answered for too long to go on");
    println!("it stood down after {:?}", since.elapsed());
    let positions = dump::positions(fixture.pool()).await;
    // What it had sent arrives now.
    proxy.open();
    first.wait_for(STANDS_BY);
    assert_eq!(positions, dump::positions(fixture.pool()).await, "the one that was cut off has written");
    fixture.ends_well().await;
}

fn indexer(id: i64) -> Indexer {
    Indexer { id, host: "here".to_owned(), process: 1, started_at: Clock::system().now().utc() }
}

async fn take(connection: &mut PgConnection, id: i64) -> Option<Token> {
    let found = lease::find(connection).await.unwrap();
    lease::take(connection, &indexer(id), found, Duration::from_mins(1)).await.unwrap()
}

async fn expire(pool: &PgPool) {
    sqlx::query("UPDATE lease SET expires_at = '-infinity'").execute(pool).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_a_batch_under_an_old_token_is_refused_whole() {
    let database = fresh().await;
    let collections = Collections::of_namespace("fm.plyr").unwrap();
    let mut connections = Vec::new();
    for _ in 0..3 {
        connections.push(PgConnection::connect(&database.url).await.unwrap());
    }
    let [first, second, writer] = &mut connections[..] else { panic!("three") };
    let old = take(first, 1).await.expect("the lease is free");
    let batch = |value| Batch {
        positions: vec![Reached::to(Arc::from("a source"), PositionKind::FirehoseSeq, value)],
        ..Batch::default()
    };
    let applier = || Applier::new(collections.clone(), Clock::system());
    applier().under(old).apply(writer, &batch(1)).await.expect("the holder writes");
    assert_eq!(take(second, 2).await, None, "it was taken from a holder that lives");
    assert!(lease::renew(first, old, Duration::from_mins(1)).await.unwrap());

    expire(&database.pool).await;
    let new = take(second, 2).await.expect("it has expired");
    assert_ne!(old, new);
    assert!(!lease::renew(first, old, Duration::from_mins(1)).await.unwrap());
    let refused = applier().under(old).apply(writer, &batch(2)).await.expect_err("the old holder writes");
    assert!(matches!(refused, ApplyError::TakenOver), "{refused}");
    assert_eq!(dump::positions(&database.pool).await[0].2, 1, "a refused batch has left something");
    applier().under(new).apply(writer, &batch(3)).await.expect("the new holder writes over the same connection");
    // A writer without a token, such as an operator's command, is not asked for it.
    applier().apply(writer, &batch(4)).await.expect("a command writes");
    assert_eq!(dump::positions(&database.pool).await[0].2, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s4_the_lease_changes_hands_between_transactions() {
    let database = fresh().await;
    let mut first = PgConnection::connect(&database.url).await.unwrap();
    let mut second = PgConnection::connect(&database.url).await.unwrap();
    let mut writer = PgConnection::connect(&database.url).await.unwrap();
    let old = take(&mut first, 1).await.expect("the lease is free");
    let found = lease::find(&mut second).await.unwrap();
    expire(&database.pool).await;
    let taken = lease::take(&mut second, &indexer(2), found, Duration::from_mins(1)).await.unwrap();
    assert_eq!(taken, None, "it has expired since it was looked at");
    let transaction = begin_apply(&mut writer, Some(old)).await.unwrap();
    expire(&database.pool).await;
    assert_eq!(take(&mut second, 2).await, None, "it was taken inside a transaction of the holder");
    transaction.commit().await.unwrap();
    let new = take(&mut second, 2).await.expect("no transaction is left");

    // One that hangs is ended; only once the lease has expired.
    let mut hanging = begin_apply(&mut writer, Some(new)).await.unwrap();
    assert_eq!(lease::end_transactions(&mut first, new).await.unwrap(), 0);
    expire(&database.pool).await;
    assert_eq!(lease::end_transactions(&mut first, new).await.unwrap(), 1);
    sqlx::query("SELECT 1").execute(&mut *hanging).await.expect_err("it was ended");
    drop(hanging);
    let third = take_soon(&mut first, 1).await;

    // A holder whose connection has ended is not waited for, and one that gave the lease back is not either.
    assert!(lease::renew(&mut first, third, Duration::from_mins(1)).await.unwrap());
    first.close().await.unwrap();
    take_soon(&mut second, 2).await;
    lease::leave(&mut second, &indexer(2)).await.unwrap();
    let mut other = PgConnection::connect(&database.url).await.unwrap();
    assert!(take(&mut other, 3).await.is_some());
}

/// The server may need a moment to end a session.
async fn take_soon(connection: &mut PgConnection, id: i64) -> Token {
    let since = Instant::now();
    loop {
        if let Some(token) = take(connection, id).await {
            return token;
        }
        assert!(since.elapsed() < SECONDS, "the lease is kept by a session that has ended");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
