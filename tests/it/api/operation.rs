//! Around the answers: health, status, documents, caching, origins, compression, ids; and a database that is away.

use std::{
    collections::BTreeSet,
    str::FromStr,
    sync::Arc,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use plyr_likes::{
    clock::Clock,
    serve::{Limits, ServeSettings, connect, router, run},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use tokio_util::sync::CancellationToken;

use crate::support::{
    api::{Api, NOW, ORIGIN, json_of, now, settings, start, tid},
    http,
    schema::fits,
};

const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);

/// A source in a state, of which the last event applied was of eleven o'clock.
async fn source(api: &Api, state: &str, behind_since: Option<&str>) {
    let set = "INSERT INTO sources (source, state, reason, changed_at, alive_at, behind_since)
        VALUES ('firehose+ws://pds', $1, 'because <b>', now(), $2::timestamptz, $3::timestamptz)
        ON CONFLICT (source) DO UPDATE SET state = $1, alive_at = excluded.alive_at, behind_since = excluded.behind_since";
    sqlx::query(set).bind(state).bind(NOW).bind(behind_since).execute(api.pool()).await.expect("a source");
    let set = "INSERT INTO positions
        VALUES ('firehose+ws://pds', 'firehose_seq', 42, '2026-06-01T11:00:00Z', NULL, '2026-06-01T11:00:01Z')
        ON CONFLICT (source) DO NOTHING";
    sqlx::query(set).execute(api.pool()).await.expect("a position");
}

#[tokio::test]
async fn ready_when_schema_and_lag_allow() {
    let api = Api::start().await;
    // It is twelve o'clock. Nothing has been delivered yet: nothing is known that the index is behind.
    assert_eq!(api.ok("/ready").await, json!({"ready": true, "lag_s": null}));
    source(&api, "connected", Some("2026-06-01T11:59:58.5Z")).await;
    assert_eq!(api.ok("/ready").await["lag_s"], 1.5);
    // H9: quiet for an hour, and connected: what there was is in.
    source(&api, "connected", None).await;
    assert_eq!(api.ok("/ready").await["lag_s"], 0.0);
    // Not connected for an hour: what it has had since is unknown.
    source(&api, "waiting", Some("2026-06-01T11:00:00Z")).await;
    let behind = api.get("/ready").await;
    assert_eq!(behind.headers()["retry-after"], "1");
    json_of(behind, StatusCode::SERVICE_UNAVAILABLE).await;
    // Working off a backlog.
    source(&api, "connected", Some("2026-06-01T11:00:00Z")).await;
    api.refused("/ready", 503).await;
    // H9: of a log that was replayed nothing more comes.
    sqlx::query("DELETE FROM sources").execute(api.pool()).await.unwrap();
    assert_eq!(api.ok("/ready").await, json!({"ready": true, "lag_s": null}));
    sqlx::query("DELETE FROM _sqlx_migrations WHERE version = 2").execute(api.pool()).await.unwrap();
    assert_eq!(api.refused("/ready", 503).await["detail"], "the schema of the database is not current");
    sqlx::query("DROP TABLE _sqlx_migrations").execute(api.pool()).await.unwrap();
    api.refused("/ready", 503).await;
    assert_eq!(api.ok("/health").await["status"], "ok");
}

#[tokio::test]
async fn an_indexer_that_gives_no_sign_of_life_is_not_believed() {
    let api = Api::start().await;
    // It is twelve o'clock. Connected and caught up, it said; whether it still is, it must say again and again.
    source(&api, "connected", None).await;
    for (alive_at, behind_since, state, lag_s) in [
        (Some("2026-06-01T11:59:30Z"), None, "connected", 0.0),
        (Some("2026-06-01T11:00:00Z"), None, "silent", 3600.0),
        (Some("2026-06-01T11:59:29Z"), Some("2026-06-01T10:00:00Z"), "silent", 7200.0),
        (None, Some("2026-06-01T11:00:00Z"), "silent", 3600.0),
    ] {
        let set = "UPDATE sources SET alive_at = $1::timestamptz, behind_since = $2::timestamptz";
        sqlx::query(set).bind(alive_at).bind(behind_since).execute(api.pool()).await.unwrap();
        let status = api.ok("/status").await;
        assert_eq!((&status["lag_s"], &status["sources"][0]["state"]), (&json!(lag_s), &json!(state)), "{alive_at:?}");
        let ready = api.get("/ready").await.status();
        assert_eq!(ready, if state == "silent" { 503 } else { 200 }, "{alive_at:?}");
    }
}

#[tokio::test]
async fn status_for_programs_and_browsers() {
    let api = Api::start().await;
    let artist = api.actor("artist").await;
    let track = api.track(&artist, 1).await;
    api.like(&artist, 1, &track, 2).await;
    source(&api, "waiting", Some("2026-06-01T11:59:00Z")).await;
    sqlx::query(
        "INSERT INTO rejects (digest, source, reason, detail, raw_format, raw, raw_length, at)
        SELECT n::text::bytea, 's', 'lexicon', 'd', 'frame', '', 0, now() FROM generate_series(1, 3) AS n",
    )
    .execute(api.pool())
    .await
    .unwrap();
    let status = api.ok("/status").await;
    assert_eq!(status["lag_s"], 60.0);
    assert_eq!((&status["sources"][0]["position"], &status["sources"][0]["state"]), (&json!(42), &json!("waiting")));
    assert_eq!(status["rejects"], json!({"lexicon": 3}));
    assert_eq!(status["counts"], json!({"actors": 1, "tracks": 1, "likes": 1, "lists": 0, "exact": true}));
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let page = api.request(Method::GET, "/status").header("accept", browser).send().await.unwrap();
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(page.headers()["cache-control"], "no-store");
    let text = page.text().await.unwrap();
    assert!(text.contains("60.0 s behind") && text.contains("waiting") && !text.contains("<script"), "{text}");
}

#[tokio::test]
async fn r6_public_answers_may_be_shared_and_a_viewers_not() {
    let api = Api::start().await;
    let artist = api.actor("artist").await;
    let track = api.track(&artist, 1).await;
    api.like(&artist, 1, &track, 2).await;
    let token = api.token(&artist).await;
    let paths = [
        "/tracks/".to_owned(),
        format!("/tracks/{}", track.id),
        format!("/tracks/by-uri?uri={}", track.name),
        "/users/artist.test/likes".to_owned(),
        "/artists/artist.test/tracks".to_owned(),
    ];
    for path in paths {
        let anonymous = api.get(&path).await;
        assert_eq!(anonymous.headers()["cache-control"], "public, max-age=1", "{path}");
        let vary: Vec<_> = anonymous.headers().get_all("vary").iter().map(|value| value.to_str().unwrap()).collect();
        assert!(vary.contains(&"authorization, cookie"), "{path}: {vary:?}");
        let anonymous = anonymous.text().await.unwrap();
        assert!(anonymous.contains("\"liked\":false"), "{path}");
        let viewer = api.request(Method::GET, &path).bearer_auth(&token).send().await.unwrap();
        assert_eq!(viewer.headers()["cache-control"], "private, no-store", "{path}");
        assert_eq!(viewer.text().await.unwrap(), anonymous.replace("\"liked\":false", "\"liked\":true"), "{path}");
    }
    let gone = api.get("/tracks/424242").await;
    assert_eq!(gone.headers()["cache-control"], "private, no-store");
}

#[tokio::test]
async fn paths_methods_ids_origins_and_compression() {
    let api = Api::start().await;
    let artist = api.actor("artist").await;
    for second in 0..40 {
        api.track(&artist, second).await;
    }
    assert!(api.refused("/nothing/here", 404).await["detail"].is_string());
    let wrong = api.request(Method::DELETE, "/tracks/").send().await.unwrap();
    assert_eq!(wrong.headers()["allow"], "GET,HEAD");
    assert!(json_of(wrong, StatusCode::METHOD_NOT_ALLOWED).await["detail"].is_string());
    let named = api.request(Method::GET, "/tracks/").header("x-request-id", "my-id.7").send().await.unwrap();
    assert_eq!(named.headers()["x-request-id"], "my-id.7");
    let forged = api.request(Method::GET, "/tracks/").header("x-request-id", "a b\u{e9}").send().await.unwrap();
    assert_eq!(forged.headers()["x-request-id"].len(), 16);
    let preflight = |origin: &str| {
        api.request(Method::OPTIONS, "/tracks/likes/batch")
            .header("origin", origin.to_owned())
            .header("access-control-request-method", "POST")
            .send()
    };
    let ours = preflight(ORIGIN).await.unwrap();
    assert_eq!(ours.headers()["access-control-allow-origin"], ORIGIN);
    assert_eq!(ours.headers()["access-control-allow-credentials"], "true");
    assert!(preflight("https://evil.test").await.unwrap().headers().get("access-control-allow-origin").is_none());
    let refused = api.request(Method::GET, "/tracks/0x").header("origin", ORIGIN).send().await.unwrap();
    assert_eq!(refused.headers()["access-control-allow-origin"], ORIGIN);
    for encoding in ["gzip", "br"] {
        let page = api.request(Method::GET, "/tracks/").header("accept-encoding", encoding).send().await.unwrap();
        assert_eq!(page.headers()["content-encoding"], encoding);
    }
    let plain = api.get("/tracks/?limit=1").await;
    assert!(plain.headers().get("content-encoding").is_none());
}

#[tokio::test]
async fn s1_away_is_said_and_not_guessed() {
    let nowhere = connect(PgConnectOptions::from_str("postgres://x@127.0.0.1:1/x").unwrap(), 4);
    let (url, _stop) = start(nowhere, settings()).await;
    let client = http::client(REQUEST_TIMEOUT);
    for path in ["/tracks/", "/ready", "/status", "/users/did:plc:a/likes"] {
        let answer = client.get(format!("{url}{path}")).send().await.unwrap();
        assert_eq!(answer.headers()["retry-after"], "1");
        assert!(json_of(answer, StatusCode::SERVICE_UNAVAILABLE).await["detail"].is_string());
    }
    let answer = client.post(format!("{url}/tracks/likes/batch")).bearer_auth("x").body("{\"track_ids\":[1]}");
    json_of(answer.send().await.unwrap(), StatusCode::SERVICE_UNAVAILABLE).await;
    let statuses = "/xrpc/fm.plyr.feed.getLikeStatuses?actor=did:plc:a&uris=at://did:plc:a/fm.plyr.track/b";
    let answer = client.get(format!("{url}{statuses}")).send().await.unwrap();
    assert_eq!(json_of(answer, StatusCode::SERVICE_UNAVAILABLE).await["error"], "ServiceUnavailable");
    json_of(client.get(format!("{url}/health")).send().await.unwrap(), StatusCode::OK).await;
}

#[tokio::test]
async fn s1_connections_that_died_are_replaced() {
    let api = Api::start().await;
    let artist = api.actor("artist").await;
    let track = api.track(&artist, 1).await;
    let token = api.token(&artist).await;
    let body = format!("{{\"track_ids\":[{}]}}", track.id);
    for _ in 0..3 {
        let all = futures_util::future::join_all((0..8).map(|_| async {
            api.ok("/tracks/").await;
            json_of(api.batch(&token, &body).await, StatusCode::OK).await;
        }));
        all.await;
        let killed: i64 = sqlx::query_scalar(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'plyr-likes api'",
        )
        .fetch_one(api.pool())
        .await
        .unwrap();
        assert!(killed > 0);
        api.ok("/tracks/").await;
        json_of(api.batch(&token, &body).await, StatusCode::OK).await;
    }
}

#[tokio::test]
async fn s1_what_takes_too_long_is_given_up() {
    let api = Api::with(ServeSettings { time_limit: Duration::from_millis(300), ..settings() }).await;
    api.ok("/tracks/").await;
    let mut lock = api.pool().begin().await.unwrap();
    sqlx::query("LOCK TABLE tracks").execute(&mut *lock).await.unwrap();
    for _ in 0..3 {
        let answer = api.get("/tracks/").await;
        assert_eq!(answer.headers()["retry-after"], "1");
        json_of(answer, StatusCode::SERVICE_UNAVAILABLE).await;
    }
    assert_eq!(api.ok("/health").await["status"], "ok");
    lock.rollback().await.unwrap();
    // Connections whose question was given up are not used for the next one before they have answered it.
    for _ in 0..20 {
        api.ok("/tracks/").await;
    }
}

#[tokio::test]
async fn s6_a_stop_ends_what_has_begun() {
    let database = crate::support::database::fresh().await;
    let pool = connect(PgConnectOptions::from_str(&database.url).unwrap(), 4);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(run(listener, router(pool, settings(), Clock::of(now)), Limits::api(), stop.clone()));
    let mut lock = database.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE tracks").execute(&mut *lock).await.unwrap();
    let client = http::client(REQUEST_TIMEOUT);
    let asked = tokio::spawn(client.get(format!("http://{address}/tracks/")).send());
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database
        WHERE datname = current_database())";
    while sqlx::query_scalar::<_, i64>(waits).fetch_one(&database.pool).await.unwrap() == 0 {}
    stop.cancel();
    // No new connection is taken while the open requests are answered.
    while client.get(format!("http://{address}/health")).send().await.is_ok() {}
    lock.rollback().await.unwrap();
    json_of(asked.await.unwrap().unwrap(), StatusCode::OK).await;
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s5_readers_never_see_half_a_batch() {
    let api = Api::start().await;
    let artist = api.actor("artist").await;
    let track = api.track(&artist, 1).await;
    let other = api.track(&artist, 2).await;
    for number in 0..5 {
        api.actor(&format!("liker{number}")).await;
    }
    let done = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (done, pool, (a, b)) = (done.clone(), api.pool().clone(), (track.id, other.id));
        async move {
            let mut rounds = 0_i64;
            while !done.load(Ordering::Relaxed) {
                rounds += 1;
                let mut batch = pool.begin().await.unwrap();
                // All five like the one track or the other, in turns, in two statements of one transaction.
                sqlx::query("DELETE FROM likes").execute(&mut *batch).await.unwrap();
                sqlx::query(
                    "INSERT INTO likes (actor_id, rkey, rev, indexed_at, subject_id, sort_at)
                    SELECT id, 1, $2, now(), $1, '2026-01-01Z' FROM actors WHERE did LIKE 'did:plc:liker%'",
                )
                .bind(if rounds % 2 == 0 { a } else { b })
                .bind(rounds)
                .execute(&mut *batch)
                .await
                .unwrap();
                batch.commit().await.unwrap();
            }
            rounds
        }
    });
    let mut seen = [false; 2];
    for _ in 0..300 {
        let page = api.ok(&format!("/tracks/{}/likes", track.id)).await;
        let users = page["users"].as_array().unwrap().len();
        assert_eq!(page["count"], users);
        assert!(users == 0 || users == 5, "{users}");
        seen[usize::from(users > 0)] = true;
        let both = api.ok("/tracks/").await;
        let counts: i64 =
            both["tracks"].as_array().unwrap().iter().map(|track| track["like_count"].as_i64().unwrap()).sum();
        assert!(counts == 5 || counts == 0, "{both}");
    }
    done.store(true, Ordering::Relaxed);
    assert!(writer.await.unwrap() > 10);
    assert_eq!(seen, [true, true]);
}

#[tokio::test]
async fn openapi_tells_the_truth() {
    let api = Api::start().await;
    let artist = api.actor("artist").await;
    let track = api.track(&artist, 1).await;
    api.track(&artist, 2).await;
    api.like(&artist, 1, &track, 2).await;
    api.list(&artist, 5, "liked", &[&track]).await;
    source(&api, "connected", None).await;
    sqlx::query("UPDATE tracks SET features = '{did:plc:artist}'").execute(api.pool()).await.unwrap();
    let token = api.token(&artist).await;
    let document = api.ok("/openapi.json").await;
    assert_eq!(document["openapi"], "3.1.0");
    let list = format!("at://did:plc:artist/fm.plyr.list/{}", tid(5));
    let fill = |path: &str| {
        let path = path.replace("{track_id}", &track.id.to_string()).replace("{did}", &artist.name);
        let query = match path.as_str() {
            "/lists/by-uri" => format!("?uri={list}"),
            "/tracks/by-uri" | "/xrpc/fm.plyr.feed.getTrackLikes" => format!("?uri={}", track.name),
            "/xrpc/fm.plyr.feed.getLikeStatuses" | "/xrpc/fm.plyr.feed.getTracks" => format!("?uris={}", track.name),
            "/lists" | "/xrpc/fm.plyr.feed.getActorLikes" | "/xrpc/fm.plyr.graph.getActorLists" => {
                "?actor=artist.test".to_owned()
            }
            "/xrpc/fm.plyr.graph.getList" => format!("?list={list}"),
            "/tracks/" => "?limit=1".to_owned(),
            _ => String::new(),
        };
        format!("{}{query}", path.replace("{handle_or_did}", "artist.test"))
    };
    let mut asked = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            asked += 1;
            let wire = Method::from_str(&method.to_uppercase()).unwrap();
            let mut request = api.request(wire, &fill(path)).bearer_auth(&token);
            if path == "/tracks/likes/batch" {
                request = request.body(format!("{{\"track_ids\":[{},5]}}", track.id));
            }
            let answer = request.send().await.unwrap();
            let status = answer.status();
            let documented = &operation["responses"][status.as_str()];
            assert!(documented.is_object(), "{method} {path} answered {status}");
            let is_writing = operation["tags"][0] == "writing";
            assert_eq!(status, if is_writing { StatusCode::FORBIDDEN } else { StatusCode::OK }, "{method} {path}");
            let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
            let schema = &documented["content"]["application/json"]["schema"];
            fits(&document, schema, &body).unwrap_or_else(|why| panic!("{method} {path}: {why}"));
            // What is refused is documented too.
            let refused =
                api.request(Method::from_str(&method.to_uppercase()).unwrap(), &fill(path)).bearer_auth("bad");
            let refused = refused.send().await.unwrap();
            if refused.status() != StatusCode::OK {
                let documented = &operation["responses"][refused.status().as_str()];
                let body: Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
                let schema = &documented["content"]["application/json"]["schema"];
                fits(&document, schema, &body).unwrap_or_else(|why| panic!("{method} {path}: {why}"));
            }
        }
    }
    assert_eq!(asked, 27);
    let ids: BTreeSet<&str> = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|methods| methods.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), asked, "an operation's id names it alone");
}

#[tokio::test]
async fn the_page_of_the_document_loads_nothing_from_elsewhere() {
    let api = Api::start().await;
    let page = api.get("/docs").await;
    assert!(page.url().path() == "/docs/" && page.status() == StatusCode::OK, "{page:?}");
    let page = page.text().await.unwrap();
    let addresses =
        page.split("src=\"").skip(1).chain(page.split("href=\"").skip(1)).filter_map(|rest| rest.split_once('"'));
    let files: Vec<&str> = addresses.map(|(file, _)| file.trim_start_matches("./")).collect();
    assert!(files.len() >= 4 && !page.contains("://"), "{page}");
    for file in files {
        let answer = api.get(&format!("/docs/{file}")).await;
        let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self';"), "{policy}");
        assert_eq!(answer.headers()["cache-control"], "public, max-age=3600");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        assert!(answer.status() == StatusCode::OK && !answer.text().await.unwrap().is_empty(), "{file}");
    }
    let start = api.get("/docs/swagger-initializer.js").await.text().await.unwrap();
    assert!(start.contains("\"../openapi.json\"") && start.contains("\"validatorUrl\": \"none\""), "{start}");
    api.refused("/docs/nothing.js", 404).await;
}
