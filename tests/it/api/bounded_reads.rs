//! H6: whatever rows untrusted accounts make, what a route reads follows from the limit of its page. Each route of the document is asked, and the
//! server itself says how many rows each of its statements read.

use std::{
    str::FromStr as _,
    sync::{Arc, Mutex},
};

use plyr_likes::serve::connect;
use reqwest::Method;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, postgres::PgConnectOptions};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    layer::{Context, SubscriberExt as _},
};

use crate::support::{
    api::{Api, Known, settings, tid},
    database::fresh,
};

const HOSTILE: &str = include_str!("hostile_rows.sql");
/// Rows of a page.
const LIMIT: i64 = 10;
/// Of each row that is shown: it, its artist and their two profiles, its counts, the hundred accounts that are just being hidden and
/// whether they like it, and three artists that it features.
const OF_A_ROW: i64 = 3 * 100;
/// Of a request: the viewer, the actor asked for.
const OF_A_REQUEST: i64 = 100;
/// Of an actor with few likes all are read, where of one with many a sum is kept.
const FEW: i64 = 1000;
/// Of a page that passes over rows: a thousand, and what says of each that it is not shown.
const OF_A_STRETCH: i64 = 4 * 1000;
/// Of the report of how it stands: eight counts up to 10,000.
const OF_A_REPORT: i64 = 8 * 10_000 + 1000;
/// Items of a list.
const ITEMS: i64 = 500;
/// Ids in a batch.
const IDS: i64 = 500;
/// A server may keep a plan that it makes for any parameters after it has made five for those given.
const TIMES: i64 = 7;

/// Plans that the server has sent along with answers.
#[derive(Clone, Default)]
struct Plans(Arc<Mutex<Vec<Value>>>);

impl<S: Subscriber> Layer<S> for Plans {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "sqlx::postgres::notice" {
            event.record(&mut Notice(self));
        }
    }
}

struct Notice<'a>(&'a Plans);

impl Visit for Notice<'_> {
    fn record_str(&mut self, field: &Field, text: &str) {
        if field.name() == "message"
            && let Some((_, plan)) = text.split_once("plan:\n")
        {
            self.0.0.lock().unwrap().push(serde_json::from_str(plan).unwrap_or_else(|why| panic!("{why}: {text}")));
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

/// What the nodes of a plan read of tables, indexes and functions, each with its name.
fn reads(node: &Value) -> Vec<(String, i64)> {
    let number = |name: &str| node[name].as_i64().unwrap_or_default();
    let kind = node["Node Type"].as_str().unwrap_or_default();
    let given = if kind.ends_with("Scan") && kind != "Subquery Scan" { number("Actual Rows") } else { 0 };
    let passed_over = number("Rows Removed by Filter")
        + number("Rows Removed by Index Recheck")
        + number("Rows Removed by Join Filter");
    let of = ["Index Name", "Relation Name", "Alias"].into_iter().find_map(|name| node[name].as_str());
    let below = node["Plans"].as_array().into_iter().flatten().flat_map(reads);
    let own = (format!("{kind} {}", of.unwrap_or_default()), (given + passed_over) * number("Actual Loops"));
    std::iter::once(own).chain(below).filter(|(_, rows)| *rows > 0).collect()
}

fn rows_read(plan: &Value) -> i64 {
    reads(&plan["Plan"]).iter().map(|(_, rows)| rows).sum()
}

/// What is asked of a route, and how many rows it may read for that.
struct Question {
    path: String,
    rows_max: i64,
}

fn question(path: impl Into<String>, rows_max: i64) -> Question {
    Question { path: path.into(), rows_max: rows_max + OF_A_REQUEST }
}

/// The questions to a route of the document that untrusted accounts would like to be expensive.
fn questions(route: &str) -> Vec<Question> {
    let (row, page, stretch) = (OF_A_ROW, (LIMIT + 1) * OF_A_ROW, (LIMIT + 1) * OF_A_ROW + OF_A_STRETCH);
    let track = "at://did:plc:artist/fm.plyr.track/1";
    let uris: Vec<String> = (1..=20).map(|n| format!("uris=at://did:plc:artist/fm.plyr.track/{n}")).collect();
    let of_actors = |path: &str, rows_max| -> Vec<Question> {
        let actors = ["flood", "repeater", "undoer", "fan", "artist", "hidden", "listener", "lister"];
        actors.map(|actor| question(path.replace("ACTOR", &format!("did:plc:{actor}")), rows_max)).into()
    };
    match route {
        "/health" | "/xrpc/_health" => vec![question(route, 0)],
        "/ready" | "/artists/me" => vec![question(route, row)],
        "/status" => vec![question(route, OF_A_REPORT)],
        "/tracks/" => ["", "&sort=popular", "&artist_did=artist.test", "&artist_did=artist.test&sort=popular"]
            .into_iter()
            .chain(["&artist_did=flood.test", "&artist_did=hidden.test&sort=popular"])
            .map(|query| question(format!("/tracks/?limit={LIMIT}{query}"), page))
            .collect(),
        "/tracks/{track_id}" => [1, 100_001, 150_001].map(|id| question(format!("/tracks/{id}"), row)).into(),
        "/tracks/by-uri" => vec![question(format!("{route}?uri={track}"), row)],
        "/tracks/{track_id}/likes" => vec![question(format!("/tracks/1/likes?limit={LIMIT}"), row + stretch)],
        "/tracks/liked" => ["custom", "recent"]
            .map(|order| question(format!("{route}?order={order}&limit={LIMIT}"), 6 * ITEMS + stretch))
            .into(),
        "/artists/{did}" => of_actors("/artists/ACTOR", row),
        "/artists/{did}/tracks" => of_actors(&format!("/artists/ACTOR/tracks?limit={LIMIT}"), page),
        // Of an actor with few likes they are counted.
        "/users/{handle_or_did}/likes" => of_actors(&format!("/users/ACTOR/likes?limit={LIMIT}"), stretch + 2 * FEW),
        "/lists" => ["", "&type=liked", "&type=album", "&type=none"]
            .into_iter()
            .flat_map(|of| of_actors(&format!("/lists?actor=ACTOR&limit={LIMIT}{of}"), 3 * LIMIT))
            .collect(),
        "/lists/by-uri" => {
            let list = format!("at://did:plc:listener/fm.plyr.list/{}", tid(1));
            vec![question(format!("{route}?uri={list}"), ITEMS * OF_A_ROW)]
        }
        "/lists/liked" => vec![question(route, ITEMS * OF_A_ROW)],
        "/xrpc/fm.plyr.feed.getLikeStatuses" => of_actors(&format!("{route}?actor=ACTOR&{}", uris.join("&")), 5 * 20),
        "/xrpc/fm.plyr.feed.getTrackLikes" => vec![question(format!("{route}?uri={track}&limit={LIMIT}"), stretch)],
        "/xrpc/fm.plyr.feed.getActorLikes" => of_actors(&format!("{route}?actor=ACTOR&limit={LIMIT}"), stretch),
        "/xrpc/fm.plyr.feed.getTracks" => vec![question(format!("{route}?{}", uris.join("&")), 20 * row)],
        "/xrpc/fm.plyr.graph.getActorLists" => of_actors(&format!("{route}?actor=ACTOR&limit={LIMIT}"), 3 * LIMIT),
        "/xrpc/fm.plyr.graph.getList" => {
            let list = format!("at://did:plc:listener/fm.plyr.list/{}", tid(1));
            vec![question(format!("{route}?list={list}&limit={LIMIT}"), ITEMS + 3 * LIMIT)]
        }
        other => panic!("{other}: say here how to ask, and how many rows it may read"),
    }
}

/// The API over a database full of hostile rows, whose server sends its plans along.
async fn hostile_api() -> Api {
    let database = fresh().await;
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    connection.execute(HOSTILE).await.unwrap();
    connection.execute("VACUUM (FREEZE, ANALYZE)").await.unwrap();
    let explain = [
        ("session_preload_libraries", "auto_explain"),
        ("auto_explain.log_min_duration", "0"),
        ("auto_explain.log_analyze", "on"),
        ("auto_explain.log_buffers", "on"),
        ("auto_explain.log_timing", "off"),
        ("auto_explain.log_format", "json"),
        ("auto_explain.log_level", "notice"),
    ];
    let options = PgConnectOptions::from_str(&database.url).unwrap().options(explain);
    Api::over(database, connect(options, 2), settings()).await
}

/// Asks again and again. What the server says of a statement is read with the next one on its connection: so they are added up. Answers
/// what is wrong, where the statements read more rows than they may.
async fn ask(plans: &Plans, asked: &Question, request: impl Fn() -> reqwest::RequestBuilder) -> Option<String> {
    let Question { path, rows_max } = asked;
    for _ in 0..TIMES {
        let answer = request().send().await.unwrap();
        assert!(!answer.status().is_server_error(), "{path}: {}", answer.status());
        answer.bytes().await.unwrap();
    }
    let found = std::mem::take(&mut *plans.0.lock().unwrap());
    assert!(!found.is_empty() || path.ends_with("health"), "{path}: the server sent no plan");
    let read = found.iter().map(rows_read).sum::<i64>() / TIMES;
    println!("{path}: {read} rows, of at most {rows_max}");
    // What an index passes over within its condition is no row, and no less work: a look-up has a few blocks.
    let blocks_of = |plan: &Value, name: &str| plan["Plan"][name].as_i64().unwrap();
    let blocks = |plan: &Value| blocks_of(plan, "Shared Hit Blocks") + blocks_of(plan, "Shared Read Blocks");
    let blocks = found.iter().map(blocks).sum::<i64>() / TIMES;
    let worst = found.iter().max_by_key(|plan| rows_read(plan))?;
    (read > *rows_max || blocks > 5 * rows_max).then(|| {
        let (text, reads) = (worst["Query Text"].as_str().unwrap_or_default(), reads(&worst["Plan"]));
        format!("{path}: {read} rows, {blocks} blocks, of at most {rows_max}: {reads:?}\n{text}")
    })
}

#[tokio::test]
async fn h6_every_route_reads_what_its_limit_allows() {
    let plans = Plans::default();
    // For the whole process: whether an event is wanted at all is remembered for all threads. Only the servers of this test send plans.
    let notices = Targets::new().with_target("sqlx::postgres::notice", tracing::Level::INFO);
    let capture = tracing_subscriber::registry().with(plans.clone().with_filter(notices));
    tracing::subscriber::set_global_default(capture).unwrap();
    let api = hostile_api().await;
    let mut tokens = Vec::new();
    for name in ["listener", "undoer"] {
        tokens.push(api.token(&Known { id: 0, name: format!("did:plc:{name}") }).await);
    }
    let document = api.ok("/openapi.json").await;
    let (mut wrong, mut asked, ids) = (Vec::new(), 0, (1..=IDS).map(|id| id * 300).collect::<Vec<i64>>());
    for (route, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let wire = Method::from_str(&method.to_uppercase()).unwrap();
            asked += 1;
            if operation["tags"][0] == "writing" {
                let about = question(route.replace("{track_id}", "1"), 0);
                wrong.extend(
                    ask(&plans, &about, || api.request(wire.clone(), &about.path).bearer_auth(&tokens[0])).await,
                );
                continue;
            }
            if route == "/tracks/likes/batch" {
                let about = question(route, 257 + 4 * IDS);
                for token in &tokens {
                    let body = serde_json::json!({"track_ids": ids}).to_string();
                    let request = || api.request(wire.clone(), route).bearer_auth(token).body(body.clone());
                    wrong.extend(ask(&plans, &about, request).await);
                }
                continue;
            }
            for about in questions(route) {
                for token in &tokens {
                    // A method says how new the answer is for the viewer.
                    let more = if route.starts_with("/xrpc/") { FEW } else { 0 };
                    let about = Question { path: about.path.clone(), rows_max: about.rows_max + more };
                    let request = || api.request(wire.clone(), &about.path).bearer_auth(token);
                    wrong.extend(ask(&plans, &about, request).await);
                }
                if operation["security"].as_array().is_none_or(|allowed| allowed.contains(&serde_json::json!({}))) {
                    wrong.extend(ask(&plans, &about, || api.request(wire.clone(), &about.path)).await);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert_eq!(asked, 27);
    assert_pages_go_on(&api).await;
}

/// What is passed over costs pages, and not rows: each page ends, and the last has what is shown.
async fn assert_pages_go_on(api: &Api) {
    for (path, rows, shown) in [
        ("/users/did:plc:fan/likes?limit=10", "tracks", 1),
        ("/users/did:plc:undoer/likes?limit=10", "tracks", 1),
        ("/xrpc/fm.plyr.feed.getActorLikes?actor=fan.test&limit=10", "likes", 1),
    ] {
        let (mut found, mut next, mut pages) = (0, path.to_owned(), 0);
        loop {
            let page = api.ok(&next).await;
            found += page[rows].as_array().unwrap().len();
            pages += 1;
            let Some(cursor) = page["next_cursor"].as_str().or(page["cursor"].as_str()) else { break };
            next = format!("{path}&cursor={cursor}");
        }
        assert!(found == shown && pages <= 6, "{path}: {found} rows on {pages} pages");
    }
    // The likers of the greatest numbers are hidden, and of those of one time these come first.
    let (mut likers, mut next) = (0, "/tracks/1/likes?limit=100".to_owned());
    for _ in 0..73 {
        let page = api.ok(&next).await;
        likers += page["users"].as_array().unwrap().len();
        next = format!("/tracks/1/likes?limit=100&cursor={}", page["next_cursor"].as_str().unwrap());
    }
    assert!(likers > 100, "{likers}");
}

/// No statement is copied: what is explained here is what routes run. A query by hand, to see that a scan shows.
#[tokio::test]
async fn h6_rows_that_are_passed_over_are_counted() {
    let database = fresh().await;
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    connection
        .execute("INSERT INTO actors (did) SELECT 'did:plc:' || n FROM generate_series(1, 3000) AS n")
        .await
        .unwrap();
    let query = "EXPLAIN (ANALYZE, FORMAT JSON) SELECT FROM actors WHERE created_at < 'epoch' LIMIT 1";
    let plan: Value = sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(&mut connection).await.unwrap();
    assert_eq!(rows_read(&plan[0]), 3000, "{plan:#}");
}
