//! H2: whatever a record holds, rows are small and pages stay within their bytes.

use std::str::FromStr as _;

use plyr_likes::serve::connect;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use unicode_segmentation::UnicodeSegmentation as _;

use crate::support::{
    api::{Api, CID, json_of, settings, start, tid},
    database::fresh,
    run::command,
};

const DID: &str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
/// Rows of an answer have a mebibyte; what stands around them needs little.
const ANSWER_MAX: usize = 1024 * 1024 + 4096;

/// A record as a line of a log.
fn line(number: i64, collection: &str, record: &Value) -> String {
    let rkey = if collection.ends_with("profile") { "self".to_owned() } else { tid(number) };
    let mut record = record.clone();
    record["$type"] = collection.into();
    record["createdAt"] = "2026-02-25T06:00:01Z".into();
    let rev = tid((1_772_000_000_000_000 + number) << 10);
    json!({"did": DID, "time_us": 1_772_000_000_000_000_i64 + number, "kind": "commit", "commit": {
        "rev": rev, "operation": "create", "collection": collection, "rkey": rkey, "cid": CID, "record": record,
    }})
    .to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h2_texts_that_no_lexicon_bounds_are_cut() {
    let (database, folder) = (fresh().await, tempfile::tempdir().unwrap());
    // Each grapheme is four characters of 18 bytes: a cut inside one shows.
    let family = "\u{1f469}\u{200d}\u{1f469}\u{200d}\u{1f467}";
    let large = family.repeat(950_000 / family.len());
    let track = json!({"title": "T", "artist": "A", "fileType": "mp3", "album": large, "supportGate": {"more": large}});
    let mut lines: Vec<String> = (1..=30).map(|number| line(number, "fm.plyr.track", &track)).collect();
    lines.push(line(31, "fm.plyr.actor.profile", &json!({"bio": large})));
    lines.push(line(32, "fm.plyr.list", &json!({"items": [], "name": "liked", "listType": "liked"})));
    lines.push(line(33, "fm.plyr.list", &json!({"items": [], "name": "odd", "listType": format!("liked{large}")})));
    lines.push(line(
        34,
        "fm.plyr.track",
        &json!({"title": "T", "artist": "A", "fileType": "mp3", "album": "a".repeat(640),
        "supportGate": {"type": "any"}}),
    ));
    let log = folder.path().join("log.jsonl");
    std::fs::write(&log, lines.join("\n")).unwrap();
    let said = command(&database.url).args(["replay".as_ref(), log.as_os_str()]).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));

    let pool = connect(PgConnectOptions::from_str(&database.url).unwrap(), 4);
    let (url, _stop) = start(pool, settings()).await;
    let page = reqwest::get(format!("{url}/tracks/?limit=100")).await.unwrap().text().await.unwrap();
    assert!(page.len() < 100_000, "{} bytes", page.len());
    let page: Value = serde_json::from_str(&page).unwrap();
    let albums: Vec<&str> = page["tracks"].as_array().unwrap().iter().map(|t| t["album"].as_str().unwrap()).collect();
    assert_eq!(albums.len(), 31, "each is a track, whatever its album");
    assert_eq!(albums.iter().filter(|album| **album == "a".repeat(640)).count(), 1, "what fits is not cut");
    let cut = albums.iter().find(|album| album.starts_with(family)).unwrap();
    assert!(cut.len() > 600 && cut.graphemes(true).all(|grapheme| grapheme == family), "{cut}");
    let artist: Value = json_of(reqwest::get(format!("{url}/artists/{DID}")).await.unwrap(), StatusCode::OK).await;
    let bio = artist["bio"].as_str().unwrap();
    assert!((2500..=2560).contains(&bio.len()) && bio.graphemes(true).all(|grapheme| grapheme == family), "{bio}");
    let lists = reqwest::get(format!("{url}/lists?actor={DID}")).await.unwrap();
    let lists = json_of(lists, StatusCode::OK).await;
    let types: Vec<&Value> = lists["lists"].as_array().unwrap().iter().map(|list| &list["list_type"]).collect();
    assert_eq!(types, [&Value::Null, &json!("liked")]);
    let liked =
        json_of(reqwest::get(format!("{url}/lists?actor={DID}&type=liked")).await.unwrap(), StatusCode::OK).await;
    assert_eq!(liked["lists"].as_array().unwrap().len(), 1);
    let gates = "SELECT count(*) FROM tracks WHERE support_gate = '{}'";
    assert_eq!(sqlx::query_scalar::<_, i64>(gates).fetch_one(&database.pool).await.unwrap(), 30, "a gate stays one");
}

/// All rows of a list, page by page, and how many pages there were. Each must be within its bytes.
async fn read_all(api: &Api, token: &str, path: &str, rows: &str) -> (Vec<Value>, usize) {
    let (mut all, mut pages, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let joint = if path.contains('?') { '&' } else { '?' };
        let answer =
            api.client.get(format!("{}{path}{joint}{cursor}", api.url)).bearer_auth(token).send().await.unwrap();
        let text = answer.text().await.unwrap();
        assert!(text.len() <= ANSWER_MAX, "{path}: {} bytes", text.len());
        let page: Value = serde_json::from_str(&text).unwrap_or_else(|why| panic!("{path}: {why}: {text}"));
        let found = page[rows].as_array().unwrap_or_else(|| panic!("{path}: {text}"));
        assert!(!found.is_empty(), "{path}: an empty page");
        all.extend(found.iter().cloned());
        pages += 1;
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("cursor={next}"),
            None => return (all, pages),
        }
    }
}

#[tokio::test]
async fn h2_pages_of_large_rows_end_early() {
    let api = Api::start().await;
    let artist = api.actor("artist").await;
    let mut tracks = Vec::new();
    for second in 1..=80 {
        let track = api.track(&artist, second).await;
        api.like(&artist, second, &track, second).await;
        tracks.push(track);
    }
    let items: Vec<_> = tracks.iter().chain(&tracks).chain(&tracks).collect();
    api.list(&artist, 500, "liked", &items).await;
    // What the lexicon allows at most is six times as long in JSON.
    sqlx::query("UPDATE tracks SET description = repeat(chr(1), 5000)").execute(api.pool()).await.unwrap();
    for number in 1..=90 {
        let liker = api.actor(&format!("liker{number}")).await;
        api.like(&liker, number, &tracks[0], number).await;
    }
    sqlx::query(
        "INSERT INTO profiles (actor_id, rev, indexed_at, cid, avatar)
        SELECT id, 1, now(), '\\x01', 'https://' || repeat('a', 20000) FROM actors WHERE did LIKE '%liker%'",
    )
    .execute(api.pool())
    .await
    .unwrap();
    let token = api.token(&artist).await;
    for path in [
        "/tracks/?limit=100",
        "/tracks/?limit=100&sort=popular",
        "/tracks/?limit=100&sort=popular&artist_did=artist.test",
        "/artists/artist.test/tracks?limit=100",
        "/users/artist.test/likes?limit=100",
        "/tracks/liked?limit=100",
        "/tracks/liked?limit=100&order=recent",
    ] {
        let (all, pages) = read_all(&api, &token, path, "tracks").await;
        let mut ids: Vec<i64> = all.iter().map(|track| track["id"].as_i64().unwrap()).collect();
        assert_eq!(ids.len(), 80, "{path}");
        ids.sort_unstable();
        ids.dedup();
        assert!(ids.len() == 80 && (3..=5).contains(&pages), "{path}: {} tracks, {pages} pages", ids.len());
    }
    let (likers, pages) = read_all(&api, &token, &format!("/tracks/{}/likes?limit=100", tracks[0].id), "users").await;
    assert!(likers.len() == 91 && pages == 2, "{} likers, {pages} pages", likers.len());
    let by_uri = format!("/lists/by-uri?uri=at://{}/fm.plyr.list/{}", artist.name, tid(500));
    for path in [by_uri.as_str(), "/lists/liked"] {
        let (found, pages) = read_all(&api, &token, path, "items").await;
        let uris: Vec<&str> = found.iter().map(|item| item["uri"].as_str().unwrap()).collect();
        let expected: Vec<&str> = items.iter().map(|track| track.name.as_str()).collect();
        assert_eq!(uris, expected, "{path}");
        assert!(pages >= 6 && found.iter().all(|item| item["track"].is_object()), "{path}: {pages} pages");
    }
}
