//! R5: hidden actors in every view that the API's document knows.

use std::collections::BTreeMap;

use plyr_likes::{
    apply::{Applier, Batch},
    clock::Clock,
    decode::{Item, jetstream_v1},
    maintenance::follow_accounts,
    model::Collections,
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{
    api::{Api, Known, ids, tid as tid_of},
    stage::account_message,
};

/// Takes one message as the indexer does.
async fn take(pool: &PgPool, message: &[u8]) {
    let collections = Collections::of_namespace("fm.plyr").expect("a namespace");
    let items = jetstream_v1::decode_message(&collections, message).items;
    let events = items.into_iter().filter_map(|item| if let Item::Event(event) = item { Some(event) } else { None });
    let batch = Batch { events: events.collect(), ..Batch::default() };
    assert_eq!(batch.events.len(), 1);
    let mut connection = pool.acquire().await.expect("a connection");
    Applier::new(collections, Clock::system()).apply(&mut connection, &batch).await.expect("the database takes it");
}

/// An actor with a track, a list and likes: there, or not.
struct Subject {
    name: &'static str,
    track_id: i64,
}

impl Subject {
    fn of_parameter(&self, path: &str, parameter: &str, by_handle: bool) -> Option<String> {
        let Self { name, track_id } = self;
        let (track, list) = (tid_of(77), tid_of(500));
        Some(match parameter {
            "actor" | "did" | "handle_or_did" | "artist_did" if by_handle => format!("{name}.test"),
            "actor" | "did" | "handle_or_did" | "artist_did" => format!("did:plc:{name}"),
            "uri" if path.starts_with("/lists") => format!("at://did:plc:{name}/fm.plyr.list/{list}"),
            "uri" | "uris" => format!("at://did:plc:{name}/fm.plyr.track/{track}"),
            "list" => format!("at://did:plc:{name}/fm.plyr.list/{list}"),
            "track_id" => track_id.to_string(),
            "sort" => "popular".to_owned(),
            "order" => "recent".to_owned(),
            "limit" | "cursor" | "type" | "listType" => return None,
            other => panic!("{path}: say here how to ask by {other}"),
        })
    }
}

/// Every question that the document knows and that only reads, about an actor.
fn questions(document: &Value, about: &Subject) -> Vec<String> {
    let mut questions = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            if method != "get" {
                let is_known = operation["tags"][0] == "writing" || path == "/tracks/likes/batch";
                assert!(is_known, "{method} {path}: say here what it shows");
                continue;
            }
            for (by_handle, is_full) in [(false, false), (false, true), (true, true)] {
                let (mut asked, mut query) = (path.clone(), Vec::new());
                for parameter in operation["parameters"].as_array().into_iter().flatten() {
                    let name = parameter["name"].as_str().expect("a name");
                    let Some(value) = about.of_parameter(path, name, by_handle) else { continue };
                    if parameter["in"] == "path" {
                        asked = asked.replace(&format!("{{{name}}}"), &value);
                    } else if is_full || parameter["required"] == true {
                        query.push(format!("{name}={value}"));
                    }
                }
                questions.push(format!("{asked}?{}", query.join("&")));
            }
        }
    }
    questions
}

/// What is answered, by question.
async fn answers(api: &Api, questions: &[String], token: Option<&str>) -> Vec<(StatusCode, String)> {
    let mut answers = Vec::new();
    for question in questions {
        let mut request = api.client.get(format!("{}{question}", api.url));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.expect("an answer");
        answers.push((answer.status(), answer.text().await.expect("a text")));
    }
    answers
}

/// Whether an answer shows the hidden actor: by DID or handle, or by the title of their track.
fn shows_hidden(text: &str) -> bool {
    ["did:plc:hidden", "hidden.test", "Track 77\""].iter().any(|trace| text.contains(trace))
}

#[tokio::test]
async fn r5_hidden_actors_in_every_view() {
    let api = Api::start().await;
    let (hidden, viewer) = (api.actor("hidden").await, api.actor("viewer").await);
    let (track, other) = (api.track(&hidden, 77).await, api.track(&viewer, 5).await);
    for (actor, number) in [(&hidden, 900), (&viewer, 901)] {
        api.like(actor, number, &track, 10).await;
        api.like(actor, number + 10, &other, 11).await;
        api.list(actor, 500, "liked", &[&track, &other]).await;
    }
    let as_viewer = api.token(&viewer).await;
    let as_hidden = api.token(&hidden).await;
    let document = api.ok("/openapi.json").await;
    let about = questions(&document, &Subject { name: "hidden", track_id: track.id });
    let about_absent = questions(&document, &Subject { name: "absent", track_id: 999_999 });
    let before = answers(&api, &about, None).await;
    let shown = before.iter().filter(|(_, text)| shows_hidden(text)).count();
    assert!(shown > 20, "there is something to hide: {shown} of {} answers", before.len());
    let viewed_before = answers(&api, &about, Some(&as_viewer)).await;

    take(api.pool(), &account_message("did:plc:hidden", (false, Some("takendown")), 1)).await;
    for counts_followed in [false, true] {
        // A question about what is hidden is answered as one about an actor never seen.
        let found = answers(&api, &about, None).await;
        let nothing = answers(&api, &about_absent, None).await;
        for ((question, hidden), absent) in about.iter().zip(&found).zip(&nothing) {
            let same =
                (hidden.0, hidden.1.replace("hidden", "absent")) == (absent.0, absent.1.replace("hidden", "absent"));
            assert!(same, "counts_followed: {counts_followed}: {question}\n{hidden:?}\n{absent:?}");
            let echo = hidden.1.replace("did:plc:hidden/", "").replace("\"did:plc:hidden\"", "");
            assert!(!shows_hidden(&echo), "counts_followed: {counts_followed}: {question} shows {}", hidden.1);
        }
        assert_views_of(&api, &viewer, &as_viewer, [&track, &other]).await;
        assert_nothing_is_own(&api, &as_hidden, [&track, &other]).await;
        follow_accounts(&mut api.pool().acquire().await.unwrap(), None).await.unwrap();
    }
    take(api.pool(), &account_message("did:plc:hidden", (true, None), 2)).await;
    for _ in 0..2 {
        let without_status = |answers: Vec<(StatusCode, String)>| -> BTreeMap<String, (StatusCode, String)> {
            let pairs = about.iter().cloned().zip(answers);
            pairs.filter(|(question, _)| !question.starts_with("/status")).collect()
        };
        assert_eq!(without_status(answers(&api, &about, None).await), without_status(before.clone()));
        assert_eq!(
            without_status(answers(&api, &about, Some(&as_viewer)).await),
            without_status(viewed_before.clone())
        );
        follow_accounts(&mut api.pool().acquire().await.unwrap(), None).await.unwrap();
    }
}

/// What an actor sees who likes a track of the hidden actor, and one that the hidden actor likes.
async fn assert_views_of(api: &Api, viewer: &Known, token: &str, [track, other]: [&Known; 2]) {
    let both = format!("{{\"track_ids\":[{},{}]}}", track.id, other.id);
    let batch: Value = api.batch(token, &both).await.json().await.unwrap();
    assert_eq!(batch, json!({track.id.to_string(): false, other.id.to_string(): true}));
    for view in ["/tracks/liked?order=custom", "/tracks/liked?order=recent", "/tracks/", "/tracks/?sort=popular"] {
        assert_eq!(ids(&api.ok_as(token, view).await), [other.id], "{view}");
    }
    let likers = api.ok(&format!("/tracks/{}/likes", other.id)).await;
    assert_eq!((&likers["count"], &likers["users"][0]["did"]), (&json!(1), &json!(viewer.name)));
    assert_eq!(api.ok(&format!("/tracks/{}", other.id)).await["like_count"], 1);
    assert_eq!(api.ok("/users/viewer.test/likes").await["count"], 1);
    let likes = api.ok("/xrpc/fm.plyr.feed.getActorLikes?actor=viewer.test").await;
    assert_eq!(likes["likes"].as_array().unwrap().len(), 1, "{likes}");
    // The list is the viewer's own record: it names what it names, and the track is not shown.
    let items = api.ok_as(token, "/lists/liked").await["items"].clone();
    assert_eq!((&items[0]["track"], &items[1]["track"]["id"]), (&Value::Null, &json!(other.id)), "{items}");
}

/// What the hidden actor sees: nothing of their own.
async fn assert_nothing_is_own(api: &Api, token: &str, [track, other]: [&Known; 2]) {
    let both = format!("{{\"track_ids\":[{},{}]}}", track.id, other.id);
    let batch: Value = api.batch(token, &both).await.json().await.unwrap();
    assert_eq!(batch, json!({track.id.to_string(): false, other.id.to_string(): false}));
    assert_eq!(api.ok_as(token, "/tracks/liked").await["tracks"], json!([]));
    assert_eq!(api.ok_as(token, "/tracks/liked?order=recent").await["tracks"], json!([]));
    assert_eq!(api.ok_as(token, &format!("/tracks/{}", other.id)).await["liked"], false);
    for gone in ["/artists/me", "/lists/liked"] {
        let answer = api.client.get(format!("{}{gone}", api.url)).bearer_auth(token).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{gone}");
    }
}
