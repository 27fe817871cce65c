//! Jetstream v1, message by message.

use ipld_core::ipld::Ipld;
use plyr_likes::{
    atproto::{Cid, Handle, Tid, Timestamp},
    decode::{Item, MESSAGE_MAX, RawFormat, Reject, jetstream_v1},
    model::{AccountStatus, Collection, EventBody, HostMoment, Operation, Record, RejectReason, UntrustedText},
};
use serde_json::{Value, json};

use super::{
    super::wire::{CID, DID, KEY, REV, Sent, TRACK, commit, create, delete, like, operation, put, set},
    collections, decode_frame, decode_json, on_half_a_stack, only_event, only_item, only_reject,
};

#[test]
fn a_like_by_jetstream() {
    let frame = decode_json(&create("fm.plyr.like", KEY, &like()));
    assert_eq!(frame.position, Some(1_725_911_162_329_308));
    assert_eq!(frame.time, Timestamp::from_micros(1_725_911_162_329_308));
    let event = only_event(frame.items);
    assert_eq!(event.did.as_str(), DID);
    let EventBody::Commit(commit) = event.body else { panic!("no commit") };
    assert_eq!(
        (commit.rev, commit.collection, commit.rkey.as_str()),
        (Tid::parse(REV).unwrap(), Collection::Like, KEY)
    );
    let Operation::Put { cid, record: Record::Like(like) } = commit.operation else { panic!("no like") };
    assert_eq!((cid, like.subject_cid), (Cid::parse(CID).unwrap(), Cid::parse(CID).unwrap()));
    assert_eq!(
        (like.subject.to_string().as_str(), like.created_at.to_string().as_str()),
        (TRACK, "2024-09-09T19:46:02.102Z")
    );
}

#[test]
fn t17_jetstream_messages_that_are_none() {
    let whole = create("fm.plyr.like", KEY, &like()).to_string();
    for length in 0..whole.len() {
        let frame = jetstream_v1::decode_message(&collections(), &whole.as_bytes()[..length]);
        assert_eq!(only_reject(frame.items).reason, RejectReason::FrameEncoding, "cut at {length}");
    }
    let cases: [(&[u8], RejectReason); 7] = [
        (b"hello", RejectReason::FrameEncoding),
        (b"\xff\xfe", RejectReason::FrameEncoding),
        (b"{} {}", RejectReason::FrameEncoding),
        (b"[]", RejectReason::Envelope),
        (b"7", RejectReason::Envelope),
        (b"{}", RejectReason::Envelope),
        (br#"{"kind":"sync"}"#, RejectReason::UnknownKind),
    ];
    for (message, reason) in cases {
        let reject = only_reject(jetstream_v1::decode_message(&collections(), message).items);
        assert_eq!((reject.reason, reject.raw_format), (reason, RawFormat::JetstreamV1));
        assert_eq!((reject.raw.as_slice(), reject.raw_length), (message, message.len()));
    }
    let huge = vec![b' '; MESSAGE_MAX + 1];
    let reject = only_reject(jetstream_v1::decode_message(&collections(), &huge).items);
    assert_eq!(
        (reject.reason, reject.raw.len(), reject.raw_length),
        (RejectReason::FrameBound, Reject::RAW_MAX, huge.len())
    );
}

#[test]
fn t17_json_deeper_than_any_stack() {
    let nest = |levels| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    let in_record = |levels| {
        let record = like().to_string().replacen('{', &format!("{{\"x\":{},", nest(levels)), 1);
        create("fm.plyr.like", KEY, &json!("RECORD")).to_string().replace("\"RECORD\"", &record)
    };
    let in_envelope = |message: Value| message.to_string().replacen('{', &format!("{{\"x\":{},", nest(1_000_000)), 1);
    let ours = create("fm.plyr.like", KEY, &like());
    let cases = [
        (in_record(98), None),
        (in_record(10_000), Some(RejectReason::RecordEncoding)),
        (in_record(1_000_000), Some(RejectReason::RecordEncoding)),
        (nest(1_000_000), Some(RejectReason::Envelope)),
        ("[".repeat(1_000_000), Some(RejectReason::FrameEncoding)),
        ("{\"a\":".repeat(800_000), Some(RejectReason::FrameEncoding)),
        (in_envelope(ours.clone()), None),
        (in_envelope(json!({"did": 1, "commit": ours["commit"], "kind": "commit"})), Some(RejectReason::Envelope)),
    ];
    for (index, (message, reason)) in cases.into_iter().enumerate() {
        let items = on_half_a_stack(move || jetstream_v1::decode_message(&collections(), message.as_bytes()).items);
        match (only_item(items), reason) {
            (Item::Event(_), None) => {}
            (Item::Reject(reject), Some(reason)) => assert_eq!(reject.reason, reason, "case {index}"),
            (item, _) => panic!("case {index}: {item:?}"),
        }
    }
}

/// Each field of the envelope missing, and of another type.
#[test]
fn t17_jetstream_envelopes_with_a_field_amiss() {
    let fields = ["/did", "/time_us", "/kind", "/commit", "/commit/rev", "/commit/operation", "/commit/collection"];
    let fields = fields.into_iter().chain(["/commit/rkey", "/commit/cid", "/commit/record"]);
    for pointer in fields {
        for amiss in [None, Some(json!(null)), Some(json!({"a": [1]})), Some(json!(true)), Some(json!([]))] {
            // A record of any type is there; an object of any names is a commit.
            let fits = |value: &Value| match pointer {
                "/commit/record" => !value.is_null(),
                "/commit" => value.is_object(),
                _ => false,
            };
            if amiss.as_ref().is_some_and(fits) {
                continue;
            }
            let mut message = create("fm.plyr.like", KEY, &like());
            let mut other = create("app.bsky.feed.like", KEY, &json!("\u{1}"));
            for message in [&mut message, &mut other] {
                let (parent, name) = pointer.rsplit_once('/').unwrap();
                let parent = message.pointer_mut(parent).unwrap().as_object_mut().unwrap();
                match &amiss {
                    None => drop(parent.remove(name)),
                    Some(value) => drop(parent.insert(name.to_owned(), value.clone())),
                }
            }
            let field = pointer[1..].replace('/', ".");
            let frame = decode_json(&message);
            assert_eq!(frame.position.is_some(), pointer != "/time_us");
            let reject = only_reject(frame.items);
            assert_eq!(
                (reject.reason, reject.field.as_deref()),
                (RejectReason::Envelope, Some(field.as_str())),
                "{amiss:?}"
            );
            let readable = ["/time_us", "/commit/cid", "/commit/record"].contains(&pointer);
            assert_eq!(reject.path.is_some(), readable, "{pointer}");
            let could_be_ours = ["/kind", "/commit", "/commit/collection"].contains(&pointer);
            assert_eq!(decode_json(&other).items.len(), usize::from(could_be_ours), "{pointer}");
        }
    }
    for (pointer, bad) in
        [("/did", "alice.test"), ("/commit/rev", "1"), ("/commit/cid", "bafy"), ("/commit/rkey", "a b")]
    {
        let mut message = create("fm.plyr.like", KEY, &like());
        *message.pointer_mut(pointer).unwrap() = bad.into();
        let reject = only_reject(decode_json(&message).items);
        assert_eq!((reject.reason, reject.field), (RejectReason::Identifier, Some(pointer[1..].replace('/', "."))));
        assert_eq!(reject.path.is_some(), pointer == "/commit/cid");
    }
    let mut message = create("fm.plyr.like", KEY, &like());
    message["commit"]["operation"] = "upsert".into();
    let reject = only_reject(decode_json(&message).items);
    assert_eq!((reject.reason, reject.field.as_deref()), (RejectReason::UnknownKind, Some("commit.operation")));
    assert_eq!(reject.path.unwrap().rev, Tid::parse(REV).unwrap());
}

#[test]
fn other_collections_are_no_items_whatever_they_hold() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for record in [r#""\ud800""#, "1e999", "0.5", "null", "18446744073709551616", deep.as_str()] {
        for collection in ["app.bsky.feed.like", "fm.plyr.stg.like", "fm.plyr.likes", "fm.plyr"] {
            let message = create(collection, KEY, &json!("RECORD")).to_string().replace("\"RECORD\"", record);
            let frame = jetstream_v1::decode_message(&collections(), message.as_bytes());
            assert!(frame.items.is_empty(), "{collection} {record}: {:?}", frame.items);
            assert!(frame.position.is_some() && frame.time.is_some());
        }
    }
    let mut sent = vec![put("app.bsky.feed.like", KEY, b"no CBOR"), put("fm.plyr.stg.like", "..", b"\xff")];
    sent.push(Sent { operation: operation("upsert", "app.bsky.feed.like", None), block: None });
    let mut payload = commit(&sent);
    set(&mut payload, "blocks", Ipld::Bytes(b"no CAR".to_vec()));
    set(&mut payload, "rev", Ipld::Null);
    let frame = decode_frame(&payload);
    assert!(frame.items.is_empty(), "{:?}", frame.items);
    assert_eq!((frame.position, frame.time.is_some()), (Some(77), true));
}

#[test]
fn accounts_and_identities_by_jetstream() {
    let of = |kind: &str, part: Value| {
        let mut message = json!({"did": DID, "time_us": 5, "kind": kind});
        message[kind] = part;
        decode_json(&message).items
    };
    let at = Timestamp::parse("2026-05-25T14:23:29.950Z").unwrap();
    let time = at.to_string();
    let seen = Timestamp::from_micros(5).unwrap();
    let body = |items| only_event(items).body;
    let account = |active, status, at| EventBody::Account { active, status, at: HostMoment { at, seq: 0 } };
    for (word, status) in [
        ("deleted", AccountStatus::Deleted),
        ("deactivated", AccountStatus::Deactivated),
        ("suspended", AccountStatus::Suspended),
        ("takendown", AccountStatus::Takendown),
        ("throttled", AccountStatus::Throttled),
        ("desynchronized", AccountStatus::Desynchronized),
        ("napping", AccountStatus::Other(UntrustedText::of("napping"))),
    ] {
        let event = of("account", json!({"active": false, "status": word, "time": time}));
        assert_eq!(body(event), account(false, Some(status), at));
    }
    assert_eq!(body(of("account", json!({"active": true, "time": "soon"}))), account(true, None, seen));
    assert_eq!(body(of("account", json!({"active": true, "status": null}))), account(true, None, seen));
    // F10: `active` governs, whatever the field beside it holds.
    assert_eq!(body(of("account", json!({"active": false, "status": 7, "time": time}))), account(false, None, at));
    let odd = AccountStatus::Other(UntrustedText::of("\0"));
    assert_eq!(
        body(of("account", json!({"active": false, "status": "\0", "time": time}))),
        account(false, Some(odd), at)
    );
    for (part, reason, field) in [
        (json!({"active": "yes"}), RejectReason::Envelope, "account.active"),
        (json!({}), RejectReason::Envelope, "account.active"),
        (json!(7), RejectReason::Envelope, "account"),
    ] {
        let reject = only_reject(of("account", part));
        assert_eq!((reject.reason, reject.field.as_deref()), (reason, Some(field)));
    }
    for (handle, expected) in [
        (json!("Alice.Test"), Some("alice.test")),
        (json!("handle.invalid"), None),
        (json!("no handle"), None),
        (json!(null), None),
        (json!(7), None),
    ] {
        let EventBody::Identity { handle, at: found } = body(of("identity", json!({"handle": handle, "time": time})))
        else {
            panic!("no identity")
        };
        assert_eq!((handle.as_ref().map(Handle::as_str), found), (expected, at));
    }
    assert_eq!(only_reject(of("identity", json!([]))).field.as_deref(), Some("identity"));
}

/// A field that is there twice takes the slow way, which must say the same.
#[test]
fn a_field_twice_counts_as_the_last() {
    let twice = |message: &Value| {
        let text = message.to_string().replacen('{', "{\"did\":7,", 1);
        jetstream_v1::decode_message(&collections(), text.as_bytes())
    };
    let mut nothing = create("fm.plyr.like", KEY, &like());
    nothing["commit"]["record"] = json!(null);
    let part = |kind: &str, part: Value| {
        let mut message = json!({"did": DID, "time_us": 5, "kind": kind});
        message[kind] = part;
        message
    };
    for message in [
        create("fm.plyr.like", KEY, &like()),
        delete("fm.plyr.like", KEY),
        nothing,
        part("account", json!({"active": true, "status": null, "time": "2026-05-25T14:23:29.950Z"})),
        part("account", json!({"active": false, "status": "deleted"})),
        part("identity", json!({"handle": "alice.test", "time": "2026-05-25T14:23:29.950Z"})),
    ] {
        let (once, twice) = (decode_json(&message), twice(&message));
        assert_eq!((once.position, once.time), (twice.position, twice.time));
        match (only_item(once.items), only_item(twice.items)) {
            (Item::Event(once), Item::Event(twice)) => assert_eq!(once, twice),
            (Item::Reject(once), Item::Reject(twice)) => {
                assert_eq!((once.reason, once.field, once.path), (twice.reason, twice.field, twice.path));
            }
            (once, twice) => panic!("{once:?} and {twice:?}"),
        }
    }
}
