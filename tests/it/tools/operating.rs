//! What an operator sees and does: figures that grow old, rejects tried again.

use plyr_likes::{clock::Clock, ingest, model::Collections};
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::support::{
    database::fresh,
    dump,
    history::{History, Random, START_US, World as Shape, did, key, tid, track_uri},
    program::{Program, Settings},
    run::{Log, until, until_as},
    upstream::{Act, Upstream},
    wire::{Body, Commit, Operation, invalid, like},
};

const AT: &str = "2025-01-01T00:00:00Z";

/// A gauge of the only source.
async fn gauge(program: &Program, name: &str) -> Result<f64, String> {
    let metrics = program.metrics().await;
    let line = metrics.lines().find(|line| line.starts_with(&format!("{name}{{source=\"jetstream+ws://127.0.0.1:")));
    let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    value.ok_or_else(|| format!("no {name} in {metrics}"))
}

/// Waits until a gauge of the only source shows this much.
async fn until_gauge(program: &Program, name: &str, least: f64) -> f64 {
    program
        .wait_until("a gauge has grown", async |program| match gauge(program, name).await? {
            value if value >= least => Ok(()),
            value => Err(format!("{name} is {value}, not yet {least}")),
        })
        .await;
    gauge(program, name).await.expect("it was there")
}

#[tokio::test]
async fn what_an_indexer_says_of_itself_grows_old_while_nothing_comes() {
    let log = Log::of(&History::of(Shape { actors: 2, keys: 2, commits: 4 }, &mut Random::new(4)));
    let lines = log.lines.clone();
    let upstream =
        Upstream::start(move |_| vec![Act::Burst(lines.iter().cloned().map(Frame::text).collect()), Act::Stay]).await;
    let database = fresh().await;
    let source = format!("jetstream+ws://{}", upstream.address);
    let settings = Settings::new().with("DATABASE_URL", &database.url).with("PLYR_SOURCES", source);
    let program = Program::serve(&settings).await;
    until_as(&database.pool, &log.model()).await;
    until(&database.pool, "SELECT EXISTS (SELECT FROM sources WHERE state = 'connected')").await;
    let first = until_gauge(&program, "plyr_position_age_seconds", 0.0).await;
    until_gauge(&program, "plyr_position_age_seconds", first + 1.0).await;
    let renewed =
        "SELECT EXISTS (SELECT FROM sources WHERE state = 'connected' AND alive_at > changed_at + interval '5 s')";
    until(&database.pool, renewed).await;
    assert_eq!(upstream.requests().len(), 1, "it connected again: the test is void");
    drop(program);

    // What is stored is where the next one begins.
    let silent = settings.with("PLYR_SOURCES", "jetstream+ws://127.0.0.1:9");
    sqlx::query("UPDATE positions SET source = 'jetstream+ws://127.0.0.1:9'")
        .execute(&database.pool)
        .await
        .expect("one");
    let program = Program::serve(&silent).await;
    until_gauge(&program, "plyr_lag_seconds", 1.0).await;
    until_gauge(&program, "plyr_position_age_seconds", 1.0).await;
    let metrics = program.metrics().await;
    assert!(metrics.contains("plyr_queue_depth{queue=\"deliveries\"} 0"), "{metrics}");
}

#[tokio::test]
async fn a_reject_that_can_be_read_by_now_is_applied_and_gone() {
    let database = fresh().await;
    let reads_now = like(&track_uri(0, 0), AT);
    let Body::Put { json, .. } = &reads_now else { panic!("a like is put") };
    let commit = Commit::new(
        &did(3),
        tid(START_US, 17),
        vec![Operation::like(&key(1, 0), invalid(serde_json::json!({"$type": "fm.plyr.like"})))],
    );
    let log = Log::of(&History { commits: vec![commit] });
    let collections = || Collections::of_namespace("fm.plyr").expect("a namespace");
    let reader = std::fs::File::open(log.file.path()).expect("the log");
    let summary = ingest::replay(database.pool.clone(), collections(), Clock::system(), Box::new(reader), |_| {})
        .await
        .expect("the replay goes on");
    assert_eq!((summary.applied, summary.rejected), (0, 1), "{summary:?}");
    let retry = || {
        let with =
            ingest::Retry { collections: collections(), clock: Clock::system(), identities: None, is_strict: false };
        ingest::retry_rejects(database.pool.clone(), with, &[])
    };
    let still = retry().await.expect("an answer");
    assert_eq!((still.applied, still.refused, dump::count_rejects(&database.pool).await), (0, 1, 1));

    // What changes in life is the decoder; a test can only change the bytes.
    sqlx::query("UPDATE rejects SET raw = convert_to($1, 'UTF8'), raw_length = octet_length($1)")
        .bind(json.to_string())
        .execute(&database.pool)
        .await
        .expect("one");
    let retried = retry().await.expect("an answer");
    assert_eq!((retried.applied, retried.refused, dump::count_rejects(&database.pool).await), (1, 0, 0));
    let (subjects, counts) =
        ("SELECT count(*) FROM likes WHERE subject_id IS NOT NULL", "SELECT sum(like_count)::bigint FROM track_counts");
    for question in [subjects, counts] {
        assert_eq!(sqlx::query_scalar::<_, i64>(question).fetch_one(&database.pool).await.expect("a count"), 1);
    }
}
