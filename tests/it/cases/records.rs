//! Cases O12 to O18: what records may hold. Each goes through decode and apply into the real database and is compared with the
//! referee, besides what it says itself.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{
    history::{START_US, did, key, tid, track_uri},
    model::{Like, Record, tid_text},
    stage::Stage,
    wire::{
        Body, Commit, Operation, invalid, like, like_json, list, micros, profile, put, some_cid, track, updated,
        v1_identity,
    },
    world::World,
};

const AT: &str = "2025-01-01T00:00:00Z";

fn rev(second: i64) -> i64 {
    tid(START_US + second * 1_000_000, 17)
}

/// A fan's commit with one operation on a like.
fn like_commit(second: i64, number: usize, body: Body) -> Commit {
    Commit::new(&did(1), rev(second), vec![Operation::like(&key(1, number), body)])
}

/// Every one of these likes is refused for this reason in this field, in both dialects, and what stood at its path is gone.
async fn refuses_likes(world: &mut World, broken: &[(&str, &str, Value)]) {
    for (reason, field, json) in broken {
        for firehose in [false, true] {
            world.clear().await;
            world.commit(&[like_commit(1, 0, like(&track_uri(0, 0), AT))]).await;
            assert_eq!(world.like_count(&track_uri(0, 0)).await, 1);
            let commit = like_commit(2, 0, updated(invalid(json.clone())));
            let applied = if firehose { world.firehose(&commit).await } else { world.commit(&[commit]).await };
            assert_eq!((applied.rejected, applied.applied), (1, 0), "{json}");
            world.check().await;
            assert_eq!(world.like_count(&track_uri(0, 0)).await, 0, "{json}");
            let field = (!field.is_empty()).then(|| (*field).to_owned());
            assert_eq!(world.reasons().await, [((*reason).to_owned(), field)], "firehose: {firehose}, {json}");
        }
    }
}

#[tokio::test]
async fn o12_a_like_of_no_track() {
    let mut world = World::new().await;
    let cid = some_cid("x");
    let of = |uri: &str| like_json(uri, &cid, AT);
    let subject = |subject: Value| json!({"$type": "fm.plyr.like", "subject": subject, "createdAt": AT});
    let track = track_uri(0, 0);
    refuses_likes(
        &mut world,
        &[
            ("lexicon", "subject.uri", of(&format!("at://{}/fm.plyr.list/{}", did(0), key(2, 0)))),
            ("lexicon", "subject.uri", of(&format!("at://{}/fm.plyr.dev.track/{}", did(0), key(3, 0)))),
            ("lexicon", "subject.uri", of(&format!("at://alice.test/fm.plyr.track/{}", key(3, 0)))),
            ("lexicon", "subject.uri", of(&format!("at://{}", did(0)))),
            ("lexicon", "subject.uri", of(&format!("{track}?x=1"))),
            ("lexicon", "subject.uri", of("https://plyr.fm/track/1")),
            ("lexicon", "subject.uri", of("")),
            ("lexicon", "subject.uri", subject(json!({"cid": cid}))),
            ("lexicon", "subject.uri", subject(json!({"uri": 5, "cid": cid}))),
            ("lexicon", "subject.cid", subject(json!({"uri": track}))),
            ("lexicon", "subject.cid", like_json(&track, "bafy", AT)),
            ("lexicon", "subject", subject(json!(track))),
            ("lexicon", "subject", json!({"$type": "fm.plyr.like", "createdAt": AT})),
        ],
    )
    .await;
}

#[tokio::test]
async fn o13_a_like_by_an_actor_never_seen() {
    let mut world = World::new().await;
    let dids =
        ["did:plc:ewvi7nxzyoun6zhxrhs64oiz", "did:web:never.example", "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1Z"];
    for did in dids {
        let commit = Commit::new(did, rev(1), vec![Operation::like(&key(1, 0), like(&track_uri(0, 0), AT))]);
        assert_eq!(world.commit(&[commit]).await.applied, 1, "{did}");
    }
    world.check().await;
    assert_eq!(world.like_count(&track_uri(0, 0)).await, 3);
}

#[tokio::test]
async fn o13_a_handle_in_an_identity_event_is_not_a_confirmed_handle() {
    let mut world = World::new().await;
    let (did, now) = (did(0), START_US);
    world.raw(v1_identity(&did, Some("old.example"), now), vec![]).await;
    world.raw(v1_identity(&did, Some("new.example"), now + 2), vec![]).await;
    world.raw(v1_identity(&did, Some("late.example"), now + 1), vec![]).await;
    let known: i64 = sqlx::query_scalar("SELECT count(*) FROM actors").fetch_one(&world.database.pool).await.unwrap();
    assert_eq!(known, 0, "an identity event of an unknown DID makes no actor");
    world.commit(&[Commit::new(&did, rev(1), vec![Operation::like(&key(1, 0), like(&track_uri(1, 0), AT))])]).await;
    let handle: Option<String> = sqlx::query_scalar("SELECT handle FROM actors WHERE did = $1")
        .bind(&did)
        .fetch_one(&world.database.pool)
        .await
        .unwrap();
    assert_eq!(handle, None, "what an event claims is not shown");
    world.check().await;
}

#[tokio::test]
async fn o14_a_created_at_that_no_honest_clock_wrote() {
    let mut world = World::new().await;
    let times = [
        "2099-12-31T23:59:59.999Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "2025-01-01T00:00:00+14:00",
        "2024-12-31T12:00:00.123456789-12:00",
    ];
    for (number, time) in times.into_iter().enumerate() {
        let second = i64::try_from(number).expect("few");
        world.commit(&[like_commit(second, number, like(&track_uri(0, number), time))]).await;
        world.check().await;
    }
    // The first and the third would be the newest for ever, if their clocks were believed.
    let newest: Vec<i64> = sqlx::query_scalar(
        "SELECT rkey FROM likes WHERE subject_id IS NOT NULL AND sort_at > now() ORDER BY sort_at DESC",
    )
    .fetch_all(&world.database.pool)
    .await
    .expect("the table is there");
    assert!(newest.is_empty(), "{newest:?} are sorted into the future");
    let of = |time: Value| json!({"$type": "fm.plyr.like", "subject": {"uri": track_uri(0, 0), "cid": some_cid("x")}, "createdAt": time});
    let mut broken: Vec<(&str, &str, Value)> = [
        json!("2025-01-01T00:00:00"),
        json!("2025-01-01"),
        json!("2025-13-01T00:00:00Z"),
        json!("2025-01-01T00:00:00-00:00"),
        json!("yesterday"),
        json!(""),
        json!(1_735_689_600),
        Value::Null,
    ]
    .into_iter()
    .map(|time| ("lexicon", "createdAt", of(time)))
    .collect();
    let mut missing = of(Value::Null);
    missing.as_object_mut().expect("an object").remove("createdAt");
    broken.push(("lexicon", "createdAt", missing));
    refuses_likes(&mut world, &broken).await;
}

/// A like with one more field, that the lexicon does not know.
fn like_and(field: &str, value: &Value) -> Body {
    let (uri, cid) = (track_uri(0, 0), some_cid("x"));
    let mut json = like_json(&uri, &cid, AT);
    json[field] = value.clone();
    put(json, Record::Like(Like { subject: uri, subject_cid: cid, created_at: micros(AT) }))
}

#[tokio::test]
async fn o15_unknown_fields_and_odd_values_are_no_reason_to_refuse() {
    let mut world = World::new().await;
    let values = [
        json!({"nested": [1, "two", null, {"$type": "x"}]}),
        json!("a\u{0}b"),
        json!([i64::MIN, i64::MAX]),
        json!("x".repeat(900_000)),
        json!({"$link": some_cid("y")}),
    ];
    for (number, value) in values.iter().enumerate() {
        let second = i64::try_from(number).expect("few");
        world.commit(&[like_commit(2 * second, number, like_and("extra", value))]).await;
        world.firehose(&like_commit(2 * second + 1, number, updated(like_and("extra", value)))).await;
        world.check().await;
    }
    assert_eq!(world.reasons().await, []);
    let odd = Commit::new(
        &did(0),
        rev(1),
        vec![
            Operation::track(&key(3, 0), track("'; DROP TABLE likes; -- \\ \" \u{202e} \u{fffd} \u{10ffff}", AT)),
            Operation::new("fm.plyr.actor.profile", "self", profile(Some("line\r\n\ttwo"), None, AT)),
        ],
    );
    world.firehose(&odd).await;
    world.check().await;
}

#[tokio::test]
async fn o15_what_postgres_or_the_data_model_cannot_hold_is_refused_by_name() {
    let mut world = World::new().await;
    let of = |title: &Value, duration: i64| json!({"$type": "fm.plyr.track", "title": title, "artist": "a", "fileType": "mp3", "duration": duration, "createdAt": AT});
    let broken = [
        ("nul_character", Some("title"), of(&json!("a\u{0}b"), 1)),
        ("lexicon", Some("duration"), of(&json!("a"), i64::MIN)),
        ("lexicon", Some("title"), of(&json!("x".repeat(257)), 1)),
        ("lexicon", Some("title"), of(&json!("x".repeat(1_100_000)), 1)),
        ("record_type", Some("$type"), like_json(&track_uri(0, 0), &some_cid("x"), AT)),
    ];
    let mut expected = Vec::new();
    for (number, (reason, field, json)) in broken.into_iter().enumerate() {
        let second = i64::try_from(number).expect("few");
        let commit = Commit::new(&did(0), rev(second), vec![Operation::track(&key(3, number), invalid(json))]);
        assert_eq!(world.firehose(&commit).await.rejected, 1, "{reason} {field:?}");
        world.check().await;
        expected.push((reason.to_owned(), field.map(str::to_owned)));
    }
    let found = world.reasons().await;
    let reasons = |of: &[(String, Option<String>)]| of.iter().map(|(reason, _)| reason.clone()).collect::<Vec<_>>();
    assert_eq!(reasons(&found), reasons(&expected));
    assert_eq!(found[..4], expected[..4]);
    // The bytes of a refused record are kept up to their bound, and their full length is recorded.
    let (kept, length): (i32, i64) =
        sqlx::query_as("SELECT length(raw), raw_length FROM rejects WHERE raw_length > 1000000")
            .fetch_one(&world.database.pool)
            .await
            .expect("one large reject");
    assert!(kept <= 1 << 20 && length > 1_100_000, "{kept} of {length} bytes are kept");
}

#[tokio::test]
async fn o15_a_lone_surrogate_is_refused() {
    let mut world = World::new().await;
    let commit =
        Commit::new(&did(0), rev(1), vec![Operation::track(&key(3, 0), invalid(json!({"title": "SURROGATE"})))]);
    let text = format!(
        r#"{{"did":"{}","time_us":1735689600000001,"kind":"commit","commit":{{"rev":"{}","operation":"create","collection":"fm.plyr.track","rkey":"{}","cid":"{}","record":{{"$type":"fm.plyr.track","title":"a\ud800b","artist":"a","fileType":"mp3","createdAt":"{AT}"}}}}}}"#,
        did(0),
        tid_text(rev(1)),
        key(3, 0),
        some_cid("surrogate"),
    );
    let applied = world.raw(text.into_bytes(), commit.writes()).await;
    assert_eq!((applied.rejected, applied.applied), (1, 0));
    world.check().await;
}

#[tokio::test]
async fn o16_keys_that_no_like_can_have_and_actors_with_ports() {
    let mut world = World::new().await;
    let long = "a".repeat(512);
    for (second, rkey) in
        ["not-a-tid", "self", &long, "3jzfcijpj2z2", "3JZFCIJPJ2Z2A", "zzzzzzzzzzzzz"].into_iter().enumerate()
    {
        let body = like(&track_uri(0, 0), AT);
        let Body::Put { json, .. } = body else { panic!("a like is a put") };
        let second = i64::try_from(second).expect("few");
        for collection in ["fm.plyr.like", "fm.plyr.list", "fm.plyr.track"] {
            let mut json = json.clone();
            json["$type"] = collection.into();
            let commit = Commit::new(&did(1), rev(second), vec![Operation::new(collection, rkey, invalid(json))]);
            let applied = world.commit(&[commit]).await;
            assert_eq!((applied.rejected, applied.applied), (1, 0), "{collection} {rkey}");
        }
    }
    world.check().await;
    assert_eq!(world.like_count(&track_uri(0, 0)).await, 0);
    // No record key at all: the message is refused, without a path.
    for rkey in [".", "..", "", "a/b", &"a".repeat(513)] {
        let commit = Commit::new(&did(1), rev(50), vec![Operation::like(rkey, like(&track_uri(0, 0), AT))]);
        let message = world.v1_messages(&[commit])[0].bytes.clone();
        let applied = world.raw(message, Vec::new()).await;
        assert_eq!((applied.rejected, applied.applied), (1, 0), "{rkey}");
    }
    world.check().await;
    let web =
        Commit::new("did:web:localhost%3A2583", rev(1), vec![Operation::like(&key(1, 0), like(&track_uri(2, 0), AT))]);
    assert!(track_uri(2, 0).contains("%3A"), "the subject's artist has a port too");
    assert_eq!(world.commit(&[web]).await.applied, 1);
    world.check().await;
}

/// The two spellings of a `did:web` with a port are one actor, by whichever door they come.
#[tokio::test]
async fn f12_a_did_web_is_one_actor_however_its_port_is_spelt() {
    let mut stage = Stage::new().await;
    let other = |text: &str| text.replace("%3A", "%3a");
    let actors = "SELECT count(*) FROM actors";
    let before: i64 = sqlx::query_scalar(actors).fetch_one(stage.pool()).await.unwrap();
    // Whose commit, and of whose track: by Jetstream, and by the firehose.
    let theirs = like(&other(&track_uri(2, 0)), AT);
    stage
        .world
        .commit(&[Commit::new(&other(&did(2)), rev(20), vec![Operation::like(&key(1, 7), theirs.clone())])])
        .await;
    stage.world.firehose(&Commit::new(&other(&did(2)), rev(21), vec![Operation::like(&key(1, 8), theirs)])).await;
    stage.say(2, (true, None), 22).await;
    assert_eq!(sqlx::query_scalar::<_, i64>(actors).fetch_one(stage.pool()).await.unwrap(), before);
    let likers = BTreeSet::from([did(1), did(2)]);
    for uri in [track_uri(2, 0), other(&track_uri(2, 0))] {
        assert_eq!(stage.likers(&uri).await, likers, "{uri}");
        for actor in [did(2), other(&did(2))] {
            let answer = stage.ask("feed.getLikeStatuses", &[("actor", &actor), ("uris", &uri)]).await;
            assert_eq!(answer["statuses"][0]["liked"], true, "{actor} {uri}");
            let likes = stage.ask("feed.getActorLikes", &[("actor", &actor)]).await;
            assert_eq!(likes["likes"].as_array().unwrap().len(), 3, "{actor}");
        }
    }
}

#[tokio::test]
async fn o17_lists_of_all_sorts() {
    let mut world = World::new().await;
    let item = |number: usize| (track_uri(0, number), some_cid(&number.to_string()));
    let items = |count: usize| (0..count).map(item).collect::<Vec<_>>();
    let commit = |second: i64, body: Body| Commit::new(&did(1), rev(second), vec![Operation::list(&key(2, 0), body)]);
    let mixed = [
        item(1),
        item(1),
        (format!("at://{}/app.bsky.feed.post/{}", did(3), key(5, 0)), some_cid("post")),
        (format!("at://{}/fm.plyr.list/{}", did(1), key(2, 0)), some_cid("itself")),
        item(0),
    ];
    let puts = [
        list(&items(500), Some("All"), Some("liked"), (AT, None)),
        updated(list(&items(500)[250..], Some("Half"), Some("liked"), (AT, Some(AT)))),
        updated(list(&items(250).into_iter().rev().collect::<Vec<_>>(), None, Some("playlist"), (AT, Some(AT)))),
        updated(list(&mixed, Some("Mixed"), Some("a-type-of-tomorrow"), (AT, None))),
        updated(list(&[], Some("Empty"), None, (AT, None))),
    ];
    for (second, body) in puts.into_iter().enumerate() {
        let second = i64::try_from(second).expect("few");
        assert_eq!(world.commit(&[commit(second, body)]).await.applied, 1);
        world.check().await;
    }
    assert_eq!(world.reasons().await, []);
    let Body::Put { json, .. } = list(&items(501), Some("Too many"), None, (AT, None)) else {
        panic!("a list is a put")
    };
    assert_eq!(world.firehose(&commit(9, updated(invalid(json)))).await.rejected, 1);
    world.check().await;
    assert_eq!(world.reasons().await, [("lexicon".to_owned(), Some("items".to_owned()))]);
    world.commit(&[commit(10, list(&items(1), None, None, (AT, None)))]).await;
    world.check().await;
}

#[tokio::test]
async fn o18_of_two_records_with_one_rev_the_first_stays() {
    let mut world = World::new().await;
    let (first, second) = (like(&track_uri(0, 0), AT), like(&track_uri(0, 1), AT));
    for at_once in [false, true] {
        world.clear().await;
        let commits = [like_commit(1, 0, first.clone()), like_commit(1, 0, second.clone())];
        let mut anomalies = 0;
        if at_once {
            anomalies += world.commit(&commits).await.anomalies;
        } else {
            for commit in &commits {
                anomalies += world.commit(std::slice::from_ref(commit)).await.anomalies;
            }
        }
        assert_eq!(anomalies, 1, "at once: {at_once}");
        world.check().await;
        assert_eq!(world.like_count(&track_uri(0, 0)).await, 1);
        assert_eq!(world.like_count(&track_uri(0, 1)).await, 0);
        // The same record again is no anomaly.
        let applied = world.commit(&commits[..1]).await;
        assert_eq!((applied.anomalies, applied.ignored), (0, 1));
    }
    let tracks =
        ["One", "Two"].map(|title| Commit::new(&did(0), rev(1), vec![Operation::track(&key(3, 0), track(title, AT))]));
    let mut anomalies = 0;
    for commit in &tracks {
        anomalies += world.commit(std::slice::from_ref(commit)).await.anomalies;
    }
    assert_eq!(anomalies, 1);
    world.check().await;
}
