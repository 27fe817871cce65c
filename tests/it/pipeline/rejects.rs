//! Rejects are kept for a time and up to a size, and never go silently; tried again, they do not undo what came later.

use plyr_likes::{clock::Clock, ingest, model::Collections};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{
    database::{TestDatabase, fresh},
    dump,
    history::{History, START_US, did, key, tid, track_uri},
    model::tid_text,
    process::{Process, command, get},
    run::{self, Log, until},
    wire::{Body, Commit, Operation, invalid, like},
};

/// Rejects with so many bytes each that do not compress, of two reasons, so many days old.
async fn refuse(pool: &PgPool, count: i32, days: i32) {
    sqlx::query(
        "INSERT INTO rejects (digest, source, reason, detail, raw_format, raw, raw_length, at)
        SELECT sha256(convert_to($2::text || '/' || n, 'UTF8')), 'a source',
            CASE WHEN n % 2 = 0 THEN 'lexicon' ELSE 'envelope' END, 'no good', 'jetstream_v1',
            (SELECT string_agg(sha256(convert_to(n || '/' || part, 'UTF8')), '') FROM generate_series(1, 32) part), 1024,
            now() - make_interval(days => $2)
        FROM generate_series(1, $1) n",
    )
    .bind(count)
    .bind(days)
    .execute(pool)
    .await
    .unwrap();
}

fn start(database: &TestDatabase, folder: &tempfile::TempDir, settings: &[(&str, &str)]) -> Process {
    let mut command = command(folder.path(), &["serve"]);
    command.env("DATABASE_URL", &database.url).envs(settings.iter().copied());
    let mut process = Process::start(command);
    process.wait_for("serving");
    process
}

async fn number(pool: &PgPool, question: &'static str) -> i64 {
    sqlx::query_scalar(question).fetch_one(pool).await.unwrap()
}

/// What one of the operator's commands prints.
fn say(database: &TestDatabase, arguments: &[&str]) -> String {
    let output = run::command(&database.url).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_rejects_go_and_stay_counted() {
    let (database, folder) = (fresh().await, tempfile::tempdir().unwrap());
    refuse(&database.pool, 1_201, 31).await;
    refuse(&database.pool, 7, 29).await;
    // Everything is young enough by default.
    let mut process = start(&database, &folder, &[]);
    process.wait_for("this indexer leads now");
    drop(process);
    assert_eq!(number(&database.pool, "SELECT count(*) FROM rejects").await, 1_208);

    let mut process = start(&database, &folder, &[("PLYR_REJECTS_DAYS_MAX", "30")]);
    let line = process.wait_for("deleted rejects");
    assert!(line.contains("count=1201") && line.contains("envelope 601, lexicon 600"), "{line}");
    assert_eq!(number(&database.pool, "SELECT count(*) FROM rejects WHERE at > now() - interval '30 days'").await, 7);
    assert_eq!(number(&database.pool, "SELECT count(*) FROM rejects").await, 7);

    let (_, metrics) = get(&process.address("admin"), "/metrics");
    assert!(metrics.contains("plyr_rejects_expired_total{reason=\"lexicon\"} 600"), "{metrics}");
    assert!(metrics.contains("plyr_rejects_expired_total{reason=\"not_storable\"} 0"), "{metrics}");
    let (_, answer) = get(&process.address("api"), "/status");
    let status: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(status["rejects"], json!({"envelope": 4, "lexicon": 3}));
    assert_eq!(status["rejects_expired"]["envelope"]["count"], 601);
    for arguments in [&["status"][..], &["rejects", "list"]] {
        let said = say(&database, arguments);
        assert!(said.contains("1201 more have expired: too old or too many"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oldest_of_too_many_rejects_go() {
    let (database, folder) = (fresh().await, tempfile::tempdir().unwrap());
    refuse(&database.pool, 5_000, 1).await;
    let newest = number(&database.pool, "SELECT max(id) FROM rejects").await;
    let mut process = start(&database, &folder, &[("PLYR_REJECTS_MB_MAX", "2")]);
    process.wait_for("deleted rejects");
    let left = number(&database.pool, "SELECT count(*) FROM rejects").await;
    let expired = number(&database.pool, "SELECT sum(count)::bigint FROM rejects_expired").await;
    assert_eq!(left + expired, 5_000);
    let bytes =
        number(&database.pool, "SELECT sum(pg_column_size(raw) + pg_column_size(detail) + 400)::bigint FROM rejects")
            .await;
    println!("{left} are left, with {bytes} bytes");
    assert!((2_090_000..=2_097_152).contains(&bytes), "{left} are left, with {bytes} bytes");
    assert_eq!(number(&database.pool, "SELECT min(id) FROM rejects").await, newest - left + 1, "not the oldest went");
    drop(process);

    // What is left fits: nothing more goes, although the files have not become smaller.
    let mut process = start(&database, &folder, &[("PLYR_REJECTS_MB_MAX", "2")]);
    process.wait_for("this indexer leads now");
    until(&database.pool, "SELECT EXISTS (SELECT FROM sources WHERE alive_at IS NOT NULL)").await;
    assert!(process.terminate().0.success());
    assert_eq!(number(&database.pool, "SELECT count(*) FROM rejects").await, left);
}

const AT: &str = "2025-01-01T00:00:00Z";

/// A record that is refused, and what becomes of its path a second later.
async fn refused_then(later: Operation) -> (TestDatabase, Log) {
    let database = fresh().await;
    let refused = Operation::like(&key(1, 0), invalid(json!({"$type": "fm.plyr.like"})));
    let commits = vec![
        Commit::new(&did(3), tid(START_US, 17), vec![refused]),
        Commit::new(&did(3), tid(START_US + 1_000_000, 17), vec![later]),
    ];
    let log = Log::of(&History { commits });
    log.replay_all(&database.url);
    let Body::Put { json, .. } = like(&track_uri(0, 0), AT) else { panic!("a like is put") };
    // What changes in life is the decoder; a test can only change the bytes.
    sqlx::query("UPDATE rejects SET raw = convert_to($1, 'UTF8'), raw_length = octet_length($1)")
        .bind(json.to_string())
        .execute(&database.pool)
        .await
        .unwrap();
    (database, log)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejects_tried_again_do_not_undo_what_came_later() {
    for later in [Operation::like(&key(1, 0), like(&track_uri(0, 1), AT)), Operation::like(&key(1, 0), Body::Delete)] {
        let (database, _log) = refused_then(later).await;
        assert_eq!(dump::count_rejects(&database.pool).await, 1);
        let before = dump::state(&database.pool).await;
        let retry = ingest::Retry {
            collections: Collections::of_namespace("fm.plyr").unwrap(),
            clock: Clock::system(),
            identities: None,
            is_strict: false,
        };
        let retried = ingest::retry_rejects(database.pool.clone(), retry, &[]).await.expect("an answer");
        assert_eq!((retried.applied, retried.ignored, retried.refused, retried.cut), (0, 1, 0, 0));
        assert_eq!(before, dump::state(&database.pool).await);
        assert_eq!(dump::count_rejects(&database.pool).await, 0);
        assert_eq!(dump::miscounted(&database.pool).await, Vec::<String>::new());
    }
}

/// A flood of one reason keeps a sample whole, and of the others all but the bytes: position and counts stay true, and what comes again is no
/// further reject.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h8_of_a_flood_a_sample_is_kept_whole() {
    let database = fresh().await;
    let bad = |number: i64| {
        let operation = Operation::like(
            &tid_text(tid(START_US + number, 3)),
            invalid(json!({"$type": "fm.plyr.like", "n": number})),
        );
        Commit::new(&did(3), tid(START_US + number * 1_000, 17), vec![operation])
    };
    let log = Log::of(&History { commits: (0..3_000).map(bad).collect() });
    for _ in 0..2 {
        log.replay_all(&database.url);
        let (all, whole, named) = sqlx::query_as::<_, (i64, i64, i64)>(
            "SELECT count(*), count(*) FILTER (WHERE octet_length(raw) = raw_length), count(DISTINCT rkey) FROM rejects",
        )
        .fetch_one(&database.pool)
        .await
        .unwrap();
        assert_eq!((all, named), (3_000, 3_000));
        assert!((500..3_000).contains(&whole), "{whole} of 3000 are kept whole");
    }
    let retried = say(&database, &["rejects", "retry", "--all"]);
    assert!(retried.contains("cut="), "{retried}");
}
