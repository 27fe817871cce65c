//! The queries of the network's programs.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::api::{Api, CID, Known, json_of, settings, tid};

const STATUSES: &str = "/xrpc/fm.plyr.feed.getLikeStatuses";

fn uris(tracks: &[&str]) -> String {
    tracks.iter().flat_map(|uri| ["&uris=", uri]).collect()
}

async fn some_likes(api: &Api) -> (Known, Vec<Known>) {
    let artist = api.actor("artist").await;
    let liker = api.actor("liker").await;
    let mut tracks = Vec::new();
    for second in 0..3 {
        tracks.push(api.track(&artist, second).await);
    }
    api.like(&liker, 10, &tracks[0], 100).await;
    api.like(&liker, 11, &tracks[2], 101).await;
    api.like(&liker, 12, &tracks[2], 102).await;
    (liker, tracks)
}

#[tokio::test]
async fn r1_statuses_in_the_order_asked() {
    let api = Api::start().await;
    let (liker, tracks) = some_likes(&api).await;
    let unknown = "at://did:plc:absent/fm.plyr.track/3l3pte3p2e325";
    let like = |number: i64| format!("at://{}/fm.plyr.like/{}", liker.name, tid(number));
    let by_handle = tracks[0].name.replace("did:plc:artist", "ARTIST.test");
    let [a, b, c] = [0, 1, 2].map(|at: usize| tracks[at].name.as_str());
    let expected = json!({"actor": liker.name, "statuses": [
        {"uri": c, "liked": true, "like": like(12)},
        {"uri": b, "liked": false},
        {"uri": unknown, "liked": false},
        {"uri": a, "liked": true, "like": like(10)},
        {"uri": c, "liked": true, "like": like(12)},
    ]});
    let asked = uris(&[c, b, unknown, a, c]);
    for name in ["did:plc:liker", "did%3Aplc%3Aliker", "liker.test", "LIKER.TEST", "%40Liker.test"] {
        assert_eq!(api.ok(&format!("{STATUSES}?actor={name}{asked}")).await, expected, "{name}");
    }
    let token = api.token(&liker).await;
    let own =
        api.request(Method::GET, &format!("{STATUSES}?{}", &asked[1..])).bearer_auth(&token).send().await.unwrap();
    // The newest rev of the viewer's repo that we hold.
    assert_eq!(own.headers()["atproto-repo-rev"].to_str().unwrap(), tid(12));
    assert_eq!(json_of(own, StatusCode::OK).await, expected);
    let handled =
        api.ok(&format!("{STATUSES}?actor=liker.test{}", uris(&[&by_handle, "at://no.test/fm.plyr.track/a"]))).await;
    assert_eq!(handled["statuses"][0], json!({"uri": by_handle, "liked": true, "like": like(10)}));
    assert_eq!(handled["statuses"][1]["liked"], false);
    // Of a DID never seen the answer is no.
    let absent = api.ok(&format!("{STATUSES}?actor=did:plc:absent{}", uris(&[a]))).await;
    assert_eq!(absent, json!({"actor": "did:plc:absent", "statuses": [{"uri": a, "liked": false}]}));
    api.unlike(&liker, 12).await;
    let older = api.ok(&format!("{STATUSES}?actor=liker.test{}", uris(&[c]))).await;
    assert_eq!(older["statuses"][0]["like"], like(11));
}

#[tokio::test]
async fn r1_statuses_are_bounded() {
    let api = Api::start().await;
    let (_, tracks) = some_likes(&api).await;
    let many = |count: usize| uris(&vec![tracks[0].name.as_str(); count]);
    let full = api.ok(&format!("{STATUSES}?actor=liker.test{}", many(100))).await;
    assert_eq!(full["statuses"].as_array().unwrap().len(), 100);
    for (query, error) in [
        (format!("actor=liker.test{}", many(101)), "InvalidRequest"),
        ("actor=liker.test".to_owned(), "InvalidRequest"),
        ("actor=liker.test&uris=http://x".to_owned(), "InvalidRequest"),
        (format!("actor=no-handle{}", many(1)), "InvalidRequest"),
        (format!("actor=absent.test{}", many(1)), "ActorNotFound"),
        ("actor=liker.test&uris=%FF".to_owned(), "InvalidRequest"),
    ] {
        let answer = api.refused(&format!("{STATUSES}?{query}"), 400).await;
        assert_eq!(answer["error"], error, "{query}: {answer}");
        assert!(answer["message"].is_string() && answer.as_object().unwrap().len() == 2);
    }
    let anonymous = api.refused(&format!("{STATUSES}?{}", &many(1)[1..]), 401).await;
    assert_eq!(anonymous["error"], "AuthMissing");
    let bad =
        api.request(Method::GET, &format!("{STATUSES}?{}", &many(1)[1..])).bearer_auth("bad").send().await.unwrap();
    assert_eq!(json_of(bad, StatusCode::UNAUTHORIZED).await["error"], "InvalidToken");
}

#[tokio::test]
async fn likers_and_tracks() {
    let api = Api::start().await;
    let (liker, tracks) = some_likes(&api).await;
    let track = &tracks[2];
    let page = api.ok(&format!("/xrpc/fm.plyr.feed.getTrackLikes?uri={}", track.name)).await;
    assert_eq!(
        page,
        json!({"uri": track.name, "count": 1, "likes": [{
            "actor": {"did": liker.name, "handle": "liker.test"},
            "uri": format!("at://{}/fm.plyr.like/{}", liker.name, tid(12)),
            "createdAt": "2026-01-01T00:01:42Z", "indexedAt": "2026-02-01T00:00:00Z",
        }]})
    );
    let unindexed = "at://did:plc:absent/fm.plyr.track/3l3pte3p2e325";
    let none = api.ok(&format!("/xrpc/fm.plyr.feed.getTrackLikes?uri={unindexed}")).await;
    assert_eq!(none, json!({"uri": unindexed, "count": 0, "likes": []}));
    let asked = uris(&[unindexed, &track.name, &tracks[0].name]);
    let found = api.ok(&format!("/xrpc/fm.plyr.feed.getTracks?{}", &asked[1..])).await;
    let found = found["tracks"].as_array().unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!((&found[0]["uri"], &found[0]["likeCount"]), (&json!(track.name), &json!(1)));
    assert_eq!((&found[0]["fileType"], &found[0]["features"]), (&json!("mp3"), &json!([])));
    assert!(found[0].get("duration").is_none());
}

#[tokio::test]
async fn lists_and_their_items() {
    let api = Api::start().await;
    let (liker, tracks) = some_likes(&api).await;
    api.list(&liker, 5, "liked", &[&tracks[2], &tracks[0], &tracks[1]]).await;
    let uri = format!("at://{}/fm.plyr.list/{}", liker.name, tid(5));
    let lists = api.ok("/xrpc/fm.plyr.graph.getActorLists?actor=liker.test&listType=liked").await;
    let list = &lists["lists"][0];
    assert_eq!((&list["uri"], &list["itemCount"], &list["listType"]), (&json!(uri), &json!(3), &json!("liked")));
    let none = api.ok("/xrpc/fm.plyr.graph.getActorLists?actor=liker.test&listType=album").await;
    assert_eq!(none, json!({"lists": []}));
    let first = api.ok(&format!("/xrpc/fm.plyr.graph.getList?list={uri}&limit=2")).await;
    assert_eq!(&first["list"], list);
    let subjects = |page: &Value| -> Vec<Value> {
        page["items"].as_array().unwrap().iter().map(|item| item["subject"].clone()).collect()
    };
    assert_eq!(subjects(&first), [2, 0].map(|at: usize| json!({"uri": tracks[at].name, "cid": CID})));
    let cursor = first["cursor"].as_str().unwrap();
    let second = api.ok(&format!("/xrpc/fm.plyr.graph.getList?list={uri}&limit=2&cursor={cursor}")).await;
    assert_eq!(subjects(&second), [json!({"uri": tracks[1].name, "cid": CID})]);
    assert!(second.get("cursor").is_none());
    let missing =
        api.refused(&format!("/xrpc/fm.plyr.graph.getList?list={}", uri.replace(&tid(5), &tid(6))), 400).await;
    assert_eq!(missing["error"], "ListNotFound");
}

#[tokio::test]
async fn methods_under_the_namespace_alone() {
    let api = Api::start().await;
    assert!(api.ok("/xrpc/_health").await["version"].is_string());
    for path in ["/xrpc/fm.plyr.feed.getNothing", "/xrpc/fm.plyr.stg.feed.getTracks", "/xrpc/x"] {
        assert_eq!(api.refused(path, 501).await["error"], "MethodNotImplemented");
    }
    let posted = api.request(Method::POST, STATUSES).send().await.unwrap();
    assert_eq!(json_of(posted, StatusCode::METHOD_NOT_ALLOWED).await["error"], "InvalidRequest");
    let staging = plyr_likes::model::Collections::of_namespace("fm.plyr.stg").unwrap();
    let staging = Api::with(plyr_likes::serve::ServeSettings { collections: staging, ..settings() }).await;
    staging.refused("/xrpc/fm.plyr.feed.getTracks", 501).await;
    staging.refused("/xrpc/fm.plyr.stg.feed.getTracks", 400).await;
    let document = staging.ok("/openapi.json").await;
    assert!(document["paths"]["/xrpc/fm.plyr.stg.feed.getTracks"].is_object());
}

/// Whether a value is of a lexicon's schema. A field that the lexicon does not name is a mistake of ours.
fn fits_lexicon(document: &Value, schema: &Value, value: &Value) {
    match schema["type"].as_str() {
        Some("ref") => {
            let (file, name) = schema["ref"].as_str().expect("a text").split_once('#').unwrap_or(("", "strongRef"));
            match (file, name) {
                ("", "strongRef") => assert!(value["uri"].is_string() && value["cid"].is_string(), "{value}"),
                ("", name) => fits_lexicon(document, &document["defs"][name], value),
                (file, name) => {
                    let other = lexicon(file);
                    fits_lexicon(&other, &other["defs"][name], value);
                }
            }
        }
        Some("object") => {
            for name in schema["required"].as_array().into_iter().flatten() {
                assert!(value.get(name.as_str().expect("a text")).is_some(), "{name} is missing: {value}");
            }
            for (name, field) in value.as_object().expect("an object") {
                assert!(schema["properties"].get(name).is_some(), "{name} is not in the lexicon: {value}");
                fits_lexicon(document, &schema["properties"][name], field);
            }
        }
        Some("array") => {
            for item in value.as_array().expect("an array") {
                fits_lexicon(document, &schema["items"], item);
            }
        }
        Some("integer") => assert!(value.is_i64(), "{value}"),
        Some("boolean") => assert!(value.is_boolean(), "{value}"),
        Some("string") => assert!(value.is_string(), "{value}"),
        other => panic!("a type of the lexicon that the test does not know: {other:?}"),
    }
}

fn lexicon(nsid: &str) -> Value {
    let path = format!("{}/lexicons/{}.json", env!("CARGO_MANIFEST_DIR"), nsid.replace('.', "/"));
    serde_json::from_str(&std::fs::read_to_string(path).expect("a lexicon")).expect("JSON")
}

#[tokio::test]
async fn answers_are_what_the_lexicons_say() {
    let api = Api::start().await;
    let (liker, tracks) = some_likes(&api).await;
    sqlx::query("UPDATE tracks SET features = '{did:plc:a}', album = 'A', labels = '{b}'")
        .execute(api.pool())
        .await
        .unwrap();
    for number in [5, 6] {
        api.list(&liker, number, "liked", &[&tracks[2], &tracks[0], &tracks[1]]).await;
    }
    let list = format!("at://{}/fm.plyr.list/{}", liker.name, tid(5));
    for (method, query) in [
        ("feed.getLikeStatuses", format!("actor=liker.test{}", uris(&[&tracks[0].name, &tracks[1].name]))),
        ("feed.getTrackLikes", format!("uri={}&limit=1", tracks[2].name)),
        ("feed.getActorLikes", "actor=liker.test&limit=1".to_owned()),
        ("feed.getTracks", format!("uris={}", tracks[0].name)),
        ("graph.getActorLists", "actor=liker.test&limit=1".to_owned()),
        ("graph.getList", format!("list={list}&limit=1")),
    ] {
        let lexicon = lexicon(&format!("fm.plyr.{method}"));
        let answer = api.ok(&format!("/xrpc/fm.plyr.{method}?{query}")).await;
        fits_lexicon(&lexicon, &lexicon["defs"]["main"]["output"]["schema"], &answer);
        // Errors that the method answers with a name of its own are named in its lexicon.
        let errors = lexicon["defs"]["main"]["errors"].to_string();
        if lexicon["defs"]["main"]["parameters"]["properties"].get("cursor").is_some() {
            let refused = api.refused(&format!("/xrpc/fm.plyr.{method}?{query}&cursor=x"), 400).await;
            assert!(errors.contains(refused["error"].as_str().unwrap()), "{method}: {refused}");
        }
    }
}
