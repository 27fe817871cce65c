//! Commits of the raw firehose, verified against the keys in a PLC directory, by the real program.

mod reject_mode;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use axum::{Json, Router, extract::Path, http::StatusCode, routing::get};
use ipld_core::ipld::Ipld;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::{
    pipeline::wire::{message, set},
    support::{
        database::{TestDatabase, fresh},
        model::tid_text,
        program::{Program, Settings},
        repo::{Repo, encode, map},
        upstream::{Act, Upstream},
    },
};

const REV: i64 = 0x6_0000_0000_0000;

/// A PLC directory that knows some keys, and counts its requests by DID.
struct Directory {
    url: String,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    keys: BTreeMap<String, String>,
    asked: BTreeMap<String, usize>,
    /// The DIDs whose requests stay unanswered.
    silent: BTreeSet<String>,
    /// How many requests wait for an answer that does not come.
    waiting: usize,
    /// It answers 503 to everything.
    is_away: bool,
}

/// A request that stays open as long as its sender waits.
struct OpenRequest(Arc<Mutex<Known>>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.lock().unwrap().waiting -= 1;
    }
}

impl Directory {
    async fn start() -> Self {
        let known = Arc::<Mutex<Known>>::default();
        let asked = known.clone();
        let answer = async move |Path(did): Path<String>| {
            let (key, is_silent, is_away) = {
                let mut known = asked.lock().unwrap();
                *known.asked.entry(did.clone()).or_insert(0) += 1;
                let is_silent = known.silent.contains(&did);
                known.waiting += usize::from(is_silent);
                (known.keys.get(&did).cloned(), is_silent, known.is_away)
            };
            if is_silent {
                let _request = OpenRequest(asked.clone());
                std::future::pending::<()>().await;
            }
            if is_away {
                return Err(StatusCode::SERVICE_UNAVAILABLE);
            }
            key.map(|key| Json(document(&did, &key))).ok_or(StatusCode::NOT_FOUND)
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/{did}", get(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, known }
    }

    fn add(&self, repo: &Repo) {
        self.known.lock().unwrap().keys.insert(repo.did.clone(), repo.multikey());
    }

    fn asked(&self, did: &str) -> usize {
        self.known.lock().unwrap().asked.get(did).copied().unwrap_or(0)
    }

    /// Leaves requests for a DID unanswered, or no longer so.
    fn keep_silent(&self, did: &str, is_silent: bool) {
        let mut known = self.known.lock().unwrap();
        if is_silent {
            known.silent.insert(did.to_owned())
        } else {
            known.silent.remove(did)
        };
    }

    fn waiting(&self) -> usize {
        self.known.lock().unwrap().waiting
    }

    fn go_away(&self, is_away: bool) {
        self.known.lock().unwrap().is_away = is_away;
    }
}

fn document(did: &str, key: &str) -> Value {
    json!({
        "@context": ["https://www.w3.org/ns/did/v1"],
        "id": did,
        "verificationMethod": [
            {"id": format!("{did}#atproto"), "type": "Multikey", "controller": did, "publicKeyMultibase": key}
        ],
        "service": [],
    })
}

fn like(repo: &mut Repo, rev: i64, collection: &str) -> Ipld {
    let subject = map([
        ("uri", "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/fm.plyr.track/3l3pte3p2e325".into()),
        ("cid", "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a".into()),
    ]);
    let record =
        map([("$type", collection.into()), ("createdAt", "2026-07-04T12:00:00.000Z".into()), ("subject", subject)]);
    let path = format!("{collection}/{}", tid_text(rev));
    repo.commit(rev, &[(&path, Some(encode(&record)))])
}

/// What the program runs on.
struct Fixture {
    database: TestDatabase,
    upstream: Upstream,
    settings: Settings,
}

/// The program over a database that knows some keys, each read so long ago, at an upstream that sends these payloads.
async fn serve(
    payloads: Vec<Ipld>,
    directory: &Directory,
    known: &[(&Repo, &str)],
    verify: &str,
) -> (Program, sqlx::PgPool, Fixture) {
    let fixture = stage(vec![payloads], directory, known, verify).await;
    (Program::serve(&fixture.settings).await, fixture.database.pool.clone(), fixture)
}

/// A database that knows some keys, each read so long ago, and an upstream that sends these payloads: the first part
/// at once, and each other part after a call of `go`.
async fn stage(payloads: Vec<Vec<Ipld>>, directory: &Directory, known: &[(&Repo, &str)], verify: &str) -> Fixture {
    let database = fresh().await;
    for (repo, age) in known {
        sqlx::query(
            "INSERT INTO identities (did, signing_key, fetched_at, due_at)
            VALUES ($1, $2, now() - $3::interval, now() + interval '1 day')",
        )
        .bind(&repo.did)
        .bind(repo.multikey())
        .bind(age)
        .execute(&database.pool)
        .await
        .unwrap();
    }
    let mut seq = 0_i64;
    let mut number = |mut payload: Ipld| {
        seq += 1;
        set(&mut payload, "seq", Ipld::Integer(seq.into()));
        (seq, message(&json!({"op": 1, "t": "#commit"}), &payload))
    };
    let parts: Vec<Vec<(i64, Vec<u8>)>> =
        payloads.into_iter().map(|part| part.into_iter().map(&mut number).collect()).collect();
    let upstream = Upstream::start(move |request| {
        let cursor = request.cursor().unwrap_or(0);
        let mut acts = Vec::new();
        for part in &parts {
            let frames: Vec<Frame> =
                part.iter().filter(|(seq, _)| *seq > cursor).map(|(_, bytes)| Frame::binary(bytes.clone())).collect();
            if !frames.is_empty() {
                acts.extend((!acts.is_empty()).then_some(Act::WaitForGo));
                acts.push(Act::Burst(frames));
            }
        }
        acts.push(Act::Stay);
        acts
    })
    .await;
    let settings = Settings::new()
        .with("DATABASE_URL", &database.url)
        .with("PLYR_SOURCES", format!("firehose+ws://{}", upstream.address))
        .with("PLYR_PLC_URL", &directory.url)
        .with("PLYR_ALLOW_PRIVATE_HOSTS", "true")
        .with("PLYR_VERIFY", verify);
    Fixture { database, upstream, settings }
}

/// The verification counters that are not zero.
async fn outcomes(program: &Program) -> BTreeMap<String, u64> {
    let metrics = program.metrics().await;
    let lines = metrics.lines().filter_map(|line| line.strip_prefix("plyr_commits_verified_total{outcome=\""));
    let counted = lines.map(|line| line.split_once("\"} ").unwrap());
    counted
        .map(|(outcome, count)| (outcome.to_owned(), count.parse().unwrap()))
        .filter(|(_, count)| *count > 0)
        .collect()
}

async fn count_likes(pool: &sqlx::PgPool) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM likes WHERE subject_id IS NOT NULL").fetch_one(pool).await.unwrap()
}

fn did(letter: char) -> String {
    format!("did:plc:{}", letter.to_string().repeat(24))
}

#[tokio::test]
async fn commits_are_applied_and_those_that_fail_verification_mark_their_repo() {
    let directory = Directory::start().await;
    let [mut good, mut rotated, mut forged, mut amiss, mut without_key] =
        [('a', 1), ('b', 2), ('c', 3), ('d', 4), ('e', 5)].map(|(letter, seed)| Repo::new(&did(letter), seed));
    let old = Repo::new(&did('b'), 20);
    let owner = Repo::new(&did('c'), 30);
    for repo in [&good, &rotated, &owner, &amiss] {
        directory.add(repo);
    }
    let mut payloads: Vec<Ipld> = (0..3).map(|at| like(&mut good, REV + at, "fm.plyr.like")).collect();
    payloads.push(like(&mut good, REV + 3, "app.example.like"));
    payloads.push(like(&mut rotated, REV, "fm.plyr.like"));
    payloads.push(like(&mut forged, REV, "fm.plyr.like"));
    let mut of_another_past = like(&mut amiss, REV, "fm.plyr.like");
    set(&mut of_another_past, "prevData", Ipld::Link(good.data()));
    payloads.push(of_another_past);
    payloads.push(like(&mut without_key, REV, "fm.plyr.like"));

    let (program, pool, _held) = serve(payloads, &directory, &[(&old, "1 hour")], "on").await;
    let expected: BTreeMap<String, u64> = [("verified", 4), ("signature", 1), ("before", 1), ("no_key", 1)]
        .map(|(word, count)| (word.to_owned(), count))
        .into();
    program
        .wait_until("all commits of ours are verified", async |program| {
            let outcomes = outcomes(program).await;
            if outcomes == expected { Ok(()) } else { Err(format!("{outcomes:?}")) }
        })
        .await;
    program
        .wait_until("all are applied", async |_| match count_likes(&pool).await {
            7 => Ok(()),
            count => Err(count.to_string()),
        })
        .await;
    program
        .wait_until("their repos are marked", async |_| {
            let marked: Vec<(String, i64)> = sqlx::query_as(
                "SELECT did, to_value - $1 FROM gaps WHERE reason = 'proof' AND state = 'open' ORDER BY did",
            )
            .bind(REV)
            .fetch_all(&pool)
            .await
            .unwrap();
            if marked == [(did('c'), 0), (did('d'), 0)] { Ok(()) } else { Err(format!("{marked:?}")) }
        })
        .await;
    assert!(directory.asked(&did('b')) >= 1, "the old key was not fetched again");
    program.terminate();
}

#[tokio::test]
async fn nothing_is_verified_when_it_is_off() {
    let directory = Directory::start().await;
    let mut forged = Repo::new(&did('c'), 3);
    directory.add(&Repo::new(&did('c'), 30));
    let payload = like(&mut forged, REV, "fm.plyr.like");
    let (program, pool, _held) = serve(vec![payload], &directory, &[], "off").await;
    program
        .wait_until("it is applied", async |_| match count_likes(&pool).await {
            1 => Ok(()),
            count => Err(count.to_string()),
        })
        .await;
    assert_eq!(outcomes(&program).await, BTreeMap::new());
    program.terminate();
}
