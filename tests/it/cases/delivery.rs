//! A fault of the delivery is not one of the record: what did not come as its owner wrote it hides nothing, and the repo is to be read.

use std::io::Write as _;

use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{
    database::fresh,
    dump,
    history::{History, START_US, did, key, tid, track_uri},
    model::differences,
    run::{Log, command},
    wire::{Commit, Operation, like, updated},
};

const AT: &str = "2025-01-01T00:00:00Z";
/// More than any clock shows while this is of use.
const NEXT_CENTURY_US: i64 = 5_000_000_000_000_000;

/// A like, and an update of it that names another track: each a message of Jetstream v1.
fn like_and_update() -> Log {
    let path = key(1, 0);
    let first = Operation::like(&path, like(&track_uri(0, 0), AT));
    let second = Operation::like(&path, updated(like(&track_uri(0, 1), AT)));
    let commits = vec![
        Commit::new(&did(3), tid(START_US, 17), vec![first]),
        Commit::new(&did(3), tid(START_US + 1_000_000, 17), vec![second]),
    ];
    Log::of(&History { commits })
}

fn replay(database_url: &str, lines: &[String]) -> String {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for line in lines {
        writeln!(file, "{line}").unwrap();
    }
    let output = command(database_url).arg("replay").arg(file.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Whose repos are to be read because something did not come, and how many gaps there are in all.
async fn gaps(pool: &PgPool) -> Vec<(Option<String>, String)> {
    sqlx::query_as("SELECT did, reason FROM gaps WHERE state <> 'closed' ORDER BY id").fetch_all(pool).await.unwrap()
}

/// Each way in which a message can fail to say what its owner wrote, and whether it still says of which record.
fn faults(update: &str) -> Vec<(&'static str, Value)> {
    let whole: Value = serde_json::from_str(update).unwrap();
    let mut found = Vec::new();
    for field in ["record", "cid", "operation", "rkey", "rev", "collection"] {
        for amiss in [None, Some(Value::Null), Some(json!(true)), Some(json!("\u{0}"))] {
            // Any JSON may be a record, and one that is no object is the owner's fault; any text may be a collection of others.
            if field == "record" && amiss.as_ref().is_some_and(|amiss| !amiss.is_null())
                || field == "collection" && amiss.as_ref().is_some_and(Value::is_string)
            {
                continue;
            }
            let mut message = whole.clone();
            let commit = message["commit"].as_object_mut().unwrap();
            match amiss {
                None => drop(commit.remove(field)),
                Some(value) => drop(commit.insert(field.to_owned(), value)),
            }
            found.push((field, message));
        }
    }
    let mut unknown = whole;
    unknown["commit"]["operation"] = "upsert".into();
    found.push(("operation", unknown));
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f1_what_did_not_come_as_it_was_written_hides_nothing() {
    let log = like_and_update();
    for (field, message) in faults(&log.lines[1]) {
        let database = fresh().await;
        replay(&database.url, &log.lines[..1]);
        let summary = replay(&database.url, &[message.to_string()]);
        assert!(summary.contains("rejected=1"), "{field}: {summary}");
        let lines = differences(&log.model_after(1).state(), &dump::state(&database.pool).await);
        assert!(lines.is_empty(), "{field}: the version that was shown is not as it was:\n{}", lines.join("\n"));
        assert_eq!(gaps(&database.pool).await, [(Some(did(3)), "undelivered".to_owned())], "{field}");
        // What comes whole afterwards is taken.
        replay(&database.url, &log.lines);
        let lines = differences(&log.model().state(), &dump::state(&database.pool).await);
        assert!(lines.is_empty(), "{field}: {}", lines.join("\n"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h5_a_rev_of_the_future_pins_nothing() {
    let (log, database) = (like_and_update(), fresh().await);
    replay(&database.url, &log.lines[..1]);
    let put = |number| like(&track_uri(0, number), AT);
    for operation in [
        Operation::like(&key(1, 0), updated(put(2))),
        Operation::like(&key(1, 0), crate::support::wire::Body::Delete),
        Operation::like(&key(1, 0), crate::support::wire::invalid(json!({"$type": "fm.plyr.like"}))),
    ] {
        let commit = Commit::new(&did(3), tid(NEXT_CENTURY_US, 17), vec![operation]);
        let summary = replay(&database.url, &Log::of(&History { commits: vec![commit] }).lines);
        assert!(summary.contains("rejected=1"), "{summary}");
    }
    let reasons: Vec<String> =
        sqlx::query_scalar("SELECT reason FROM rejects ORDER BY id").fetch_all(&database.pool).await.unwrap();
    assert_eq!(reasons, ["future_rev"; 3]);
    assert_eq!(gaps(&database.pool).await, [(Some(did(3)), "undelivered".to_owned())]);
    let lines = differences(&log.model_after(1).state(), &dump::state(&database.pool).await);
    assert!(lines.is_empty(), "{}", lines.join("\n"));
    // Neither does trying again what was refused.
    let output = command(&database.url).args(["rejects", "retry", "--all"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("refused=3"), "{text}");
    replay(&database.url, &log.lines);
    let lines = differences(&log.model().state(), &dump::state(&database.pool).await);
    assert!(lines.is_empty(), "what its owner wrote later has lost:\n{}", lines.join("\n"));
}
