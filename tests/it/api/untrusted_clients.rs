//! What an untrusted client is answered, whatever it asks: errors that programs can read, headers that browsers obey, and nothing of where
//! the program runs.

use std::{str::FromStr, time::Duration};

use data_encoding::BASE64;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{
    api::Api,
    database::fresh,
    process::{Process, command, get},
};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

async fn assert_words(answer: Response, asked: &str) {
    let status = answer.status();
    assert!(status.is_client_error() || status == 501, "{asked}: {status}");
    assert_eq!(answer.headers()["content-type"], "application/json", "{asked}: {status}");
    let text = answer.text().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap_or_else(|why| panic!("{asked}: {why}: {text}"));
    let word = if asked.contains("/xrpc/") { "message" } else { "detail" };
    assert!(body[word].as_str().is_some_and(|sentence| !sentence.is_empty()), "{asked}: {text}");
}

#[tokio::test]
async fn f8_every_refusal_is_json() {
    let api = Api::start().await;
    let paths = [
        "/nothing",
        "//",
        "/%00",
        "/%ff",
        "/tracks/%ff",
        "/tracks/%ff/likes",
        "/users/%ff/likes",
        "/artists/%c3%28",
        "/artists/%ff/tracks",
        "/docs/%ff",
        "/docs/nothing.js",
        "/docs/..%2f..%2fetc%2fpasswd",
        "/xrpc/%ff",
        "/xrpc/fm.plyr.nothing",
        "/xrpc/fm.plyr.graph.getList?list=%ff",
        "/lists/by-uri?uri=%ff",
        "/tracks/1/nothing",
    ];
    for path in paths {
        assert_words(api.get(path).await, path).await;
    }
    let routes = ["/tracks/", "/openapi.json", "/docs/", "/docs/index.html", "/status", "/xrpc/fm.plyr.feed.getTracks"];
    for path in routes {
        for method in ["PATCH", "PROPFIND", "TRACE"] {
            let answer = api.request(Method::from_str(method).unwrap(), path).send().await.unwrap();
            assert_eq!(answer.status(), 405, "{method} {path}");
            assert_words(answer, &format!("{method} {path}")).await;
        }
    }
}

#[tokio::test]
async fn f8_refusals_of_the_admin_listener_are_json() {
    let (database, data) = (fresh().await, tempfile::tempdir().unwrap());
    let mut api = command(data.path(), &["api"]);
    api.env("DATABASE_URL", &database.url);
    let mut program = Process::start(api);
    program.wait_for("serving");
    let client = reqwest::Client::new();
    for (method, path, status) in
        [("GET", "/nothing", 404), ("GET", "/%ff", 404), ("POST", "/metrics", 405), ("DELETE", "/status", 405)]
    {
        let url = format!("http://{}{path}", program.address("admin"));
        let answer = client.request(Method::from_str(method).unwrap(), url).send().await.unwrap();
        assert_eq!(answer.status(), status, "{method} {path}");
        assert_words(answer, path).await;
    }
    sqlx::query("ALTER TABLE positions RENAME TO elsewhere").execute(&database.pool).await.unwrap();
    let answer = client.get(format!("http://{}/status", program.address("admin"))).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (500, &"application/json".parse().unwrap())
    );
}

#[tokio::test]
async fn f8_a_slow_body_is_the_clients_fault() {
    let (database, data) = (fresh().await, tempfile::tempdir().unwrap());
    let mut api = command(data.path(), &["api"]);
    api.env("DATABASE_URL", &database.url);
    let mut program = Process::start(api);
    program.wait_for("serving");
    let mut stream = TcpStream::connect(program.address("api")).await.unwrap();
    let part = "POST /tracks/likes/batch HTTP/1.1\r\nHost: plyr\r\nContent-Length: 100\r\n\r\n{\"track_ids\":";
    stream.write_all(part.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_mins(1), read).await.expect("an answer and an end").unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.ends_with("{\"detail\":\"the body of the request did not come in time\"}"), "{answer}");
    let (_, _, said) = program.terminate();
    assert!(!said.contains("ERROR"), "{said}");
}

#[tokio::test]
async fn every_answer_says_what_it_is_and_pages_run_nothing() {
    let api = Api::start().await;
    for path in ["/tracks/", "/nothing", "/docs/", "/docs/swagger-ui.css", "/openapi.json", "/status", "/health"] {
        for method in [Method::GET, Method::OPTIONS, Method::DELETE] {
            let answer = api.request(method.clone(), path).header("accept", BROWSER).send().await.unwrap();
            assert_eq!(answer.headers()["x-content-type-options"], "nosniff", "{method} {path}");
            assert_eq!(answer.headers()["referrer-policy"], "no-referrer", "{method} {path}");
        }
    }
    for path in ["/docs/", "/status"] {
        let page = api.request(Method::GET, path).header("accept", BROWSER).send().await.unwrap();
        assert!(page.headers()["content-type"].to_str().unwrap().starts_with("text/html"), "{path}");
        let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none';") && policy.contains("frame-ancestors 'none'"), "{policy}");
        let scripts = policy.split(';').find(|part| part.trim().starts_with("script-src")).unwrap_or_default();
        assert!(!scripts.contains("unsafe"), "{policy}");
        let text = page.text().await.unwrap();
        // The one style that stands in a page is the one that is allowed.
        if let Some((style, _)) = text.split_once("<style>").and_then(|(_, rest)| rest.split_once("</style>")) {
            let hash = BASE64.encode(&Sha256::digest(style.as_bytes()));
            assert!(policy.contains(&format!("style-src 'sha256-{hash}'")), "{policy}");
        }
    }
}

#[tokio::test]
async fn the_public_status_names_no_machine() {
    let (database, data) = (fresh().await, tempfile::tempdir().unwrap());
    let mut api = command(data.path(), &["api"]);
    api.env("DATABASE_URL", &database.url);
    let mut program = Process::start(api);
    program.wait_for("serving");
    for statement in [
        "INSERT INTO sources (source, state, reason, changed_at, alive_at)
            VALUES ('firehose+wss://secret-relay', 'waiting', 'secret-relay is <b>away', now(), now())",
        "INSERT INTO indexers (id, host, process, started_at, alive_at)
            VALUES (7, 'secret-machine', 4711, now(), now())",
        "INSERT INTO drift (cause, kind, host, count, last_at)
            VALUES ('audit', 'missing', 'secret-pds', 2, now()), ('audit', 'missing', 'secret-other', 3, now())",
    ] {
        sqlx::query(statement).execute(&database.pool).await.unwrap_or_else(|why| panic!("{why}: {statement}"));
    }
    let (status, operators) = get(&program.address("admin"), "/status");
    assert!(status == 200 && operators.contains("secret-machine") && operators.contains("4711"), "{operators}");
    assert!(operators.contains("secret-relay is <b>away") && operators.contains("secret-pds"), "{operators}");
    let client = reqwest::Client::new();
    let page = client.get(format!("http://{}/status", program.address("admin"))).header("accept", BROWSER);
    let page = page.send().await.unwrap().text().await.unwrap();
    assert!(page.contains("secret-relay is &lt;b&gt;away"), "{page}");
    for accept in ["application/json", BROWSER] {
        let url = format!("http://{}/status", program.address("api"));
        let text = client.get(url).header("accept", accept).send().await.unwrap().text().await.unwrap();
        assert!(!text.contains("secret") && !text.contains("4711"), "{text}");
        assert!(text.contains("firehose") && text.contains("waiting") && text.contains("standby"), "{text}");
        if accept == "application/json" {
            let status: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(status["repos"]["drift"].as_array().unwrap().len(), 1);
            assert_eq!(status["repos"]["drift"][0]["count"], json!(5));
        }
    }
}
