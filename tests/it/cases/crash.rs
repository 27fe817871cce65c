//! Cases T1 and T2: the program itself on a recorded log and on an upstream, again and again, and killed at any moment.

use std::{
    process::Child,
    time::{Duration, Instant},
};

use sqlx::{Connection as _, PgConnection, PgPool};
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::support::{
    database::fresh,
    dump,
    history::{History, Random, World as Shape},
    model::{Kind, differences, shows},
    run::{Log, PATIENCE, command, figure, lines_from, until, until_as},
    upstream::{Act, Upstream},
};

const NO_OTHER_WORKS: &str = "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database()
    AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND state <> 'idle'";

fn a_long_history(seed: u64) -> History {
    History::of(Shape { actors: 40, keys: 60, commits: 6_000 }, &mut Random::new(seed))
}

fn kill_9(mut child: Child) {
    child.kill().expect("our own child");
    child.wait().expect("our own child");
}

#[tokio::test]
async fn t1_the_program_replays_a_log_twice() {
    let database = fresh().await;
    let log = Log::of(&a_long_history(11));
    let first = log.replay_all(&database.url);
    let state = dump::state(&database.pool).await;
    assert_eq!(differences(&log.model().state(), &state), Vec::<String>::new());
    assert_eq!(dump::miscounted(&database.pool).await, Vec::<String>::new());
    assert!(figure(&first, "applied") > 0 && figure(&first, "rejected") > 0, "{first}");
    let (ids, rejects) = (dump::track_ids(&database.pool).await, dump::count_rejects(&database.pool).await);
    let second = log.replay_all(&database.url);
    assert_eq!(figure(&second, "applied"), 0, "{second}");
    assert_eq!(state, dump::state(&database.pool).await);
    // Other cuts into batches may mention a track by a like that is overtaken; what has an id keeps it.
    let later = dump::track_ids(&database.pool).await;
    assert!(ids.iter().all(|(uri, id)| later.get(uri) == Some(id)), "a track's id changed");
    assert_eq!(rejects, dump::count_rejects(&database.pool).await);
}

/// How many of the log's first lines are in the database. Fails when it holds what no number of lines comes to: half a
/// batch, or something lost.
async fn lines_in(pool: &PgPool, log: &Log) -> usize {
    until(pool, NO_OTHER_WORKS).await;
    let found = dump::state(pool).await;
    let last = log.writes.iter().rposition(|writes| writes.iter().any(|write| shows(&found, write)));
    let lines = last.map_or(0, |last| last + 1);
    let wrong = differences(&log.model_after(lines).state(), &found);
    assert!(wrong.is_empty(), "line {lines} is in, but not all before it:\n{}", wrong.join("\n"));
    assert_eq!(dump::miscounted(pool).await, Vec::<String>::new());
    lines
}

/// Fails unless the whole log is in. Its last lines may be such as change nothing.
async fn holds_all_of(pool: &PgPool, log: &Log) {
    assert_eq!(differences(&log.model().state(), &dump::state(pool).await), Vec::<String>::new());
    assert_eq!(dump::miscounted(pool).await, Vec::<String>::new());
}

/// Waits until there are more rows than there were, or the child has ended.
async fn until_it_moves(pool: &PgPool, child: &mut Child, before: i64) {
    let started = Instant::now();
    let rows = "SELECT count(*) FROM likes";
    while sqlx::query_scalar::<_, i64>(rows).fetch_one(pool).await.expect("an answer") <= before
        && child.try_wait().expect("our own child").is_none()
    {
        assert!(started.elapsed() < PATIENCE, "the program does nothing");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn count_likes(pool: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM likes").fetch_one(pool).await.expect("an answer")
}

fn a_moment(random: &mut Random, at_most_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(random.between(0, at_most_ms)).expect("not negative"))
}

#[tokio::test]
async fn t2_kill_9_at_random_moments_of_a_replay() {
    let first = u64::from(std::process::id());
    let mut inside = 0;
    for seed in first..first + 3 {
        println!("seed {seed}");
        let mut random = Random::new(seed);
        let (log, database) = (Log::of(&a_long_history(seed)), fresh().await);
        for run in 0..4 {
            let before = count_likes(&database.pool).await;
            let mut child = log.replay(&database.url);
            if run > 0 {
                until_it_moves(&database.pool, &mut child, before).await;
            }
            tokio::time::sleep(a_moment(&mut random, 100)).await;
            kill_9(child);
            let lines = lines_in(&database.pool, &log).await;
            println!("killed with {lines} of {} lines in", log.lines.len());
            inside += usize::from(lines > 0 && lines < log.lines.len());
        }
        log.replay_all(&database.url);
        holds_all_of(&database.pool, &log).await;
    }
    assert!(inside > 0, "no run was killed between its first and its last line: the test shows nothing");
}

#[tokio::test]
async fn t2_kill_9_inside_the_transaction() {
    let database = fresh().await;
    let log = Log::of(&a_long_history(5));
    let tables = ["LOCK TABLE track_counts IN ACCESS EXCLUSIVE MODE", "LOCK TABLE rejects IN ACCESS EXCLUSIVE MODE"];
    for lock in tables {
        let mut holder = PgConnection::connect(&database.url).await.expect("a connection");
        let mut transaction = holder.begin().await.expect("a transaction");
        sqlx::query(lock).execute(&mut *transaction).await.expect("a lock");
        let child = log.replay(&database.url);
        let waits = "SELECT count(*) > 0 FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock' AND xact_start IS NOT NULL";
        until(&database.pool, waits).await;
        kill_9(child);
        transaction.rollback().await.expect("the lock is given back");
        assert_eq!(lines_in(&database.pool, &log).await, 0, "a transaction that never committed left something");
    }
    log.replay_all(&database.url);
    holds_all_of(&database.pool, &log).await;
}

/// An upstream that sends from the cursor on what the log holds.
async fn upstream_of(log: &Log) -> Upstream {
    let lines = log.lines.clone();
    Upstream::start(move |request| {
        let mut acts: Vec<Act> = lines_from(&lines, request.cursor())
            .chunks(500)
            .map(|chunk| Act::Burst(chunk.iter().cloned().map(Frame::text).collect()))
            .collect();
        acts.push(Act::Stay);
        acts
    })
    .await
}

/// The program that follows an upstream.
fn follow(database_url: &str, upstream: &Upstream, folder: &std::path::Path) -> Child {
    command(database_url)
        .arg("index")
        .env("PLYR_SOURCES", format!("jetstream+ws://{}", upstream.address))
        .env("PLYR_ADMIN_BIND", "127.0.0.1:0")
        .env("PLYR_DATA_DIR", folder)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the program starts")
}

#[tokio::test]
async fn t2_kill_9_inside_a_transaction_with_a_position() {
    let (database, folder) = (fresh().await, tempfile::tempdir().expect("a folder"));
    // Its first line is a like, so that the first batch has one, however short it is.
    let log = (7..107)
        .map(|seed| Log::of(&History::of(Shape { actors: 40, keys: 60, commits: 600 }, &mut Random::new(seed))))
        .find(|log| log.writes[0].iter().any(|write| write.kind == Kind::Like))
        .expect("likes are frequent");
    let upstream = upstream_of(&log).await;
    let mut holder = PgConnection::connect(&database.url).await.expect("a connection");
    let mut transaction = holder.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE likes IN ACCESS EXCLUSIVE MODE").execute(&mut *transaction).await.expect("a lock");
    let child = follow(&database.url, &upstream, folder.path());
    // Who waits is the writer of a batch, and not one who counts.
    let waits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database()
        AND wait_event_type = 'Lock' AND xact_start IS NOT NULL AND query LIKE '%WITH ORDINALITY%JOIN likes%'";
    until(&database.pool, waits).await;
    let held = dump::positions(&database.pool).await;
    kill_9(child);
    assert_eq!(held, [], "the position is there, and what it stands for is not");
    transaction.rollback().await.expect("the lock is given back");
    assert_eq!(lines_in(&database.pool, &log).await, 0, "a transaction that never committed left something");
    assert_eq!(dump::positions(&database.pool).await, [], "it left its position");
    let child = follow(&database.url, &upstream, folder.path());
    until_as(&database.pool, &log.model()).await;
    kill_9(child);
}

#[tokio::test]
async fn t2_kill_9_while_following_an_upstream() {
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let database = fresh().await;
    let log = Log::of(&a_long_history(seed));
    let upstream = upstream_of(&log).await;
    let folder = tempfile::tempdir().expect("a folder");
    let start = || follow(&database.url, &upstream, folder.path());
    for run in 0..5 {
        let before = count_likes(&database.pool).await;
        let mut child = start();
        if run > 0 && lines_in(&database.pool, &log).await < log.lines.len() {
            until_it_moves(&database.pool, &mut child, before).await;
        }
        tokio::time::sleep(a_moment(&mut random, 100)).await;
        kill_9(child);
        let lines = lines_in(&database.pool, &log).await;
        let position = dump::positions(&database.pool).await.first().map(|(_, _, value)| *value);
        println!("killed with {lines} of {} lines in, at {position:?}", log.lines.len());
        let stands_for = position.map_or(0, |position| log.lines_until(position));
        // Lines that change nothing do not show; those that the position stands for must all be in.
        let wrong = differences(&log.model_after(stands_for.max(lines)).state(), &dump::state(&database.pool).await);
        assert!(wrong.is_empty(), "the position is ahead of the rows:\n{}", wrong.join("\n"));
    }
    let child = start();
    until_as(&database.pool, &log.model()).await;
    kill_9(child);
    assert!(upstream.requests().len() >= 2, "the program asked the upstream again");
}
