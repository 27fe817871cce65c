//! Cases S1, S2 and S5: what the database does, and what readers see. S3 is the property test.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use plyr_likes::{clock::Clock, ingest, model::Collections};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::support::{
    database::fresh,
    dump,
    history::{History, Random, START_US, World as Shape, did, key, tid, track_uri},
    http,
    model::{What, differences},
    program::{Program, Settings},
    proxy::Door,
    run::{Log, PATIENCE, lines_from, until, until_as},
    server::Server,
    upstream::{Act, Upstream},
    wire::{Body, Commit, Operation, invalid, like, list, some_cid, track, updated},
    world::World,
};

const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);
const AT: &str = "2025-01-01T00:00:00Z";

fn rev(second: i64) -> i64 {
    tid(START_US + second * 1_000_000, 17)
}

/// What the count of a track's likes is answered with.
async fn answer(program: &Program, uri: &str) -> Result<i64, String> {
    let answer = program.get("/xrpc/fm.plyr.feed.getTrackLikes", &[("uri", uri)]).await?;
    answer["count"].as_i64().ok_or_else(|| format!("no count in {answer}"))
}

/// While the database is away, for this long: every answer is 503 and none is wrong.
async fn answers_503(program: &Program, uri: &str, time: Duration) {
    let started = Instant::now();
    let mut answers = 0;
    while started.elapsed() < time {
        let refusal = answer(program, uri).await.expect_err("an answer without a database");
        assert!(refusal.contains(": 503 "), "{refusal}");
        let refusal = program.get("/ready", &[]).await.expect_err("ready without a database");
        assert!(refusal.contains(": 503 "), "{refusal}");
        program.get("/health", &[]).await.expect("alive all the same");
        answers += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(answers > 0);
}

#[tokio::test]
async fn s1_postgres_away_for_ten_seconds_and_restarted() {
    let log = Log::of(&History::of(Shape { actors: 20, keys: 30, commits: 3_000 }, &mut Random::new(1)));
    let (uri, count) = log.model().counts().into_iter().max_by_key(|(_, count)| *count).expect("there are likes");
    let third = log.lines.len() / 3;
    let parts: Vec<Vec<String>> = log.lines.chunks(third + 1).map(<[String]>::to_vec).collect();
    assert_eq!(parts.len(), 3);
    let lines = log.lines.clone();
    let upstream = Upstream::start(move |request| {
        let burst = |lines: &[String]| Act::Burst(lines.iter().cloned().map(Frame::text).collect());
        match request.connection {
            0 => vec![burst(&parts[0]), Act::WaitForGo, burst(&parts[1]), Act::WaitForGo, burst(&parts[2]), Act::Stay],
            _ => vec![burst(lines_from(&lines, request.cursor())), Act::Stay],
        }
    })
    .await;
    let server = Server::new();
    let settings = Settings::new()
        .with("DATABASE_URL", server.url())
        .with("PLYR_SOURCES", format!("jetstream+ws://{}", upstream.address));
    let program = Program::serve(&settings).await;
    let first = third + 1;
    until_as(&server.pool().await, &log.model_after(first)).await;

    server.stop();
    upstream.go();
    answers_503(&program, &uri, Duration::from_secs(10)).await;
    server.start();
    until_as(&server.pool().await, &log.model_after(2 * first)).await;
    let before = log.model_after(2 * first).counts().get(&uri).copied().unwrap_or(0);
    program
        .wait_until("the API answers again", async |program| match answer(program, &uri).await? {
            found if found == before => Ok(()),
            found => Err(format!("{found} likes instead of {before}")),
        })
        .await;

    // A restart in the middle of the flow.
    upstream.go();
    server.restart();
    let pool = server.pool().await;
    until_as(&pool, &log.model()).await;
    assert_eq!(dump::miscounted(&pool).await, Vec::<String>::new());
    program
        .wait_until("the API shows the last count", async |program| match answer(program, &uri).await? {
            found if found == count => Ok(()),
            found => Err(format!("{found} likes instead of {count}")),
        })
        .await;
    assert!(program.terminate().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f12_a_database_that_moves_to_another_of_its_hosts_is_followed() {
    let log = Log::of(&History::of(Shape { actors: 10, keys: 10, commits: 300 }, &mut Random::new(95)));
    let (lines, half) = (log.lines.clone(), log.lines.len() / 2);
    let upstream = Upstream::start(move |request| {
        let burst = |lines: &[String]| Act::Burst(lines.iter().cloned().map(Frame::text).collect());
        match request.connection {
            0 => vec![burst(&lines[..half]), Act::WaitForGo, burst(&lines[half..]), Act::Stay],
            _ => vec![burst(lines_from(&lines, request.cursor())), Act::Stay],
        }
    })
    .await;
    let database = fresh().await;
    let (first, second) = (Door::to(&database.url).await, Door::to(&database.url).await);
    let (before, query) = database.url.split_once('?').unwrap();
    let (name, user) = (before.rsplit('/').next().unwrap(), query.split("user=").nth(1).unwrap());
    // Nothing is at the first of them.
    let url = format!("postgres://{user}@127.0.0.1:9,{},{}/{name}", first.address, second.address);
    let settings =
        Settings::new().with("DATABASE_URL", url).with("PLYR_SOURCES", format!("jetstream+ws://{}", upstream.address));
    let program = Program::serve(&settings).await;
    until_as(&database.pool, &log.model_after(half)).await;
    drop(first);
    upstream.go();
    until_as(&database.pool, &log.model()).await;
    program.wait_until("it is ready", async |program| program.get("/ready", &[]).await.map(drop)).await;
    assert!(program.terminate().success());
}

/// Five thousand likes of two hundred tracks, a second apart.
fn five_thousand() -> Vec<Commit> {
    (0..5_000_usize)
        .map(|number| {
            let body = like(&track_uri(0, number % 200), AT);
            let second = i64::try_from(number).expect("small");
            Commit::new(&did(3 + number % 700), rev(second), vec![Operation::like(&key(1, number), body)])
        })
        .collect()
}

#[tokio::test]
async fn s2_a_poison_record_inside_a_batch_of_five_thousand() {
    let mut world = World::new().await;
    let mut commits = five_thousand();
    let Body::Put { json, .. } = track("a\u{0}b", AT) else { panic!("a track is a put") };
    commits[2_500] = Commit::new(&did(0), rev(9), vec![Operation::track(&key(3, 0), invalid(json))]);
    let applied = world.commit(&commits).await;
    assert_eq!((applied.applied, applied.rejected), (4_999, 1));
    world.check().await;
}

#[tokio::test]
async fn s2_a_row_that_postgres_refuses_inside_a_batch_of_five_thousand() {
    let database = fresh().await;
    // Stands for whatever our decoder lets through and our tables do not.
    sqlx::query("ALTER TABLE tracks ADD CHECK (title <> 'poison')")
        .execute(&database.pool)
        .await
        .expect("a constraint");
    let mut commits = five_thousand();
    commits[2_500] = Commit::new(&did(0), rev(9), vec![Operation::track(&key(3, 0), track("poison", AT))]);
    let mut log = Log::of(&History { commits });
    let reader = std::fs::File::open(log.file.path()).expect("the log");
    let collections = Collections::of_namespace("fm.plyr").expect("a namespace");
    let replay = ingest::replay(database.pool.clone(), collections, Clock::system(), Box::new(reader), |_| {});
    let summary = timeout(PATIENCE, replay)
        .await
        .expect("the row that Postgres refuses must not stop what is behind it")
        .expect("the replay goes on");
    assert_eq!((summary.applied, summary.rejected), (4_999, 1), "{summary:?}");
    log.writes[2_500][0].what = What::Invalid;
    let found = dump::state(&database.pool).await;
    assert_eq!(differences(&log.model().state(), &found), Vec::<String>::new());
    assert_eq!(dump::miscounted(&database.pool).await, Vec::<String>::new());
    let reasons: Vec<(String, String)> = sqlx::query_as("SELECT reason, convert_from(raw, 'UTF8') FROM rejects")
        .fetch_all(&database.pool)
        .await
        .expect("the table is there");
    assert_eq!(reasons.len(), 1);
    assert!(reasons[0].0 == "not_storable" && reasons[0].1.contains("poison"), "{reasons:?}");
}

#[tokio::test]
async fn s1_a_full_disk_a_deadlock_a_serialization_failure_are_tried_again() {
    let database = fresh().await;
    // A sequence is not rolled back: each of these errors happens once.
    sqlx::raw_sql(
        "CREATE SEQUENCE attempts;
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE codes text[] := ARRAY['53100', '40P01', '40001', '53300', '57014'];
        BEGIN
            IF nextval('attempts') <= 5 THEN RAISE EXCEPTION 'not now' USING ERRCODE = codes[currval('attempts')]; END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER fails BEFORE INSERT ON likes FOR EACH STATEMENT EXECUTE FUNCTION fail();
        -- And these at COMMIT, when everything else has been taken.
        CREATE SEQUENCE endings;
        CREATE FUNCTION fail_late() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE codes text[] := ARRAY['53100', '40001', '40P01'];
        BEGIN
            IF nextval('endings') <= 3 THEN RAISE EXCEPTION 'not now' USING ERRCODE = codes[currval('endings')]; END IF;
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER fails_late AFTER INSERT ON likes DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION fail_late()",
    )
    .execute(&database.pool)
    .await
    .expect("a trigger");
    let log = Log::of(&History::of(Shape { actors: 5, keys: 10, commits: 200 }, &mut Random::new(6)));
    let reader = std::fs::File::open(log.file.path()).expect("the log");
    let collections = Collections::of_namespace("fm.plyr").expect("a namespace");
    ingest::replay(database.pool.clone(), collections, Clock::system(), Box::new(reader), |_| {})
        .await
        .expect("the replay goes on");
    assert_eq!(differences(&log.model().state(), &dump::state(&database.pool).await), Vec::<String>::new());
    assert_eq!(dump::miscounted(&database.pool).await, Vec::<String>::new());
    let (attempts, endings): (i64, i64) =
        sqlx::query_as("SELECT a.last_value, e.last_value FROM attempts a, endings e")
            .fetch_one(&database.pool)
            .await
            .expect("one");
    assert!(attempts > 5 && endings > 3, "{attempts}, {endings}: not every error happened");
    let wronged = "SELECT count(*) FROM rejects WHERE reason = 'not_storable'";
    assert_eq!(sqlx::query_scalar::<_, i64>(wronged).fetch_one(&database.pool).await.expect("a count"), 0);
}

#[tokio::test]
async fn s1_an_error_that_is_about_no_row_and_no_outage_ends_the_index() {
    let database = fresh().await;
    // Stands for a mistake of ours: what plpgsql raises without a code is of class P0.
    sqlx::raw_sql(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'our mistake'; END $$;
        CREATE TRIGGER fails BEFORE INSERT ON likes FOR EACH STATEMENT EXECUTE FUNCTION fail()",
    )
    .execute(&database.pool)
    .await
    .expect("a trigger");
    let log = Log::of(&History::of(Shape { actors: 5, keys: 10, commits: 20 }, &mut Random::new(6)));
    let reader = std::fs::File::open(log.file.path()).expect("the log");
    let collections = Collections::of_namespace("fm.plyr").expect("a namespace");
    let replay = ingest::replay(database.pool.clone(), collections, Clock::system(), Box::new(reader), |_| {});
    let error = timeout(PATIENCE, replay).await.expect("it is not tried for ever").expect_err("it was not taken");
    assert!(error.to_string().contains("our mistake"), "{error}");
}

const FANS: usize = 20;

/// In this round every fan moves on to the round's track, and list, track title and profile name the round.
fn a_round(round: usize) -> Vec<Commit> {
    let second = i64::try_from(round).expect("few");
    let name = format!("round {round}");
    let mut commits: Vec<Commit> = (3..3 + FANS)
        .map(|fan| {
            let items = [(track_uri(0, round % 7), some_cid("x"))];
            let mut operations = vec![
                Operation::like(&key(1, round), like(&track_uri(0, round % 7), AT)),
                Operation::list(&key(2, 0), updated(list(&items, Some(&name), Some("liked"), (AT, None)))),
            ];
            if let Some(before) = round.checked_sub(1) {
                operations.push(Operation::like(&key(1, before), Body::Delete));
            }
            Commit::new(&did(fan), rev(second), operations)
        })
        .collect();
    commits.push(Commit::new(&did(0), rev(second), vec![Operation::track(&key(3, 0), updated(track(&name, AT)))]));
    commits
}

/// One statement is one moment of the database: likes, kept counts, names of lists, title of the track.
const MOMENT: &str = "SELECT (SELECT count(*) FROM likes WHERE subject_id IS NOT NULL),
    (SELECT coalesce(sum(like_count), 0)::bigint FROM track_counts),
    (SELECT count(*) FROM (SELECT name FROM lists UNION SELECT title FROM tracks WHERE title IS NOT NULL) names),
    (SELECT max(title) FROM tracks)";

#[tokio::test]
async fn s5_readers_never_see_half_a_batch() {
    let mut world = World::new().await;
    world.commit(&a_round(0)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (pool, stopped) = (world.database.pool.clone(), stop.clone());
    let reader = tokio::spawn(async move {
        let mut seen = std::collections::BTreeSet::new();
        let fans = i64::try_from(FANS).expect("few");
        while !stopped.load(Ordering::Relaxed) {
            let (likes, counted, names, round): (i64, i64, i64, String) =
                sqlx::query_as(MOMENT).fetch_one(&pool).await.expect("an answer");
            assert_eq!((likes, counted, names), (fans, fans, 1), "half a batch is seen in {round}");
            seen.insert(round);
        }
        seen
    });
    let mut round = 0;
    while round < 100 {
        round += 1;
        world.commit(&a_round(round)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let seen = reader.await.expect("no reader saw half a batch");
    println!("{} of {round} rounds were seen", seen.len());
    assert!(seen.len() > 10, "the reader hardly read: {seen:?}");
    world.check().await;
}

#[tokio::test]
async fn s1_requests_that_hold_every_connection_do_not_hold_up_the_index() {
    let log = Log::of(&History::of(Shape { actors: 5, keys: 10, commits: 100 }, &mut Random::new(3)));
    let lines = log.lines.clone();
    let upstream = Upstream::start(move |_| {
        let burst = Act::Burst(lines.iter().cloned().map(Frame::text).collect());
        vec![Act::WaitForGo, burst, Act::Stay]
    })
    .await;
    let database = fresh().await;
    let source = format!("jetstream+ws://{}", upstream.address);
    let settings = Settings::new().with("DATABASE_URL", &database.url).with("PLYR_SOURCES", source);
    let program = Program::serve(&settings).await;
    upstream.wait_until(|upstream| !upstream.requests().is_empty()).await;

    // Who asks is looked up in a table that the index never touches: these requests wait, each with its connection.
    let mut holder = database.pool.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE").execute(&mut *holder).await.expect("a lock");
    let client = http::client(REQUEST_TIMEOUT);
    let mut requests = tokio::task::JoinSet::new();
    let is_held = Arc::new(AtomicBool::new(true));
    // The database ends each after two seconds, and others come: pages take three quarters of the connections, the batch the rest.
    for number in 0..40 {
        let (client, api, is_held) = (client.clone(), program.api.clone(), is_held.clone());
        requests.spawn(async move {
            while is_held.load(Ordering::Relaxed) {
                let request = match number % 2 {
                    0 => client.get(format!("{api}/tracks/")),
                    _ => client.post(format!("{api}/tracks/likes/batch")).body("{\"track_ids\":[1]}"),
                };
                let _ = request.bearer_auth("a token").send().await;
            }
        });
    }
    let all_wait = "SELECT count(*) >= 16 FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until(&database.pool, all_wait).await;
    upstream.go();
    until_as(&database.pool, &log.model()).await;
    until(&database.pool, all_wait).await;
    is_held.store(false, Ordering::Relaxed);
    holder.rollback().await.expect("the lock is given back");

    // The database ends what no request may take, and the API has its connections again.
    while requests.join_next().await.is_some() {}
    program.get("/tracks/", &[]).await.expect("an answer");
    let metrics = program.metrics().await;
    for pool in ["api", "index"] {
        assert!(metrics.contains(&format!("plyr_pool_connections{{pool=\"{pool}\",state=\"busy\"}}")), "{metrics}");
    }
}
