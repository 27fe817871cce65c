//! The real API over real HTTP on a free port, over a database of its own that a test fills with rows.

use std::{str::FromStr, time::Duration};

use axum::http::HeaderValue;
use plyr_likes::{
    atproto::{Did, Tid, Timestamp},
    clock::Clock,
    model::{Collections, SessionId},
    serve::{Limits, ServeSettings, connect, router, run, token},
    store::sessions::{NewSession, create_session},
};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use sqlx::{PgPool, postgres::PgConnectOptions};
use tokio_util::sync::CancellationToken;

use super::{
    database::{TestDatabase, fresh},
    http,
};

const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);
/// The moment at which all tests of the API happen.
pub const NOW: &str = "2026-06-01T12:00:00Z";
/// The page that may ask from elsewhere.
pub const ORIGIN: &str = "https://plyr.test";

pub struct Api {
    pub database: TestDatabase,
    pub url: String,
    pub client: reqwest::Client,
    stop: CancellationToken,
}

/// An actor, a track: number and name.
#[derive(Debug, Clone)]
pub struct Known {
    pub id: i64,
    pub name: String,
}

pub fn settings() -> ServeSettings {
    let collections = Collections::of_namespace("fm.plyr").expect("a namespace");
    let mut settings = ServeSettings::new(collections, [7; 32]);
    settings.cors_origins = vec![HeaderValue::from_static(ORIGIN)];
    // Tests ask again at once.
    settings.status_age_max = Duration::ZERO;
    settings
}

pub fn now() -> Timestamp {
    Timestamp::parse(NOW).expect("a moment")
}

/// Starts the API over a pool; answers its address and what stops it.
pub async fn start(pool: PgPool, settings: ServeSettings) -> (String, CancellationToken) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let stop = CancellationToken::new();
    tokio::spawn(run(listener, router(pool, settings, Clock::of(now)), Limits::api(), stop.clone()));
    (format!("http://{address}"), stop)
}

impl Api {
    pub async fn start() -> Self {
        Self::with(settings()).await
    }

    pub async fn with(settings: ServeSettings) -> Self {
        let database = fresh().await;
        let pool = connect(PgConnectOptions::from_str(&database.url).expect("a URL"), 8);
        Self::over(database, pool, settings).await
    }

    /// Over a database and a pool that are there.
    pub async fn over(database: TestDatabase, pool: PgPool, settings: ServeSettings) -> Self {
        let (url, stop) = start(pool, settings).await;
        Self { database, url, client: http::client(REQUEST_TIMEOUT), stop }
    }

    pub fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.expect("an answer")
    }

    /// The JSON of an answer that must be 200.
    pub async fn ok(&self, path: &str) -> Value {
        json_of(self.get(path).await, StatusCode::OK).await
    }

    /// The JSON of an answer that must be refused with this status.
    pub async fn refused(&self, path: &str, status: u16) -> Value {
        json_of(self.get(path).await, StatusCode::from_u16(status).expect("a status")).await
    }

    pub async fn ok_as(&self, token: &str, path: &str) -> Value {
        let answer = self.request(Method::GET, path).bearer_auth(token).send().await.expect("an answer");
        json_of(answer, StatusCode::OK).await
    }

    pub async fn batch(&self, token: &str, body: &str) -> Response {
        self.request(Method::POST, "/tracks/likes/batch")
            .bearer_auth(token)
            .body(body.to_owned())
            .send()
            .await
            .expect("an answer")
    }

    pub async fn actor(&self, name: &str) -> Known {
        let did = format!("did:plc:{name}");
        let id = sqlx::query_scalar("INSERT INTO actors (did, handle) VALUES ($1, $2) RETURNING id")
            .bind(&did)
            .bind(format!("{name}.test"))
            .fetch_one(self.pool())
            .await
            .expect("an actor");
        Known { id, name: did }
    }

    /// A token that may read as this actor.
    pub async fn token(&self, actor: &Known) -> String {
        self.token_until(actor, "2026-07-01T00:00:00Z").await.0
    }

    /// A token and the number of its session.
    pub async fn token_until(&self, actor: &Known, expires_at: &str) -> (String, SessionId) {
        let token = token::create_token();
        let mut connection = self.pool().acquire().await.expect("a connection");
        let session = NewSession {
            token_hash: &token::hash_token(&token),
            did: &Did::parse(&actor.name).expect("a DID"),
            name: Some("a test"),
            may_write: false,
            expires_at: Timestamp::parse(expires_at).expect("a moment"),
        };
        let id = create_session(&mut connection, &session).await.expect("a session");
        (token, id)
    }

    /// A track of this artist, made `second` seconds into 2026.
    pub async fn track(&self, artist: &Known, second: i64) -> Known {
        let known = self.unknown_track(artist, second).await;
        sqlx::query(
            "UPDATE tracks SET title = 'Track ' || $2, artist = 'The artist', file_type = 'mp3', rev = $2, cid = $3,
                sort_at = timestamptz '2026-01-01Z' + make_interval(secs => $2),
                created_at = timestamptz '2026-01-01Z' + make_interval(secs => $2), indexed_at = '2026-02-01Z'
            WHERE id = $1",
        )
        .bind(known.id)
        .bind(second)
        .bind(cid_bytes(second))
        .execute(self.pool())
        .await
        .expect("a track");
        known
    }

    /// A track that was mentioned and whose record has not come.
    pub async fn unknown_track(&self, artist: &Known, number: i64) -> Known {
        let uri = format!("at://{}/fm.plyr.track/{}", artist.name, tid(number));
        let id: i64 = sqlx::query_scalar("INSERT INTO tracks (uri, artist_id) VALUES ($1, $2) RETURNING id")
            .bind(&uri)
            .bind(artist.id)
            .fetch_one(self.pool())
            .await
            .expect("a track");
        sqlx::query("INSERT INTO track_counts (track_id) VALUES ($1)")
            .bind(id)
            .execute(self.pool())
            .await
            .expect("a count");
        Known { id, name: uri }
    }

    /// A like record with key `number`, made `second` seconds into 2026.
    pub async fn like(&self, actor: &Known, number: i64, track: &Known, second: i64) {
        let cid: i64 = sqlx::query_scalar(
            "INSERT INTO subject_cids (cid) VALUES ($1) ON CONFLICT (cid) DO UPDATE SET cid = excluded.cid RETURNING id",
        )
        .bind(cid_bytes(0))
        .fetch_one(self.pool())
        .await
        .expect("a subject's CID");
        sqlx::query(
            "INSERT INTO likes (actor_id, rkey, rev, indexed_at, subject_id, subject_cid_id, sort_at, created_at)
            SELECT $1, $2, $2, '2026-02-01Z', $3, $5, at, at
            FROM (SELECT timestamptz '2026-01-01Z' + make_interval(secs => $4) AS at) AS made",
        )
        .bind(actor.id)
        .bind(number)
        .bind(track.id)
        .bind(second)
        .bind(cid)
        .execute(self.pool())
        .await
        .expect("a like");
    }

    /// Leaves the tombstone of a like.
    pub async fn unlike(&self, actor: &Known, number: i64) {
        sqlx::query(
            "UPDATE likes SET subject_id = NULL, subject_cid_id = NULL, sort_at = NULL, created_at = NULL, cid = NULL,
                rev = rev + 1000000
            WHERE actor_id = $1 AND rkey = $2",
        )
        .bind(actor.id)
        .bind(number)
        .execute(self.pool())
        .await
        .expect("a tombstone");
    }

    /// A list, or a new version of one, with these items.
    pub async fn list(&self, actor: &Known, number: i64, list_type: &str, items: &[&Known]) {
        let uris: Vec<&str> = items.iter().map(|item| item.name.as_str()).collect();
        let cids = vec![CID; items.len()];
        sqlx::query(
            "INSERT INTO lists (actor_id, rkey, rev, indexed_at, sort_at, created_at, cid, name, list_type, item_uris, item_cids)
            VALUES ($1, $2, $2, '2026-02-01Z', '2026-01-01Z', '2026-01-01Z', $3, 'A list', $4, $5, $6)
            ON CONFLICT (actor_id, rkey) DO UPDATE SET rev = lists.rev + 1, item_uris = $5, item_cids = $6",
        )
        .bind(actor.id)
        .bind(number)
        .bind(cid_bytes(number))
        .bind(list_type)
        .bind(uris)
        .bind(cids)
        .execute(self.pool())
        .await
        .expect("a list");
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The CID that likes and lists of these tests name.
pub const CID: &str = "bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";

fn cid_bytes(number: i64) -> Vec<u8> {
    if number == 0 {
        return plyr_likes::atproto::Cid::parse(CID).expect("a CID").to_bytes();
    }
    plyr_likes::atproto::Cid::of_record(&number.to_be_bytes()).to_bytes()
}

/// The record key of a number.
pub fn tid(number: i64) -> String {
    Tid::from_number(number).to_string()
}

pub async fn json_of(answer: Response, status: StatusCode) -> Value {
    let given = answer.status();
    let text = answer.text().await.expect("a body");
    assert_eq!(given, status, "{text}");
    serde_json::from_str(&text).unwrap_or_else(|why| panic!("not JSON: {why}: {text}"))
}

/// The `id` of each track of a page.
pub fn ids(page: &Value) -> Vec<i64> {
    page["tracks"].as_array().expect("tracks").iter().map(|track| track["id"].as_i64().expect("an id")).collect()
}
