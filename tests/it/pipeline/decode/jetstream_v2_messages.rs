//! Jetstream v2: the envelope of `xrpc.v1.json`, and the same records in it as in the other dialects.

use plyr_likes::{
    atproto::{Cid, Did, Tid, Timestamp},
    decode::{Frame, Item, MESSAGE_MAX, Message, RawFormat, Reject, decode_reject, jetstream_v2},
    model::{AccountStatus, Collection, Event, EventBody, HostMoment, Operation, Record, RejectReason},
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    super::wire::{CID, DID, KEY, REV, create, like, list},
    collections, decode_json, on_half_a_stack, only_event, only_item, only_reject,
    rejects::{damaged, sound},
};

const TYPE: &str = "network.bsky.jetstream.subscribeEvents";
const TIME: &str = "2024-09-09T19:46:02.329308Z";

fn envelope(kind: &str, payload: Value) -> Value {
    let Value::Object(rest) = payload else { panic!("a payload is an object") };
    let mut payload = json!({"$type": format!("{TYPE}#{kind}"), "seq": 12_345, "did": DID, "time": TIME});
    payload.as_object_mut().unwrap().extend(rest);
    json!({"$type": "message", "payload": payload})
}

fn created(collection: &str, record: &Value) -> Value {
    let commit =
        json!({"rev": REV, "operation": "create", "collection": collection, "rkey": KEY, "cid": CID, "record": record});
    envelope("commit", commit)
}

fn decode(message: &Value) -> Message {
    jetstream_v2::decode_message(&collections(), message.to_string().as_bytes())
}

fn frame_of(message: Message) -> Frame {
    match message {
        Message::Frame(frame) => frame,
        other => panic!("no frame: {other:?}"),
    }
}

fn decode_frame(message: &Value) -> Frame {
    frame_of(decode(message))
}

#[test]
fn a_commit_is_read() {
    let frame = decode_frame(&created("fm.plyr.like", &like()));
    assert_eq!((frame.position, frame.time), (Some(12_345), Timestamp::parse(TIME).ok()));
    let Event { did, body: EventBody::Commit(commit) } = only_event(frame.items) else { panic!("no commit") };
    assert_eq!((did.as_str(), commit.rev, commit.collection), (DID, Tid::parse(REV).unwrap(), Collection::Like));
    assert_eq!(commit.rkey.as_str(), KEY);
    let Operation::Put { cid, record: Record::Like(_) } = commit.operation else { panic!("no like") };
    assert_eq!(cid, Cid::parse(CID).unwrap());

    let frame = decode_frame(&envelope(
        "commit",
        json!({"rev": REV, "operation": "delete", "collection": "fm.plyr.like", "rkey": KEY}),
    ));
    let EventBody::Commit(commit) = only_event(frame.items).body else { panic!("no commit") };
    assert_eq!(commit.operation, Operation::Delete);
}

#[test]
fn both_versions_of_jetstream_say_the_same_of_a_record() {
    let records = [like(), list(3), json!({}), json!({"createdAt": 7}), json!("\u{0}"), json!(null)];
    for record in &records {
        for collection in ["fm.plyr.like", "fm.plyr.list", "fm.plyr.track", "fm.plyr.stg.like", "app.bsky.feed.like"] {
            let (v1, v2) = (decode_json(&create(collection, KEY, record)), decode_frame(&created(collection, record)));
            let (v1, v2): (Vec<_>, Vec<_>) =
                (v1.items.into_iter().map(outcome).collect(), v2.items.into_iter().map(outcome).collect());
            assert_eq!(v1, v2, "{collection} {record}");
        }
    }
}

/// An item without what its dialect calls things.
fn outcome(item: Item) -> Result<Event, (RejectReason, Option<String>)> {
    match item {
        Item::Event(event) => Ok(event),
        Item::Reject(reject) => {
            let field = reject.field.map(|field| field.replace("commit.", "").replace("payload.", ""));
            Err((reject.reason, field))
        }
    }
}

#[test]
fn the_time_of_witnessing_is_distinguished_from_an_import() {
    let mut message = created("fm.plyr.like", &like());
    message["payload"]["time"] = "2001-01-01T00:00:00Z".into();
    message["payload"]["witnessedAt"] = TIME.into();
    assert_eq!(decode_frame(&message).time, Timestamp::parse(TIME).ok());
}

#[test]
fn accounts_identities_and_syncs() {
    let at = Timestamp::parse("2026-05-25T14:23:29.950Z").unwrap();
    let part = json!({"did": DID, "seq": 1, "time": at.to_string(), "active": false, "status": "deactivated"});
    let event = only_event(decode_frame(&envelope("account", json!({"account": part}))).items);
    assert_eq!(event.did, Did::parse(DID).unwrap());
    assert_eq!(
        event.body,
        EventBody::Account { active: false, status: Some(AccountStatus::Deactivated), at: HostMoment { at, seq: 1 } }
    );

    let part = json!({"did": DID, "handle": "Alice.Test"});
    let EventBody::Identity { handle, at } =
        only_event(decode_frame(&envelope("identity", json!({"identity": part}))).items).body
    else {
        panic!("no identity")
    };
    assert_eq!(handle.unwrap().as_str(), "alice.test");
    assert_eq!(Some(at), Timestamp::parse(TIME).ok(), "where the relay's time is missing, the host's is taken");

    let part = json!({"did": DID, "rev": REV, "seq": 2, "time": TIME, "blocks": {"$bytes": "AAAA"}});
    let frame = decode_frame(&envelope("sync", json!({"sync": part})));
    assert_eq!(frame.position, Some(12_345));
    assert_eq!(only_event(frame.items).body, EventBody::Sync { rev: Tid::parse(REV).unwrap() });
}

#[test]
fn notices_and_errors() {
    let notice = json!({"name": "OutdatedCursor", "message": "starting at seq 7"});
    let Message::Info { name, message } = decode(&envelope("info", notice)) else { panic!("no notice") };
    assert_eq!((name.as_str(), message.as_deref()), ("OutdatedCursor", Some("starting at seq 7")));
    let failure = json!({"$type": "error", "error": "ConsumerTooSlow", "message": "reconnect"});
    let Message::Error { error, message } = decode(&failure) else { panic!("no error") };
    assert_eq!((error.as_str(), message.as_deref()), ("ConsumerTooSlow", Some("reconnect")));
}

#[test]
fn what_the_protocol_may_add_is_skipped() {
    for message in [
        json!({"$type": "greeting"}),
        json!({"$type": "greeting", "payload": 7}),
        envelope("label", json!({"label": "new"})),
        json!({"$type": "message", "payload": {"$type": "com.example.other#commit", "seq": 7}}),
    ] {
        assert!(decode_frame(&message).items.is_empty(), "{message}");
    }
    assert_eq!(decode_frame(&envelope("label", json!({}))).position, Some(12_345), "and passed");
    let mut more = created("fm.plyr.like", &like());
    more["payload"]["extra"] = json!({"deep": [1, {"er": null}]});
    more["extra"] = json!([]);
    assert_eq!(decode_frame(&more).items.len(), 1);
}

#[test]
fn t17_messages_of_jetstream_v2_that_are_none() {
    let whole = created("fm.plyr.like", &like()).to_string();
    for length in 0..whole.len() {
        let frame = frame_of(jetstream_v2::decode_message(&collections(), &whole.as_bytes()[..length]));
        assert_eq!(only_reject(frame.items).reason, RejectReason::FrameEncoding, "cut at {length}");
    }
    let v1 = create("fm.plyr.like", KEY, &like()).to_string();
    let cases: [(&[u8], RejectReason, Option<&str>); 7] = [
        (b"hello", RejectReason::FrameEncoding, None),
        (b"\x28\xb5\x2f\xfd", RejectReason::FrameEncoding, None),
        (b"[]", RejectReason::Envelope, None),
        (b"{}", RejectReason::Envelope, Some("$type")),
        (v1.as_bytes(), RejectReason::Envelope, Some("$type")),
        (br#"{"$type":"message"}"#, RejectReason::Envelope, Some("payload")),
        (br#"{"$type":"message","payload":{"seq":1}}"#, RejectReason::Envelope, Some("payload.$type")),
    ];
    for (message, reason, field) in cases {
        let reject = only_reject(frame_of(jetstream_v2::decode_message(&collections(), message)).items);
        assert_eq!((reject.reason, reject.field.as_deref()), (reason, field));
        assert_eq!((reject.raw_format, reject.raw.as_slice()), (RawFormat::JetstreamV2, message));
    }
    let huge = vec![b' '; MESSAGE_MAX + 1];
    let reject = only_reject(frame_of(jetstream_v2::decode_message(&collections(), &huge)).items);
    assert_eq!((reject.reason, reject.raw.len()), (RejectReason::FrameBound, Reject::RAW_MAX));
    let deep = |message: &Value| message.to_string().replacen('{', &format!("{{\"x\":{},", "[".repeat(1_000_000)), 1);
    let message = deep(&created("fm.plyr.like", &like()));
    let items =
        on_half_a_stack(move || frame_of(jetstream_v2::decode_message(&collections(), message.as_bytes())).items);
    assert_eq!(only_reject(items).reason, RejectReason::FrameEncoding);
}

/// Each field missing, and of another type.
#[test]
fn t17_payloads_with_a_field_amiss() {
    let fields = ["seq", "did", "rev", "operation", "collection", "rkey", "cid", "record"];
    for field in fields {
        for amiss in [None, Some(json!(null)), Some(json!({"a": [1]})), Some(json!(true))] {
            if field == "record" && amiss.as_ref().is_some_and(|value| !value.is_null()) {
                continue;
            }
            let mut message = created("fm.plyr.like", &like());
            let payload = message["payload"].as_object_mut().unwrap();
            match &amiss {
                None => drop(payload.remove(field)),
                Some(value) => drop(payload.insert(field.to_owned(), value.clone())),
            }
            let frame = decode_frame(&message);
            assert_eq!(frame.position.is_some(), field != "seq");
            assert_eq!(frame.undelivered.is_some(), field != "did", "F1: {field}");
            let reject = only_reject(frame.items);
            let expected = format!("payload.{field}");
            assert_eq!((reject.reason, reject.field), (RejectReason::Envelope, Some(expected)), "{amiss:?}");
        }
    }
    let reject_of = |kind: &str, part: Value| only_reject(decode_frame(&envelope(kind, json!({kind: part}))).items);
    for (kind, part, reason, field) in [
        ("account", json!({}), RejectReason::Envelope, "payload.account.active"),
        ("account", json!(7), RejectReason::Envelope, "payload.account"),
        ("identity", json!([]), RejectReason::Envelope, "payload.identity"),
        ("sync", json!({}), RejectReason::Envelope, "payload.sync.rev"),
        ("sync", json!({"rev": "7"}), RejectReason::Identifier, "payload.sync.rev"),
        ("sync", json!(null), RejectReason::Envelope, "payload.sync"),
    ] {
        let reject = reject_of(kind, part);
        assert_eq!((reject.reason, reject.field.as_deref()), (reason, Some(field)));
    }
    // F10: `active` governs, whatever the field beside it holds.
    for (status, expected) in [(json!(7), None), (json!("\0"), Some("\u{fffd}"))] {
        let frame = decode_frame(&envelope("account", json!({"account": {"active": false, "status": status}})));
        let EventBody::Account { active: false, status, .. } = only_event(frame.items).body else {
            panic!("not hidden")
        };
        assert_eq!(status.as_ref().map(AccountStatus::as_str), expected);
    }
    for kind in ["account", "identity", "sync"] {
        let mut message = envelope(kind, json!({kind: {"active": true, "rev": REV}}));
        drop(message["payload"].as_object_mut().unwrap().remove("seq"));
        let reject = only_reject(decode_frame(&message).items);
        assert_eq!((reject.reason, reject.field.as_deref()), (RejectReason::Envelope, Some("payload.seq")), "{kind}");
    }
    let mut message = created("fm.plyr.like", &like());
    message["payload"]["operation"] = "upsert".into();
    let reject = only_reject(decode_frame(&message).items);
    assert_eq!((reject.reason, reject.field.as_deref()), (RejectReason::UnknownKind, Some("payload.operation")));
}

#[test]
fn rejects_of_jetstream_v2_are_decoded_again() {
    let mut bad = created("fm.plyr.like", &like());
    bad["payload"]["rev"] = "7".into();
    let reject = only_reject(decode_frame(&bad).items);
    let again = only_item(decode_reject(&collections(), reject.raw_format, reject.path.as_ref(), &reject.raw));
    assert!(matches!(again, Item::Reject(second) if *second == reject));
    let whole = created("fm.plyr.like", &like()).to_string();
    let items = decode_reject(&collections(), RawFormat::JetstreamV2, None, whole.as_bytes());
    assert!(matches!(items.as_slice(), [Item::Event(_)]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_jetstream_v2_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Message::Frame(frame) = jetstream_v2::decode_message(&collections(), &bytes) {
            frame.items.iter().for_each(sound);
        }
    }

    #[test]
    fn no_damage_makes_jetstream_v2_panic(bytes in damaged(created("fm.plyr.list", &list(2)).to_string().into_bytes())) {
        if let Message::Frame(frame) = jetstream_v2::decode_message(&collections(), &bytes) {
            prop_assert!(frame.items.len() <= 1);
            frame.items.iter().for_each(sound);
        }
    }
}
