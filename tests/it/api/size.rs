//! Reads on tables of a realistic size: what the plans touch, and that no page costs more than itself.

use std::time::Instant;

use plyr_likes::serve::token::hash_token;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::support::{
    api::{Api, Known, ids},
    run::PATIENCE,
};

const BATCH: &str = include_str!("../../../src/store/views/liked_of_token.sql");

/// Fills tables as fast as it goes: no triggers, and counts at the end.
async fn load(api: &Api, statements: &[&str]) {
    let mut connection = PgConnection::connect(&api.database.url).await.expect("a connection");
    connection.execute("SET session_replication_role = replica").await.expect("a statement");
    for statement in statements {
        connection.execute(AssertSqlSafe((*statement).to_owned())).await.expect("a statement");
    }
    let count =
        "INSERT INTO track_counts SELECT subject_id, count(DISTINCT actor_id) FROM likes WHERE subject_id IS NOT NULL
        GROUP BY 1 ON CONFLICT (track_id) DO UPDATE SET like_count = excluded.like_count";
    connection.execute(count).await.expect("a statement");
    connection.execute("SELECT show_tracks(array_agg(id)) FROM tracks").await.expect("a statement");
    // What else looks at these tables at the same time can keep a page from being marked as seen by all: FREEZE waits for those that have a
    // page in hand, and transactions that began before must end.
    let is_all_visible =
        "SELECT bool_and(relallvisible = relpages) FROM pg_class WHERE relname IN ('likes', 'tracks', 'actors')";
    let started = Instant::now();
    loop {
        connection.execute("VACUUM (FREEZE, ANALYZE)").await.expect("a statement");
        if sqlx::query_scalar(is_all_visible).fetch_one(&mut connection).await.expect("a statement") {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "VACUUM leaves pages that not all see");
    }
}

/// Every node of a plan.
fn nodes(plan: &Value) -> Vec<&Value> {
    let mut found = vec![plan];
    for child in plan["Plans"].as_array().into_iter().flatten() {
        found.extend(nodes(child));
    }
    found
}

/// Rows that a node gave, over all of its loops.
fn rows_of(node: &Value) -> i64 {
    node["Actual Rows"].as_i64().expect("a number") * node["Actual Loops"].as_i64().expect("a number")
}

#[tokio::test]
async fn r1_batch_is_answered_by_an_index_alone() {
    let api = Api::start().await;
    api.actor("artist").await;
    load(
        &api,
        &[
            "INSERT INTO actors (did) SELECT 'did:plc:liker' || n FROM generate_series(1, 2000) AS n",
            "INSERT INTO tracks (uri, artist_id) SELECT 'at://did:plc:artist/fm.plyr.track/' || n, 1 FROM generate_series(1, 10000) AS n",
            "INSERT INTO likes (actor_id, rkey, rev, indexed_at, subject_id, sort_at)
            SELECT a.id, n, n, now(), 1 + (a.id * 7 + n * 101) % 10000, now() FROM actors a, generate_series(1, 100) AS n
            WHERE a.did <> 'did:plc:artist'",
            "INSERT INTO likes (actor_id, rkey, rev, indexed_at, subject_id, sort_at)
            SELECT 1, n, n, now(), n, now() FROM generate_series(1, 5000) AS n",
        ],
    )
    .await;
    let track_ids: Vec<i64> = (1..=100).map(|n| n * 97).collect();
    for (mode, liker) in [
        ("force_custom_plan", "did:plc:liker77"),
        ("force_generic_plan", "did:plc:liker77"),
        ("force_custom_plan", "did:plc:artist"),
        ("force_generic_plan", "did:plc:artist"),
    ] {
        let liker = Known { id: 0, name: liker.into() };
        let token = api.token(&liker).await;
        let mut connection = PgConnection::connect(&api.database.url).await.unwrap();
        connection.execute(AssertSqlSafe(format!("SET plan_cache_mode = {mode}"))).await.unwrap();
        let explain = format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {BATCH}");
        let plan: Value = sqlx::query_scalar(AssertSqlSafe(explain))
            .bind(hash_token(&token).as_slice())
            .bind(crate::support::api::now().utc())
            .bind(&track_ids)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        let nodes = nodes(&plan[0]["Plan"]);
        let on_likes: Vec<_> = nodes.iter().filter(|node| node["Relation Name"] == "likes").collect();
        // All of few; or, when there are many, each of those asked for.
        assert_eq!(on_likes.len(), 2, "{plan:#}");
        for node in &on_likes {
            assert_eq!(node["Node Type"], "Index Only Scan", "{plan:#}");
            assert_eq!(node["Index Name"], "likes_actor_subject", "{plan:#}");
            assert_eq!(node["Heap Fetches"], 0, "{plan:#}");
        }
        let unused = on_likes.iter().filter(|node| node["Actual Loops"] == 0).count();
        assert_eq!(unused, usize::from(liker.name != "did:plc:artist"), "{plan:#}");
        let read: i64 = on_likes.iter().map(|node| rows_of(node)).sum();
        assert!(read <= 257 + 100, "{plan:#}");
        let mut scanned: Vec<_> = nodes.iter().filter_map(|node| node["Relation Name"].as_str()).collect();
        scanned.sort_unstable();
        assert_eq!(
            scanned,
            ["hidden_tracks", "hidden_tracks", "likes", "likes", "sessions", "uncounted_actors"],
            "{plan:#}"
        );
        println!("{mode}: {} ms, planned in {} ms", plan[0]["Execution Time"], plan[0]["Planning Time"]);
        let body = format!("{{\"track_ids\":{track_ids:?}}}");
        let answer = api.batch(&token, &body).await.text().await.unwrap();
        let expected = sqlx::query_scalar::<_, i64>(
            "SELECT count(*) FROM likes l JOIN actors a ON a.id = l.actor_id WHERE a.did = $1 AND l.subject_id = ANY ($2)",
        )
        .bind(&liker.name)
        .bind(&track_ids)
        .fetch_one(api.pool())
        .await
        .unwrap();
        assert!(expected > 0);
        assert_eq!(answer.matches(":true").count(), usize::try_from(expected).unwrap());
    }
}

#[tokio::test]
async fn r4_a_track_with_a_hundred_thousand_likes() {
    let api = Api::start().await;
    let artist = api.actor("artist").await;
    let track = api.track(&artist, 1).await;
    load(
        &api,
        &[
            "INSERT INTO actors (did) SELECT 'did:plc:liker' || n FROM generate_series(1, 100000) AS n",
            "INSERT INTO likes (actor_id, rkey, rev, indexed_at, subject_id, sort_at)
            SELECT id, id, id, now(), 1, timestamptz '2026-01-01Z' + make_interval(secs => (id / 3)) FROM actors",
        ],
    )
    .await;
    let path = format!("/tracks/{}/likes?limit=100", track.id);
    let mut next = path.clone();
    let mut last_at = "9".to_owned();
    let mut took = Vec::new();
    // One connection asks often enough that the server may come to keep a plan.
    for _ in 0..20 {
        let started = Instant::now();
        let page = api.ok(&next).await;
        took.push(started.elapsed());
        assert_eq!(page["count"], 100_001);
        assert_eq!(page["users"].as_array().unwrap().len(), 100);
        for user in page["users"].as_array().unwrap() {
            let at = user["liked_at"].as_str().unwrap().to_owned();
            assert!(at <= last_at, "{at} after {last_at}");
            last_at = at;
        }
        next = format!("{path}&cursor={}", page["next_cursor"].as_str().unwrap());
    }
    took.sort();
    println!("a page of 100 among 100,000 likers: median {:?}, worst {:?}", took[10], took[19]);
    assert!(took[10].as_millis() < 2000, "{took:?}");
}

#[tokio::test]
async fn r4_an_actor_with_twenty_thousand_likes_and_many_tracks() {
    let api = Api::start().await;
    let artist = api.actor("artist").await;
    let liker = api.actor("liker").await;
    load(
        &api,
        &[
            "INSERT INTO tracks (uri, artist_id, title, sort_at, created_at, cid)
            SELECT 'at://did:plc:artist/fm.plyr.track/' || n, 1, 'T', timestamptz '2026-01-01Z' + make_interval(secs => n / 2),
                now(), (SELECT decode('01711220' || repeat('00', 32), 'hex')) FROM generate_series(1, 100000) AS n",
            "INSERT INTO track_counts SELECT id, 0 FROM tracks",
            "INSERT INTO likes (actor_id, rkey, rev, indexed_at, subject_id, sort_at)
            SELECT 2, n, n, now(), n * 5, timestamptz '2026-01-01Z' + make_interval(secs => n) FROM generate_series(1, 20000) AS n",
        ],
    )
    .await;
    let token = api.token(&liker).await;
    let track = "at://did:plc:artist/fm.plyr.track/5";
    for path in [
        "/users/liker.test/likes",
        "/tracks/liked?order=custom",
        "/tracks/liked?order=recent",
        "/tracks/",
        "/tracks/?sort=popular",
        "/artists/artist.test/tracks",
        "/xrpc/fm.plyr.feed.getActorLikes?actor=liker.test",
        &format!("/xrpc/fm.plyr.feed.getLikeStatuses?actor=liker.test&uris={track}"),
        &format!("/xrpc/fm.plyr.feed.getTracks?uris={track}"),
    ] {
        let mut took = Vec::new();
        for _ in 0..15 {
            let started = Instant::now();
            api.ok_as(&token, path).await;
            took.push(started.elapsed());
        }
        took.sort();
        println!("{path}: median {:?}, worst {:?}", took[7], took[14]);
        assert!(took[7].as_millis() < 2000, "{path}: {took:?}");
    }
    let first = api.ok("/users/liker.test/likes?limit=3").await;
    assert_eq!((ids(&first), &first["count"]), (vec![100_000, 99_995, 99_990], &Value::from(20_000)));
    assert_eq!(artist.id, 1);
}
