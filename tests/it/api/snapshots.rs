//! What a client sees of every route and of every kind of error, byte for byte, in `snapshots/`.
//!
//! After a change that is meant: `INSTA_UPDATE=always cargo test --test it -- api::snapshots`, and read the diff.

use std::{collections::BTreeSet, fmt::Write, str::FromStr};

use insta::assert_snapshot;
use plyr_likes::serve::connect;
use reqwest::Method;
use serde_json::Value;
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::api::{Api, settings, start, tid};

/// Headers that are part of what a client acts on.
const HEADERS: [&str; 7] =
    ["content-type", "cache-control", "allow", "location", "retry-after", "www-authenticate", "atproto-repo-rev"];

/// Who asks.
#[derive(Clone, Copy)]
enum As {
    Anyone,
    Viewer,
    BadToken,
}

/// One request: who, and `METHOD /path`, with a body where the route takes one.
type Request = (As, &'static str, &'static str);

/// For each operation of the document the requests of its snapshot. `{list}` and `{track}` are the made-up records' URIs.
const ROUTES: [(&str, &[Request]); 27] = [
    (
        "list_tracks",
        &[
            (As::Anyone, "GET /tracks/?limit=2", ""),
            (As::Viewer, "GET /tracks/?sort=popular&artist_did=artist.test", ""),
            (As::Anyone, "GET /tracks?artist_did=did:plc:absent", ""),
            (As::Anyone, "GET /tracks/?sort=random", ""),
            (As::Anyone, "GET /tracks/?limit=0", ""),
            (As::Anyone, "GET /tracks/?cursor=AAAA", ""),
        ],
    ),
    (
        "show_track",
        &[(As::Viewer, "GET /tracks/1", ""), (As::Anyone, "GET /tracks/99", ""), (As::Anyone, "GET /tracks/one", "")],
    ),
    (
        "show_track_by_uri",
        &[
            (As::Anyone, "GET /tracks/by-uri?uri={track}", ""),
            (As::Anyone, "GET /tracks/by-uri", ""),
            (As::Anyone, "GET /tracks/by-uri?uri=at://absent.test/fm.plyr.track/a", ""),
            (As::Anyone, "GET /tracks/by-uri?uri=https://plyr.fm/", ""),
        ],
    ),
    (
        "list_own_likes",
        &[
            (As::Viewer, "GET /tracks/liked?limit=1", ""),
            (As::Viewer, "GET /tracks/liked?order=recent&limit=1", ""),
            (As::Viewer, "GET /tracks/liked?order=random", ""),
            (As::Anyone, "GET /tracks/liked", ""),
        ],
    ),
    (
        "answer_batch",
        &[
            (As::Viewer, "POST /tracks/likes/batch", "{\"track_ids\":[1,2,99,1]}"),
            (As::Viewer, "POST /tracks/likes/batch", "{}"),
            (As::Viewer, "POST /tracks/likes/batch", "likes"),
            (As::Anyone, "POST /tracks/likes/batch", "{\"track_ids\":[1]}"),
            (As::BadToken, "POST /tracks/likes/batch", "{\"track_ids\":[1]}"),
        ],
    ),
    ("list_track_likers", &[(As::Anyone, "GET /tracks/1/likes?limit=1", ""), (As::Anyone, "GET /tracks/99/likes", "")]),
    (
        "list_user_likes",
        &[
            (As::Viewer, "GET /users/liker.test/likes?limit=1", ""),
            (As::Anyone, "GET /users/did:plc:absent/likes", ""),
            (As::Anyone, "GET /users/absent.test/likes", ""),
            (As::Anyone, "GET /users/absent/likes", ""),
            (As::Anyone, "GET /users/%ff/likes", ""),
        ],
    ),
    ("show_me", &[(As::Viewer, "GET /artists/me", ""), (As::Anyone, "GET /artists/me", "")]),
    (
        "show_artist",
        &[
            (As::Anyone, "GET /artists/artist.test", ""),
            (As::Anyone, "GET /artists/did:plc:absent", ""),
            (As::Anyone, "GET /artists/absent", ""),
            (As::BadToken, "GET /artists/artist.test", ""),
        ],
    ),
    (
        "list_artist_tracks",
        &[(As::Anyone, "GET /artists/artist.test/tracks?limit=1", ""), (As::Anyone, "GET /artists/absent/tracks", "")],
    ),
    (
        "list_actor_lists",
        &[
            (As::Anyone, "GET /lists?actor=liker.test&limit=1", ""),
            (As::Anyone, "GET /lists/?actor=liker.test&type=album", ""),
            (As::Anyone, "GET /lists?type=liked", ""),
            (As::Anyone, "GET /lists?actor=liker.test&type=%00", ""),
        ],
    ),
    (
        "show_list_by_uri",
        &[(As::Anyone, "GET /lists/by-uri?uri={list}", ""), (As::Anyone, "GET /lists/by-uri?uri={track}", "")],
    ),
    ("show_liked_list", &[(As::Viewer, "GET /lists/liked", ""), (As::Anyone, "GET /lists/liked", "")]),
    ("like", &[(As::Viewer, "POST /tracks/1/like", ""), (As::Anyone, "POST /tracks/1/like", "")]),
    ("unlike", &[(As::Viewer, "DELETE /tracks/1/like", "")]),
    ("reorder", &[(As::Viewer, "PUT /lists/liked/reorder", "{\"items\":[]}")]),
    ("prefer", &[(As::Viewer, "POST /preferences/", "{}")]),
    ("health", &[(As::Anyone, "GET /health", "")]),
    ("ready", &[(As::Anyone, "GET /ready", "")]),
    ("status", &[(As::Anyone, "GET /status", "")]),
    (
        "get_like_statuses",
        &[
            (As::Anyone, "GET /xrpc/fm.plyr.feed.getLikeStatuses?actor=liker.test&uris={track}&uris={list}", ""),
            (As::Viewer, "GET /xrpc/fm.plyr.feed.getLikeStatuses?uris={track}", ""),
            (As::Anyone, "GET /xrpc/fm.plyr.feed.getLikeStatuses?uris={track}", ""),
            (As::Anyone, "GET /xrpc/fm.plyr.feed.getLikeStatuses?actor=absent.test&uris={track}", ""),
            (As::Anyone, "GET /xrpc/fm.plyr.feed.getLikeStatuses?actor=liker.test", ""),
        ],
    ),
    (
        "get_track_likes",
        &[
            (As::Viewer, "GET /xrpc/fm.plyr.feed.getTrackLikes?uri={track}&limit=1", ""),
            (As::Anyone, "GET /xrpc/fm.plyr.feed.getTrackLikes?uri={track}&cursor=AAAA", ""),
        ],
    ),
    (
        "get_actor_likes",
        &[
            (As::Anyone, "GET /xrpc/fm.plyr.feed.getActorLikes?actor=liker.test&limit=1", ""),
            (As::Anyone, "GET /xrpc/fm.plyr.feed.getActorLikes", ""),
        ],
    ),
    (
        "get_tracks",
        &[
            (As::Anyone, "GET /xrpc/fm.plyr.feed.getTracks?uris={track}&uris={list}", ""),
            (As::BadToken, "GET /xrpc/fm.plyr.feed.getTracks?uris={track}", ""),
        ],
    ),
    (
        "get_actor_lists",
        &[
            (As::Anyone, "GET /xrpc/fm.plyr.graph.getActorLists?actor=liker.test&limit=1", ""),
            (As::Anyone, "GET /xrpc/fm.plyr.graph.getActorLists?actor=liker.test&listType=%00", ""),
        ],
    ),
    (
        "get_list",
        &[
            (As::Anyone, "GET /xrpc/fm.plyr.graph.getList?list={list}&limit=1", ""),
            (As::Anyone, "GET /xrpc/fm.plyr.graph.getList?list={track}", ""),
        ],
    ),
    ("xrpc_health", &[(As::Anyone, "GET /xrpc/_health", "")]),
];

/// Errors of no route in particular.
const OUTSIDE: [Request; 6] = [
    (As::Anyone, "GET /nothing/here", ""),
    (As::Anyone, "DELETE /tracks/", ""),
    (As::Anyone, "GET /xrpc/fm.plyr.feed.getNothing", ""),
    (As::Anyone, "POST /xrpc/fm.plyr.feed.getTracks", ""),
    (As::Anyone, "GET /docs", ""),
    (As::Anyone, "GET /docs/nothing.js", ""),
];

/// Requests of a database that is away or not as it must be.
const ASKS_DATABASE: [Request; 3] = [
    (As::Anyone, "GET /tracks/", ""),
    (As::Anyone, "GET /ready", ""),
    (As::Anyone, "GET /xrpc/fm.plyr.feed.getTracks?uris=at://did:plc:a/fm.plyr.track/b", ""),
];

/// An actor who likes two of three tracks and has a list of them.
async fn some_records() -> (Api, String) {
    let api = Api::start().await;
    let (artist, liker) = (api.actor("artist").await, api.actor("liker").await);
    let mut tracks = Vec::new();
    for second in 1..=3 {
        tracks.push(api.track(&artist, second).await);
    }
    api.like(&liker, 10, &tracks[0], 100).await;
    api.like(&liker, 11, &tracks[2], 101).await;
    api.like(&artist, 12, &tracks[0], 102).await;
    api.list(&liker, 20, "liked", &[&tracks[2], &tracks[0]]).await;
    api.list(&liker, 21, "playlist", &[&tracks[1]]).await;
    let token = api.token(&liker).await;
    (api, token)
}

/// The request and its answer, as text.
async fn ask(client: &reqwest::Client, url: &str, token: &str, request: Request) -> String {
    let (who, asked, body) = request;
    let (method, path) = asked.split_once(' ').expect("a method and a path");
    let path = path
        .replace("{track}", &format!("at://did:plc:artist/fm.plyr.track/{}", tid(1)))
        .replace("{list}", &format!("at://did:plc:liker/fm.plyr.list/{}", tid(20)));
    let method = Method::from_str(method).expect("a method");
    let mut sent = client.request(method, format!("{url}{path}")).body(body);
    sent = match who {
        As::Anyone => sent,
        As::Viewer => sent.bearer_auth(token),
        As::BadToken => sent.bearer_auth("bad"),
    };
    let who = ["", " (viewer)", " (bad token)"][who as usize];
    let answer = sent.send().await.expect("an answer");
    let mut text = format!("{asked}{who} {body}").trim_end().to_owned();
    let _ = writeln!(text, "\n{}", answer.status());
    for name in HEADERS {
        if let Some(value) = answer.headers().get(name) {
            let _ = writeln!(text, "{name}: {}", value.to_str().expect("a text"));
        }
    }
    let body = answer.text().await.expect("a body");
    let shown = serde_json::from_str::<Value>(&body).map_or(body, |json| pretty(&json));
    let _ = writeln!(text, "\n{shown}");
    text
}

/// JSON in lines, without what changes with each version of the program.
fn pretty(json: &Value) -> String {
    let text = serde_json::to_string_pretty(json).expect("JSON");
    text.replace(&format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION")), "\"version\": \"[version]\"")
}

async fn ask_all(client: &reqwest::Client, url: &str, token: &str, requests: &[Request]) -> String {
    let mut text = String::new();
    for request in requests {
        if !text.is_empty() {
            text.push_str("\n----\n\n");
        }
        text += &ask(client, url, token, *request).await;
    }
    text
}

/// A client that shows redirects and does not follow them.
fn client() -> reqwest::Client {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client")
}

#[tokio::test]
async fn every_route_of_the_document() {
    let (api, token) = some_records().await;
    let client = client();
    for (operation, requests) in ROUTES {
        assert_snapshot!(operation, ask_all(&client, &api.url, &token, requests).await);
    }
    let document = api.ok("/openapi.json").await;
    let mut documented = BTreeSet::new();
    for methods in document["paths"].as_object().expect("paths").values() {
        for operation in methods.as_object().expect("methods").values() {
            documented.insert(operation["operationId"].as_str().expect("a name"));
        }
    }
    assert_eq!(ROUTES.map(|(operation, _)| operation).into_iter().collect::<BTreeSet<_>>(), documented);
    assert_snapshot!("openapi", pretty(&document));
}

#[tokio::test]
async fn every_kind_of_error() {
    let (api, token) = some_records().await;
    let client = client();
    assert_snapshot!("errors_outside_of_routes", ask_all(&client, &api.url, &token, &OUTSIDE).await);
    // A client of the library's refuses to send so much.
    let mut stream = tokio::net::TcpStream::connect(api.url.trim_start_matches("http://")).await.expect("a connection");
    let long = format!("GET /tracks/?cursor={} HTTP/1.1\r\nhost: x\r\n\r\n", "A".repeat(70_000));
    stream.write_all(long.as_bytes()).await.expect("sent");
    let mut answer = [0; 25];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(std::str::from_utf8(&answer), Ok("HTTP/1.1 414 URI Too Long"));
    let huge = client.post(format!("{}/tracks/likes/batch", api.url)).bearer_auth(&token).body(" ".repeat(70_000));
    let huge = huge.send().await.expect("an answer");
    assert_snapshot!("error_413", format!("{}\n\n{}", huge.status(), huge.text().await.expect("a body")));
    for table in ["_sqlx_migrations", "tracks"] {
        sqlx::query(sqlx::AssertSqlSafe(format!("DROP TABLE {table} CASCADE")))
            .execute(api.pool())
            .await
            .expect("dropped");
    }
    assert_snapshot!("errors_of_a_broken_database", ask_all(&client, &api.url, &token, &ASKS_DATABASE).await);
    let nowhere = connect(PgConnectOptions::from_str("postgres://x@127.0.0.1:1/x").expect("a URL"), 4);
    let (url, _stop) = start(nowhere, settings()).await;
    assert_snapshot!("errors_without_a_database", ask_all(&client, &url, &token, &ASKS_DATABASE).await);
}
