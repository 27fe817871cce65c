//! The raw firehose, message by message.

use ipld_core::ipld::Ipld;
use plyr_likes::{
    atproto::{Cid, Did, Tid, Timestamp},
    decode::{
        Item, MESSAGE_MAX, RawFormat, Undelivered,
        firehose::{self, Message},
    },
    model::{AccountStatus, Collection, Event, EventBody, HostMoment, Operation, RejectReason},
};
use serde_json::{Value, json};

use super::{
    super::wire::{
        DID, KEY, REV, Sent, car, commit, delete, ipld, ipld_cid, like, list, message, operation, put, set, track,
    },
    collections, decode_frame, decode_json, decode_of, on_half_a_stack, only_event, only_reject,
};

#[test]
fn t17_cbor_deeper_than_any_stack() {
    let nest = |levels: usize| [vec![0x81; levels], vec![0x01]].concat();
    let header = serde_ipld_dagcbor::to_vec(&ipld(&json!({"op": 1, "t": "#commit"}))).unwrap();
    for levels in [10_000, 1_000_000] {
        let message = [header.clone(), nest(levels)].concat();
        let decoded = on_half_a_stack(move || firehose::decode_message(&collections(), &message));
        let Message::Frame(frame) = decoded else { panic!("no frame") };
        assert_eq!(only_reject(frame.items).reason, RejectReason::FrameBound);
        // {"x": [[..]]} as a record, hashed right.
        let block = [vec![0xa1, 0x61, b'x'], nest(levels)].concat();
        let payload = commit(&[put("fm.plyr.like", KEY, &block)]);
        let reject = only_reject(on_half_a_stack(move || decode_frame(&payload)).items);
        assert_eq!((reject.reason, reject.path.is_some()), (RejectReason::RecordEncoding, true));
    }
}

#[test]
fn o1_operations_of_one_commit_share_its_rev() {
    let blocks = [like(), list(2), track()].map(|record| serde_ipld_dagcbor::to_vec(&ipld(&record)).unwrap());
    let mut sent: Vec<Sent> = ["fm.plyr.like", "fm.plyr.list", "fm.plyr.track"]
        .into_iter()
        .zip(&blocks)
        .map(|(collection, block)| put(collection, KEY, block))
        .collect();
    sent.insert(1, put("app.bsky.feed.post", KEY, b"no CBOR at all"));
    sent.push(Sent { operation: operation("delete", "fm.plyr.like/3l3qo2vuowo22", None), block: None });
    let frame = decode_frame(&commit(&sent));
    assert_eq!((frame.position, frame.time), (Some(77), Timestamp::parse("2024-09-09T19:46:02.102Z").ok()));
    let found: Vec<_> = frame
        .items
        .into_iter()
        .map(|item| match only_event(vec![item]).body {
            EventBody::Commit(commit) => (commit.rev, commit.collection, commit.operation == Operation::Delete),
            other => panic!("no commit: {other:?}"),
        })
        .collect();
    let rev = Tid::parse(REV).unwrap();
    let expected = [
        (rev, Collection::Like, false),
        (rev, Collection::List, false),
        (rev, Collection::Track, false),
        (rev, Collection::Like, true),
    ];
    assert_eq!(found, expected);
}

#[test]
fn t17_firehose_operations_amiss() {
    let block = serde_ipld_dagcbor::to_vec(&ipld(&like())).unwrap();
    let cid = ipld_cid(&block);
    let path = format!("fm.plyr.like/{KEY}");
    let sent = |operation, block| Sent { operation, block };
    let good = || operation("create", &path, Some(cid));
    let mut no_path = operation("create", "", Some(cid));
    set(&mut no_path, "path", Ipld::Null);
    let mut no_action = good();
    set(&mut no_action, "action", Ipld::Integer(7));
    let cases = [
        (sent(good(), None), RejectReason::BlockMissing, None, true),
        (sent(good(), Some((cid, b"other bytes".to_vec()))), RejectReason::CidMismatch, None, true),
        (sent(operation("upsert", &path, Some(cid)), None), RejectReason::UnknownKind, Some("ops[0].action"), true),
        (sent(no_action, None), RejectReason::Envelope, Some("ops[0].action"), true),
        (sent(operation("update", &path, None), None), RejectReason::Envelope, Some("ops[0].cid"), true),
        (
            sent(operation("create", "fm.plyr.like", Some(cid)), None),
            RejectReason::Identifier,
            Some("ops[0].path"),
            false,
        ),
        (
            sent(operation("create", "fm.plyr.like/a/b", Some(cid)), None),
            RejectReason::Identifier,
            Some("ops[0].path"),
            false,
        ),
        (sent(no_path, None), RejectReason::Envelope, Some("ops[0].path"), false),
    ];
    for (sent, reason, field, has_path) in cases {
        let frame = decode_frame(&commit(&[sent]));
        let (did, rev) = (Did::parse(DID).unwrap(), Tid::parse(REV).ok());
        assert_eq!(frame.undelivered, Some(Undelivered { did, rev, is_ours: has_path }), "F1: {reason:?}");
        let reject = only_reject(frame.items);
        assert_eq!((reject.reason, reject.field.as_deref(), reject.path.is_some()), (reason, field, has_path));
        let of_record = matches!(reason, RejectReason::BlockMissing | RejectReason::CidMismatch);
        assert_eq!(reject.raw_format, if of_record { RawFormat::RecordCbor } else { RawFormat::Firehose });
    }
}

#[test]
fn t17_firehose_commits_amiss() {
    let block = serde_ipld_dagcbor::to_vec(&ipld(&like())).unwrap();
    let ours = || commit(&[put("fm.plyr.like", KEY, &block), put("fm.plyr.like", "3l3qo2vuowo22", &block)]);
    for (name, value, reason) in [
        ("repo", Ipld::Null, RejectReason::Envelope),
        ("repo", "alice.test".into(), RejectReason::Identifier),
        ("rev", Ipld::Integer(7), RejectReason::Envelope),
        ("rev", "7".into(), RejectReason::Identifier),
        ("seq", "7".into(), RejectReason::Envelope),
        ("ops", Ipld::Null, RejectReason::Envelope),
    ] {
        let mut payload = ours();
        set(&mut payload, name, value);
        let reject = only_reject(decode_frame(&payload).items);
        assert_eq!((reject.reason, reject.field.as_deref()), (reason, Some(name)));
    }
    let good_car = car([(ipld_cid(&block), block.clone())].iter());
    let cut = &good_car[..good_car.len() - 1];
    // The header ends with its version.
    let mut second_version = good_car.clone();
    second_version[usize::from(good_car[0])] = 2;
    for blocks in [b"".as_slice(), &second_version, b"no CAR", cut, &[0xff; 20], &[good_car.clone(), vec![0]].concat()]
    {
        let mut payload = commit(&[put("fm.plyr.like", KEY, &block)]);
        set(&mut payload, "blocks", Ipld::Bytes(blocks.to_vec()));
        assert_eq!(only_reject(decode_frame(&payload).items).reason, RejectReason::BlockMissing, "{blocks:?}");
        set(&mut payload, "tooBig", Ipld::Bool(true));
        let reject = only_reject(decode_frame(&payload).items);
        assert_eq!((reject.reason, reject.path.unwrap().cid), (RejectReason::TooBig, Some(Cid::of_record(&block))));
    }
    let mut payload = commit(&[]);
    assert!(decode_frame(&payload).items.is_empty());
    set(&mut payload, "tooBig", Ipld::Bool(true));
    assert_eq!(only_reject(decode_frame(&payload).items).reason, RejectReason::TooBig);
}

#[test]
fn firehose_messages_that_are_no_commits() {
    let payload = |more: Value| {
        let mut payload = json!({"did": DID, "seq": 7, "time": "2024-09-09T19:46:02.102Z"});
        payload.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ipld(&payload)
    };
    let at = Timestamp::parse("2024-09-09T19:46:02.102Z").unwrap();
    let frame = decode_of("#identity", &payload(json!({"handle": "alice.test"})));
    assert_eq!((frame.position, frame.time), (Some(7), Some(at)));
    let body = only_event(frame.items).body;
    assert!(matches!(body, EventBody::Identity { handle: Some(handle), .. } if handle.as_str() == "alice.test"));
    let account = decode_of("#account", &payload(json!({"active": false, "status": "deleted"})));
    let body = only_event(account.items).body;
    assert_eq!(
        body,
        EventBody::Account { active: false, status: Some(AccountStatus::Deleted), at: HostMoment { at, seq: 7 } }
    );
    // F10: `active` governs, whatever the field beside it holds.
    let account = decode_of("#account", &payload(json!({"active": false, "status": 7})));
    assert_eq!(
        only_event(account.items).body,
        EventBody::Account { active: false, status: None, at: HostMoment { at, seq: 7 } }
    );
    let sync = decode_of("#sync", &payload(json!({"rev": REV, "blocks": null})));
    assert_eq!(only_event(sync.items).body, EventBody::Sync { rev: Tid::parse(REV).unwrap() });
    for (kind, more, reason, field) in [
        ("#account", json!({}), RejectReason::Envelope, "active"),
        ("#identity", json!({"did": 7}), RejectReason::Envelope, "did"),
        ("#identity", json!({"did": "alice.test"}), RejectReason::Identifier, "did"),
        ("#identity", json!({"seq": null}), RejectReason::Envelope, "seq"),
        ("#identity", json!({"time": "now"}), RejectReason::Envelope, "time"),
        ("#sync", json!({}), RejectReason::Envelope, "rev"),
        ("#sync", json!({"rev": "7"}), RejectReason::Identifier, "rev"),
        ("#tombstone", json!({}), RejectReason::UnknownKind, "t"),
    ] {
        let reject = only_reject(decode_of(kind, &payload(more)).items);
        assert_eq!((reject.reason, reject.field.as_deref()), (reason, Some(field)), "{kind}");
    }
    let of =
        |header: Value, payload: Value| firehose::decode_message(&collections(), &message(&header, &ipld(&payload)));
    let info = of(json!({"op": 1, "t": "#info"}), json!({"name": "OutdatedCursor", "message": "m"}));
    assert!(
        matches!(info, Message::Info { name, message } if name == "OutdatedCursor" && message.as_deref() == Some("m"))
    );
    let error = of(json!({"op": -1}), json!({"error": "FutureCursor"}));
    assert!(matches!(error, Message::Error { error, message: None } if error == "FutureCursor"));
    for (header, reason, field) in [
        (json!({"op": 2, "t": "#commit"}), RejectReason::UnknownKind, Some("op")),
        (json!({"op": 1}), RejectReason::Envelope, Some("t")),
        (json!({"t": "#commit"}), RejectReason::Envelope, Some("op")),
        (json!([]), RejectReason::Envelope, Some("op")),
    ] {
        let Message::Frame(frame) = of(header, json!({})) else { panic!("no frame") };
        let reject = only_reject(frame.items);
        assert_eq!((reject.reason, reject.field.as_deref()), (reason, field));
    }
}

#[test]
fn t17_firehose_messages_that_are_none() {
    let whole = message(&json!({"op": 1, "t": "#commit"}), &commit(&[]));
    let decode = |bytes: &[u8]| match firehose::decode_message(&collections(), bytes) {
        Message::Frame(frame) => only_reject(frame.items).reason,
        other => panic!("no frame: {other:?}"),
    };
    for length in 0..whole.len() {
        assert_eq!(decode(&whole[..length]), RejectReason::FrameEncoding, "cut at {length}");
    }
    assert_eq!(decode(&[whole.clone(), vec![0]].concat()), RejectReason::FrameEncoding);
    assert_eq!(decode(b"{\"did\":1}"), RejectReason::FrameEncoding);
    assert_eq!(decode(&vec![0; MESSAGE_MAX + 1]), RejectReason::FrameBound);
    // A list and a map that promise more than there is.
    assert_eq!(decode(&[0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), RejectReason::FrameEncoding);
    assert_eq!(decode(&[0xbb, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), RejectReason::FrameEncoding);
}

/// One commit cannot make more rejects than it has operations, nor keep its bytes more than once.
#[test]
fn a_commit_of_broken_operations_is_kept_once() {
    let sent = (0..200).map(|_| put("fm.plyr.like", "..", &[0])).collect::<Vec<_>>();
    let reject = only_reject(decode_frame(&commit(&sent)).items);
    assert_eq!((reject.reason, reject.raw_format), (RejectReason::Identifier, RawFormat::Firehose));
}

/// A broken operation costs itself alone, wherever it stands among good ones.
#[test]
fn t17_a_broken_operation_hides_none_of_its_neighbours() {
    let block = serde_ipld_dagcbor::to_vec(&ipld(&like())).unwrap();
    let keys = [KEY, "3l3qo2vuowo22", "3l3qo2vuowo2c"];
    for at in 0..=keys.len() {
        let mut sent: Vec<Sent> = keys.iter().map(|key| put("fm.plyr.like", key, &block)).collect();
        sent.insert(at, put("fm.plyr.like", "..", &block));
        let (mut accepted, mut refused) = (Vec::new(), Vec::new());
        for item in decode_frame(&commit(&sent)).items {
            match item {
                Item::Event(Event { body: EventBody::Commit(commit), .. }) => accepted.push(commit.rkey.to_string()),
                Item::Reject(reject) => refused.push(reject.reason),
                other @ Item::Event(_) => panic!("no commit: {other:?}"),
            }
        }
        assert_eq!(
            (accepted, refused),
            (keys.map(str::to_owned).to_vec(), vec![RejectReason::Identifier]),
            "broken at {at}"
        );
    }
}

#[test]
fn deletes_by_both() {
    let by_json = only_event(decode_json(&delete("fm.plyr.like", KEY)).items);
    let sent = Sent { operation: operation("delete", &format!("fm.plyr.like/{KEY}"), None), block: None };
    assert_eq!(only_event(decode_frame(&commit(&[sent])).items), by_json);
    assert!(matches!(by_json.body, EventBody::Commit(commit) if commit.operation == Operation::Delete));
}
