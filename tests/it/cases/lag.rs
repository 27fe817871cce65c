//! Case H9, of H1 the stream that waits, and F2: how far the index says that it is behind. Caught up means no lag, however quiet an
//! upstream is; what waits between its receipt and its commit is lag, whatever it waits for.

use std::time::{Duration, Instant};

use plyr_likes::clock::Clock;
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::support::{
    database::{TestDatabase, fresh},
    history::{History, Random, World as Shape, did, track_uri},
    program::{Program, Settings},
    proxy::Proxy,
    run::{Log, lines_from, until, until_as},
    upstream::{Act, Upstream},
    wire::{Commit, Operation, like, v1_message},
};

/// A year of lag, and more.
const LONG_AGO_S: f64 = 86_400.0 * 30.0;
/// Longer than any start takes here, and shorter than the time since the events of the logs.
const LATELY_S: f64 = 600.0;

/// The lock that all writers of records share: who holds it keeps them waiting, and none who reads.
const APPLY_LOCK: i64 = 0x706c_7972_0000_0001;

/// A log of last year.
fn old_log(seed: u64) -> Log {
    println!("seed {seed}");
    Log::of(&History::of(Shape { actors: 4, keys: 6, commits: 200 }, &mut Random::new(seed)))
}

fn burst(lines: &[String]) -> Act {
    Act::Burst(lines.iter().cloned().map(Frame::text).collect())
}

fn settings(database_url: &str, upstream: &Upstream) -> Settings {
    Settings::new()
        .with("DATABASE_URL", database_url)
        .with("PLYR_SOURCES", format!("jetstream+ws://{}", upstream.address))
        .with("PLYR_READ_REPOS", "false")
}

/// The lag by `/ready`, if it is ready.
async fn lag_s(program: &Program) -> Result<f64, String> {
    let ready = program.get("/ready", &[]).await?;
    ready["lag_s"].as_f64().ok_or_else(|| format!("no lag in {ready}"))
}

/// The lag by `/status`, whatever it is.
async fn status_lag_s(program: &Program) -> Result<f64, String> {
    let status = program.get("/status", &[]).await?;
    status["lag_s"].as_f64().ok_or_else(|| format!("no lag in {status}"))
}

async fn until_caught_up(program: &Program) {
    program
        .wait_until("it says that it has caught up", async |program| match lag_s(program).await? {
            0.0 => Ok(()),
            lag => Err(format!("{lag} s behind")),
        })
        .await;
}

async fn until_behind(program: &Program, least_s: f64) -> f64 {
    program
        .wait_until("it says that it is behind", async |program| match status_lag_s(program).await? {
            lag if lag >= least_s => Ok(()),
            lag => Err(format!("{lag} s behind")),
        })
        .await;
    status_lag_s(program).await.expect("there was one")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h9_a_quiet_upstream_makes_nothing_late() {
    let log = old_log(91);
    let lines = log.lines.clone();
    let upstream = Upstream::start(move |_| vec![burst(&lines), Act::Stay]).await;
    let database = fresh().await;
    let settings = settings(&database.url, &upstream);
    let program = Program::serve(&settings).await;
    until_as(&database.pool, &log.model()).await;
    until_caught_up(&program).await;
    assert!(program.metrics().await.contains("plyr_lag_seconds{source=\"jetstream+ws://"), "no such metric");

    // It is away: what it has had since is unknown, and no more than that.
    drop(upstream);
    let lag = until_behind(&program, 1.0).await;
    assert!(lag < LATELY_S, "{lag} s behind: what was quiet counts as lost");
    assert!(program.terminate().success());
    let program = Program::serve(&settings).await;
    let lag = until_behind(&program, 1.0).await;
    assert!(lag < LATELY_S, "{lag} s behind after a restart: what was quiet counts as lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h9_a_backlog_is_behind_until_it_has_been_worked_off() {
    let log = old_log(92);
    let lines = log.lines.clone();
    let upstream = Upstream::start(move |_| {
        let parts = lines.chunks(10).flat_map(|part| [burst(part), Act::WaitForGo]);
        parts.chain([Act::Stay]).collect()
    })
    .await;
    let database = fresh().await;
    let program = Program::serve(&settings(&database.url, &upstream)).await;
    let parts = log.lines.len().div_ceil(10);
    let mut most_s = 0.0_f64;
    for _ in 0..parts {
        // A slow upstream, faster than the pause that says that it has nothing more.
        tokio::time::sleep(Duration::from_millis(250)).await;
        most_s = most_s.max(status_lag_s(&program).await.unwrap_or_default());
        assert!(lag_s(&program).await.is_err() || most_s < LONG_AGO_S, "ready in the midst of a backlog");
        upstream.go();
    }
    assert!(most_s > LONG_AGO_S, "at most {most_s} s behind while it worked off a backlog of last year");
    until_as(&database.pool, &log.model()).await;
    until_caught_up(&program).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h9_a_replayed_log_is_no_lag() {
    let log = old_log(93);
    let database = fresh().await;
    let settings = Settings::new().with("DATABASE_URL", &database.url);
    settings.run(&["replay", &log.file.path().display().to_string()]);
    until_as(&database.pool, &log.model()).await;
    let program = Program::start("api", &settings).await;
    let ready = program.get("/ready", &[]).await.expect("nothing is followed, so that nothing is behind");
    assert!(ready["lag_s"].is_null(), "{ready}");
}

/// A database, an upstream that sends a like of now when it is to go on, and the program that follows it.
async fn live() -> (TestDatabase, Upstream, Program) {
    let upstream = Upstream::start(|_| {
        let now = Clock::system().now();
        let message = |second: i64| {
            let (at, rkey) = (now.micros() + second * 1_000_000, format!("3kaaaaaaaaaa{}", second + 2));
            let body = like(&track_uri(0, 0), "2026-01-01T00:00:00Z");
            let commit = Commit::new(&did(0), at, vec![Operation::like(&rkey, body)]);
            Act::Text(String::from_utf8(v1_message(&commit, 0, at)).expect("it is text"))
        };
        vec![message(0), Act::WaitForGo, message(1), Act::Stay]
    })
    .await;
    let database = fresh().await;
    let program = Program::serve(&settings(&database.url, &upstream).with("PLYR_LAG_LIMIT_S", "3")).await;
    until(&database.pool, "SELECT count(*) = 1 FROM likes").await;
    (database, upstream, program)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h1_a_stream_that_waits_for_the_database_says_so() {
    let (database, upstream, program) = live().await;
    until_caught_up(&program).await;
    let mut holder = database.pool.begin().await.unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(APPLY_LOCK).execute(&mut *holder).await.unwrap();
    upstream.go();
    until_behind(&program, 3.0).await;
    let refusal = lag_s(&program).await.expect_err("ready while nothing is written");
    assert!(refusal.contains(": 503 ") && refusal.contains("behind"), "{refusal}");
    holder.rollback().await.unwrap();
    until(&database.pool, "SELECT count(*) = 2 FROM likes").await;
    until_caught_up(&program).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f2_connections_that_die_silently_are_replaced() {
    let log = old_log(94);
    let (lines, half) = (log.lines.clone(), log.lines.len() / 2);
    let upstream = Upstream::start(move |request| match request.connection {
        0 => vec![burst(&lines[..half]), Act::WaitForGo, burst(&lines[half..]), Act::Stay],
        _ => vec![burst(lines_from(&lines, request.cursor())), Act::Stay],
    })
    .await;
    let database = fresh().await;
    let (proxy, url) = Proxy::to(&database.url);
    let program = Program::serve(&settings(&url, &upstream)).await;
    until_as(&database.pool, &log.model_after(half)).await;
    until_caught_up(&program).await;

    let killed = proxy.kill_existing();
    assert!(killed > 2, "{killed} connections: the test shows nothing");
    let began = Instant::now();
    upstream.go();
    let mut has_said_so = false;
    let whole = log.model();
    let complete = until_as(&database.pool, &whole);
    tokio::pin!(complete);
    loop {
        tokio::select! {
            _ = &mut complete => break,
            lag = lag_s(&program) => has_said_so |= !lag.is_ok_and(|lag| lag < 5.0),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!(
        "{killed} connections died, {} came after them; writing went on after {:?}",
        proxy.accepted() - killed,
        began.elapsed()
    );
    assert!(has_said_so, "ready all the time while nothing was written");
    until_caught_up(&program).await;

    // And the end, with all of them dead once more.
    proxy.kill_existing();
    let began = Instant::now();
    assert!(program.terminate().success());
    assert!(began.elapsed() < Duration::from_secs(20), "it ended after {:?}", began.elapsed());
}
