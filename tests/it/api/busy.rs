//! What many requests at once may take: connections to the database, its time, and memory.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use plyr_likes::serve::ServeSettings;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::support::{
    api::{Api, json_of, settings},
    run::PATIENCE,
};

/// Statements of the API that are being worked on.
const ACTIVE: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'plyr-likes api' AND state = 'active'";

async fn active(api: &Api) -> i64 {
    sqlx::query_scalar(ACTIVE).fetch_one(api.pool()).await.unwrap()
}

#[tokio::test]
async fn h6_pages_that_hang_leave_connections_to_the_batch() {
    let api = Api::start().await;
    let artist = api.actor("artist").await;
    let track = api.track(&artist, 1).await;
    api.like(&artist, 1, &track, 1).await;
    let token = api.token(&artist).await;
    let mut lock = api.pool().begin().await.unwrap();
    sqlx::query("LOCK TABLE shown_tracks").execute(&mut *lock).await.unwrap();
    let began = Instant::now();
    let hanging = join_all((0..30).map(|_| api.get("/tracks/")));
    let asking = async {
        while active(&api).await < 6 {}
        // As many pages as may hang do; the rest waits.
        for _ in 0..50 {
            let asked = Instant::now();
            let answer = api.batch(&token, &format!("{{\"track_ids\":[{}]}}", track.id)).await;
            assert_eq!(json_of(answer, StatusCode::OK).await, json!({track.id.to_string(): true}));
            assert!(asked.elapsed() < Duration::from_millis(1500), "{:?}", asked.elapsed());
        }
        active(&api).await
    };
    let (pages, still_active) = tokio::join!(hanging, asking);
    assert!(still_active <= 7, "{still_active}");
    // The server ends what takes too long, and those who waited for a turn in vain get a 503.
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    for page in pages {
        assert_eq!(page.headers()["retry-after"], "1");
        json_of(page, StatusCode::SERVICE_UNAVAILABLE).await;
    }
    lock.rollback().await.unwrap();
    api.ok("/tracks/").await;
}

#[tokio::test]
async fn h6_a_statement_of_a_request_that_was_given_up_ends() {
    let api = Api::start().await;
    let mut lock = api.pool().begin().await.unwrap();
    sqlx::query("LOCK TABLE shown_tracks").execute(&mut *lock).await.unwrap();
    let client = reqwest::Client::new();
    let gone = client.get(format!("{}/tracks/", api.url)).timeout(Duration::from_millis(300)).send().await;
    assert!(gone.is_err_and(|error| error.is_timeout()));
    assert_eq!(active(&api).await, 1);
    let began = Instant::now();
    while active(&api).await > 0 {
        assert!(began.elapsed() < Duration::from_secs(4), "the statement runs on");
    }
    lock.rollback().await.unwrap();
}

#[tokio::test]
async fn h6_the_report_is_made_once_for_all() {
    let api = Api::with(ServeSettings { status_age_max: Duration::from_millis(1500), ..settings() }).await;
    let transactions = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()";
    let first = api.ok("/status").await;
    let made_at = Instant::now();
    let before: i64 = sqlx::query_scalar(transactions).fetch_one(api.pool()).await.unwrap();
    api.actor("artist").await;
    let answers: Vec<Value> = join_all((0..200).map(|_| api.ok("/status"))).await;
    if made_at.elapsed() < Duration::from_millis(1500) {
        assert!(answers.iter().all(|answer| *answer == first), "made again within its time");
        let after: i64 = sqlx::query_scalar(transactions).fetch_one(api.pool()).await.unwrap();
        assert!(after - before < 50, "{} transactions", after - before);
    }
    while api.ok("/status").await["counts"]["actors"] == 0 {
        assert!(made_at.elapsed() < PATIENCE, "it is never made again");
    }
}

#[tokio::test]
async fn h2_all_answers_together_are_bounded() {
    let api = Api::start().await;
    let artist = api.actor("artist").await;
    for second in 1..=60 {
        api.track(&artist, second).await;
    }
    // What the lexicon allows at most is six times as long in JSON: a page is a mebibyte.
    sqlx::query("UPDATE tracks SET description = repeat(chr(1), 5000)").execute(api.pool()).await.unwrap();
    let address = api.url.strip_prefix("http://").unwrap().to_owned();
    let mut readers = Vec::new();
    // 64 MiB are given out, and each answer has a little more than one.
    for _ in 0..70 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(b"GET /tracks/?limit=100 HTTP/1.1\r\nHost: plyr\r\n\r\n").await.unwrap();
        stream.readable().await.unwrap();
        readers.push(stream);
    }
    let refused = api.get("/tracks/?limit=100").await;
    assert_eq!(refused.headers()["retry-after"], "1");
    assert!(json_of(refused, StatusCode::SERVICE_UNAVAILABLE).await["detail"].as_str().unwrap().contains("large"));
    // Small answers are none of those.
    assert_eq!(api.ok("/tracks/?limit=1").await["tracks"].as_array().unwrap().len(), 1);
    readers.clear();
    let began = Instant::now();
    while api.get("/tracks/?limit=100").await.status() != StatusCode::OK {
        assert!(began.elapsed() < PATIENCE, "the room is not given back");
    }
}
