//! The decoders at their edges: what hosts, clients and accidents send. Every broken message is one reject, none is a panic.

use std::collections::HashSet;

use ipld_core::{cid::Cid as IpldCid, ipld::Ipld};
use plyr_likes::{
    atproto::{Cid, Tid, Timestamp},
    decode::{
        AccountStatus, Body, Collection, Collections, Event, Frame, Item, MESSAGE_MAX, Operation, RawFormat, Reason,
        Record, Reject, decode_reject,
        firehose::{self, Message},
        jetstream_v1,
        record::record_json,
    },
};
use proptest::prelude::*;
use serde_json::{Value, json};

const DID: &str = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";
const CID: &str = "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a";
const REV: &str = "3l3qo2vutsw2b";
const KEY: &str = "3l3qo2vuowo2b";
const TRACK: &str = "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/fm.plyr.track/3l3pte3p2e325";

fn collections() -> Collections {
    Collections::of_namespace("fm.plyr").unwrap()
}

fn like() -> Value {
    json!({"$type": "fm.plyr.like", "createdAt": "2024-09-09T19:46:02.102Z", "subject": {"cid": CID, "uri": TRACK}})
}

fn list(items: usize) -> Value {
    json!({"$type": "fm.plyr.list", "createdAt": "2024-09-09T19:46:02.102Z",
        "items": vec![json!({"subject": {"cid": CID, "uri": TRACK}}); items]})
}

fn track() -> Value {
    json!({"$type": "fm.plyr.track", "createdAt": "2024-09-09T19:46:02.102Z", "title": "t", "artist": "a", "fileType": "mp3"})
}

/// A Jetstream message that creates a record.
fn create(collection: &str, rkey: &str, record: &Value) -> Value {
    json!({"did": DID, "time_us": 1_725_911_162_329_308_i64, "kind": "commit", "commit": {
        "rev": REV, "operation": "create", "collection": collection, "rkey": rkey, "record": record, "cid": CID}})
}

fn delete(collection: &str, rkey: &str) -> Value {
    json!({"did": DID, "time_us": 1, "kind": "commit",
        "commit": {"rev": REV, "operation": "delete", "collection": collection, "rkey": rkey}})
}

fn decode_json(message: &Value) -> Frame {
    jetstream_v1::decode_message(&collections(), message.to_string().as_bytes())
}

fn only_reject(items: Vec<Item>) -> Reject {
    match <[Item; 1]>::try_from(items) {
        Ok([Item::Reject(reject)]) => *reject,
        other => panic!("not exactly one reject: {other:?}"),
    }
}

fn only_event(items: Vec<Item>) -> Event {
    match <[Item; 1]>::try_from(items) {
        Ok([Item::Event(event)]) => event,
        other => panic!("not exactly one event: {other:?}"),
    }
}

fn only_record(items: Vec<Item>) -> Record {
    match only_event(items).body {
        Body::Commit(commit) => match commit.operation {
            Operation::Put { record, .. } => record,
            Operation::Delete => panic!("a delete"),
        },
        other => panic!("no commit: {other:?}"),
    }
}

/// The same record through both dialects; they must say the same.
fn decode_both(collection: &str, rkey: &str, record: &Value) -> Result<Record, (Reason, Option<String>)> {
    let from_json = decode_json(&create(collection, rkey, record)).items;
    let block = serde_ipld_dagcbor::to_vec(&ipld(record)).unwrap();
    let from_cbor = decode_frame(&commit(&[put(collection, rkey, &block)])).items;
    let outcome = |items| match only_item(items) {
        Item::Event(event) => Ok(only_record(vec![Item::Event(event)])),
        Item::Reject(reject) => Err((reject.reason, reject.field)),
    };
    let (from_json, from_cbor) = (outcome(from_json), outcome(from_cbor));
    assert_eq!(from_json, from_cbor, "{record}");
    from_json
}

fn only_item(items: Vec<Item>) -> Item {
    let [item] = <[Item; 1]>::try_from(items).unwrap();
    item
}

fn ipld(value: &Value) -> Ipld {
    match value {
        Value::Null => Ipld::Null,
        Value::Bool(value) => Ipld::Bool(*value),
        Value::Number(number) => match number.as_i64() {
            Some(number) => Ipld::Integer(number.into()),
            None => number.as_u64().map_or_else(|| Ipld::Float(number.as_f64().unwrap()), |n| Ipld::Integer(n.into())),
        },
        Value::String(text) => Ipld::String(text.clone()),
        Value::Array(items) => Ipld::List(items.iter().map(ipld).collect()),
        Value::Object(fields) => Ipld::Map(fields.iter().map(|(name, value)| (name.clone(), ipld(value))).collect()),
    }
}

/// One operation of a commit, with the block that goes along.
struct Sent {
    operation: Ipld,
    block: Option<(IpldCid, Vec<u8>)>,
}

fn ipld_cid(bytes: &[u8]) -> IpldCid {
    IpldCid::try_from(Cid::of_record(bytes).to_bytes()).unwrap()
}

fn operation(action: &str, path: &str, cid: Option<IpldCid>) -> Ipld {
    Ipld::Map(
        [
            ("action".to_owned(), action.into()),
            ("path".to_owned(), path.into()),
            ("cid".to_owned(), cid.map_or(Ipld::Null, Ipld::Link)),
        ]
        .into(),
    )
}

fn put(collection: &str, rkey: &str, block: &[u8]) -> Sent {
    let cid = ipld_cid(block);
    Sent {
        operation: operation("create", &format!("{collection}/{rkey}"), Some(cid)),
        block: Some((cid, block.to_vec())),
    }
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn car<'b>(blocks: impl Iterator<Item = &'b (IpldCid, Vec<u8>)>) -> Vec<u8> {
    let header = serde_ipld_dagcbor::to_vec(&ipld(&json!({"roots": [], "version": 1}))).unwrap();
    let mut car = [varint(header.len()), header].concat();
    for (cid, block) in blocks {
        let cid = cid.to_bytes();
        car.extend([varint(cid.len() + block.len()), cid, block.clone()].concat());
    }
    car
}

/// The payload of a `#commit`.
fn commit(sent: &[Sent]) -> Ipld {
    let mut payload =
        ipld(&json!({"repo": DID, "rev": REV, "since": null, "seq": 77, "time": "2024-09-09T19:46:02.102Z",
        "tooBig": false, "rebase": false, "blobs": []}));
    set(&mut payload, "commit", Ipld::Link(ipld_cid(b"commit")));
    set(&mut payload, "ops", Ipld::List(sent.iter().map(|sent| sent.operation.clone()).collect()));
    set(&mut payload, "blocks", Ipld::Bytes(car(sent.iter().filter_map(|sent| sent.block.as_ref()))));
    payload
}

fn set(map: &mut Ipld, name: &str, value: Ipld) {
    let Ipld::Map(entries) = map else { panic!("not a map") };
    entries.insert(name.to_owned(), value);
}

fn message(header: &Value, payload: &Ipld) -> Vec<u8> {
    [serde_ipld_dagcbor::to_vec(&ipld(header)).unwrap(), serde_ipld_dagcbor::to_vec(payload).unwrap()].concat()
}

fn decode_of(kind: &str, payload: &Ipld) -> Frame {
    match firehose::decode_message(&collections(), &message(&json!({"op": 1, "t": kind}), payload)) {
        Message::Frame(frame) => frame,
        other => panic!("no frame: {other:?}"),
    }
}

fn decode_frame(payload: &Ipld) -> Frame {
    decode_of("#commit", payload)
}

/// Runs on a stack of 1 MiB, half of what a worker has; recursion as deep as the sender likes would end the process.
fn on_half_a_stack<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap().join().unwrap()
}

#[test]
fn a_like_by_jetstream() {
    let frame = decode_json(&create("fm.plyr.like", KEY, &like()));
    assert_eq!(frame.position, Some(1_725_911_162_329_308));
    assert_eq!(frame.time, Timestamp::from_micros(1_725_911_162_329_308));
    let event = only_event(frame.items);
    assert_eq!(event.did.as_str(), DID);
    let Body::Commit(commit) = event.body else { panic!("no commit") };
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
fn deletes_by_both() {
    let by_json = only_event(decode_json(&delete("fm.plyr.like", KEY)).items);
    let sent = Sent { operation: operation("delete", &format!("fm.plyr.like/{KEY}"), None), block: None };
    assert_eq!(only_event(decode_frame(&commit(&[sent])).items), by_json);
    assert!(matches!(by_json.body, Body::Commit(commit) if commit.operation == Operation::Delete));
}

#[test]
fn o16_keys_that_no_record_of_ours_can_have() {
    for (collection, record) in [("fm.plyr.like", like()), ("fm.plyr.list", list(1)), ("fm.plyr.track", track())] {
        for rkey in ["self", "a", "3l3qo2vuowo2", &"a".repeat(512)] {
            assert_eq!(decode_both(collection, rkey, &record), Err((Reason::RecordKey, None)), "{rkey}");
            let reject = only_reject(decode_json(&create(collection, rkey, &record)).items);
            assert_eq!(reject.path.unwrap().rkey.as_str(), rkey);
            assert!(decode_json(&delete(collection, rkey)).items.is_empty());
        }
        for rkey in [".", "..", "", "a/b", &"a".repeat(513)] {
            let reject = only_reject(decode_json(&create(collection, rkey, &record)).items);
            assert_eq!((reject.reason, reject.field.as_deref()), (Reason::Identifier, Some("commit.rkey")));
            let block = serde_ipld_dagcbor::to_vec(&ipld(&record)).unwrap();
            let reject = only_reject(decode_frame(&commit(&[put(collection, rkey, &block)])).items);
            assert_eq!((reject.reason, reject.field.as_deref()), (Reason::Identifier, Some("ops[0].path")));
            assert!(decode_json(&delete(collection, rkey)).items.is_empty());
            let sent = Sent { operation: operation("delete", &format!("{collection}/{rkey}"), None), block: None };
            assert!(decode_frame(&commit(&[sent])).items.is_empty());
        }
    }
    let profile = json!({"$type": "fm.plyr.actor.profile", "createdAt": "2024-09-09T19:46:02Z"});
    assert!(decode_both("fm.plyr.actor.profile", "self", &profile).is_ok());
    assert_eq!(decode_both("fm.plyr.actor.profile", KEY, &profile), Err((Reason::RecordKey, None)));
    let mut moved = create("fm.plyr.like", KEY, &like());
    moved["did"] = "did:web:localhost%3A8080".into();
    assert_eq!(only_event(decode_json(&moved).items).did.as_str(), "did:web:localhost%3A8080");
}

#[test]
fn t17_jetstream_messages_that_are_none() {
    let whole = create("fm.plyr.like", KEY, &like()).to_string();
    for length in 0..whole.len() {
        let frame = jetstream_v1::decode_message(&collections(), &whole.as_bytes()[..length]);
        assert_eq!(only_reject(frame.items).reason, Reason::FrameEncoding, "cut at {length}");
    }
    let cases: [(&[u8], Reason); 7] = [
        (b"hello", Reason::FrameEncoding),
        (b"\xff\xfe", Reason::FrameEncoding),
        (b"{} {}", Reason::FrameEncoding),
        (b"[]", Reason::Envelope),
        (b"7", Reason::Envelope),
        (b"{}", Reason::Envelope),
        (br#"{"kind":"sync"}"#, Reason::UnknownKind),
    ];
    for (message, reason) in cases {
        let reject = only_reject(jetstream_v1::decode_message(&collections(), message).items);
        assert_eq!((reject.reason, reject.raw_format), (reason, RawFormat::JetstreamV1));
        assert_eq!((reject.raw.as_slice(), reject.raw_length), (message, message.len()));
    }
    let huge = vec![b' '; MESSAGE_MAX + 1];
    let reject = only_reject(jetstream_v1::decode_message(&collections(), &huge).items);
    assert_eq!((reject.reason, reject.raw.len(), reject.raw_length), (Reason::FrameBound, Reject::RAW_MAX, huge.len()));
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
        (in_record(10_000), Some(Reason::RecordEncoding)),
        (in_record(1_000_000), Some(Reason::RecordEncoding)),
        (nest(1_000_000), Some(Reason::Envelope)),
        ("[".repeat(1_000_000), Some(Reason::FrameEncoding)),
        ("{\"a\":".repeat(800_000), Some(Reason::FrameEncoding)),
        (in_envelope(ours.clone()), None),
        (in_envelope(json!({"did": 1, "commit": ours["commit"], "kind": "commit"})), Some(Reason::Envelope)),
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

#[test]
fn t17_cbor_deeper_than_any_stack() {
    let nest = |levels: usize| [vec![0x81; levels], vec![0x01]].concat();
    let header = serde_ipld_dagcbor::to_vec(&ipld(&json!({"op": 1, "t": "#commit"}))).unwrap();
    for levels in [10_000, 1_000_000] {
        let message = [header.clone(), nest(levels)].concat();
        let decoded = on_half_a_stack(move || firehose::decode_message(&collections(), &message));
        let Message::Frame(frame) = decoded else { panic!("no frame") };
        assert_eq!(only_reject(frame.items).reason, Reason::FrameBound);
        // {"x": [[..]]} as a record, hashed right.
        let block = [vec![0xa1, 0x61, b'x'], nest(levels)].concat();
        let payload = commit(&[put("fm.plyr.like", KEY, &block)]);
        let reject = only_reject(on_half_a_stack(move || decode_frame(&payload)).items);
        assert_eq!((reject.reason, reject.path.is_some()), (Reason::RecordEncoding, true));
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
            assert_eq!((reject.reason, reject.field.as_deref()), (Reason::Envelope, Some(field.as_str())), "{amiss:?}");
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
        assert_eq!((reject.reason, reject.field), (Reason::Identifier, Some(pointer[1..].replace('/', "."))));
        assert_eq!(reject.path.is_some(), pointer == "/commit/cid");
    }
    let mut message = create("fm.plyr.like", KEY, &like());
    message["commit"]["operation"] = "upsert".into();
    let reject = only_reject(decode_json(&message).items);
    assert_eq!((reject.reason, reject.field.as_deref()), (Reason::UnknownKind, Some("commit.operation")));
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
fn o14_o15_records_at_the_edge() {
    let with = |mut record: Value, name: &str, value: Value| {
        record[name] = value;
        record
    };
    let like_key = |name: &str, value: Value| decode_both("fm.plyr.like", KEY, &with(like(), name, value));
    for created_at in ["2099-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "2024-09-09T19:46:02+14:00"] {
        assert!(like_key("createdAt", created_at.into()).is_ok());
    }
    for created_at in [json!("2024-09-09T19:46:02"), json!(7), json!(null), json!("")] {
        assert_eq!(like_key("createdAt", created_at), Err((Reason::Lexicon, Some("createdAt".to_owned()))));
    }
    for extra in [json!("\0"), json!({"\0": "\0"}), json!(i64::MIN), json!(i64::MAX), json!("x".repeat(1_000_000))] {
        assert!(like_key("extra", extra).is_ok());
    }
    for number in [json!(0.5), json!(u64::MAX)] {
        assert_eq!(like_key("extra", number), Err((Reason::RecordEncoding, None)));
    }
    assert_eq!(like_key("$type", "fm.plyr.list".into()), Err((Reason::RecordType, Some("$type".to_owned()))));
    let track_key = |name: &str, value: Value| decode_both("fm.plyr.track", KEY, &with(track(), name, value));
    assert!(track_key("duration", i64::MAX.into()).is_ok());
    assert_eq!(track_key("duration", i64::MIN.into()), Err((Reason::Lexicon, Some("duration".to_owned()))));
    for (name, value, field) in [
        ("title", json!("a\0b"), "title"),
        ("artist", json!("\0"), "artist"),
        ("album", json!("\0"), "album"),
        ("description", json!("\0"), "description"),
        ("fileType", json!("\0"), "fileType"),
        ("audioUrl", json!("https://a/\0"), "audioUrl"),
        ("supportGate", json!({"a": [{"\0": 1}]}), "supportGate"),
        (
            "labels",
            json!({"$type": "com.atproto.label.defs#selfLabels", "values": [{"val": "a"}, {"val": "\0"}]}),
            "labels.values[1].val",
        ),
    ] {
        assert_eq!(track_key(name, value), Err((Reason::NulCharacter, Some(field.to_owned()))));
    }
    let nul_name = decode_both("fm.plyr.list", KEY, &with(list(1), "name", json!("\0")));
    assert_eq!(nul_name, Err((Reason::NulCharacter, Some("name".to_owned()))));
    for record in [json!([]), json!("text"), json!(7)] {
        assert_eq!(decode_both("fm.plyr.like", KEY, &record), Err((Reason::RecordEncoding, None)));
    }
    let lone = create("fm.plyr.like", KEY, &with(like(), "x", "LONE".into())).to_string().replace("LONE", "\\ud83d");
    let reject = only_reject(jetstream_v1::decode_message(&collections(), lone.as_bytes()).items);
    assert_eq!(reject.reason, Reason::RecordEncoding);
    let path = reject.path.unwrap();
    assert_eq!((path.did.as_str(), path.rkey.as_str(), path.cid), (DID, KEY, Cid::parse(CID).ok()));
    assert!(reject.raw.starts_with(b"{\"$type\"") && reject.raw_format == RawFormat::RecordJson);
}

#[test]
fn o17_lists() {
    let Ok(Record::List(full)) = decode_both("fm.plyr.list", KEY, &list(500)) else { panic!("no list") };
    assert_eq!(full.items.len(), 500);
    assert_eq!(decode_both("fm.plyr.list", KEY, &list(501)), Err((Reason::Lexicon, Some("items".to_owned()))));
    let mut odd = list(3);
    odd["listType"] = "mixtape".into();
    odd["items"][1]["subject"]["uri"] = "at://did:web:example.com/app.bsky.feed.post/any".into();
    let Ok(Record::List(odd)) = decode_both("fm.plyr.list", KEY, &odd) else { panic!("no list") };
    assert_eq!(
        (odd.list_type.as_deref(), odd.items[1].uri.collection.as_str()),
        (Some("mixtape"), "app.bsky.feed.post")
    );
    assert_eq!(odd.items[0], odd.items[2]);
    let mut broken = list(4);
    broken["items"][3]["subject"]["cid"] = "b".into();
    let refused = decode_both("fm.plyr.list", KEY, &broken);
    assert_eq!(refused, Err((Reason::Lexicon, Some("items[3].subject.cid".to_owned()))));
}

#[test]
fn a_track_with_everything() {
    let mut record = track();
    let more = json!({"audioUrl": "https://a.test/b.mp3", "album": "al", "duration": 180, "imageUrl": "https://a.test/i",
        "description": "d", "features": [{"did": DID, "handle": "alice.test"}], "supportGate": {"type": "any"},
        "labels": {"$type": "com.atproto.label.defs#selfLabels", "values": [{"val": "explicit"}]},
        "audioBlob": {"$type": "blob", "ref": {"$link": CID}, "mimeType": "audio/mpeg", "size": 5}});
    record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let Record::Track(track) = only_record(decode_json(&create("fm.plyr.track", KEY, &record)).items) else {
        panic!("no track")
    };
    assert_eq!((track.audio_cid.as_deref(), track.labels.as_slice()), (Some(CID), ["explicit".to_owned()].as_slice()));
    assert_eq!((track.features[0].as_str(), track.duration), (DID, Some(180)));
    assert_eq!(track.support_gate, Some(json!({"type": "any"})));
    assert_eq!((track.album.as_deref(), track.description.as_deref()), (Some("al"), Some("d")));
    assert_eq!(
        (track.audio_url.as_deref(), track.image_url.as_deref()),
        (Some("https://a.test/b.mp3"), Some("https://a.test/i"))
    );
    // The same in DAG-CBOR, where the blob's link is a link, gives the same, and the JSON form back.
    let mut value = ipld(&record);
    let Ipld::Map(fields) = &mut value else { panic!("not a map") };
    set(fields.get_mut("audioBlob").unwrap(), "ref", Ipld::Link(CID.parse().unwrap()));
    let block = serde_ipld_dagcbor::to_vec(&value).unwrap();
    let items = decode_frame(&commit(&[put("fm.plyr.track", KEY, &block)])).items;
    assert_eq!(only_record(items), Record::Track(track));
    assert_eq!(record_json(RawFormat::RecordCbor, &block).unwrap(), record);
}

#[test]
fn the_json_form_of_bytes_and_links() {
    let value = Ipld::Map(
        [("b".to_owned(), Ipld::Bytes(vec![1, 2])), ("l".to_owned(), Ipld::Link(CID.parse().unwrap()))].into(),
    );
    let block = serde_ipld_dagcbor::to_vec(&value).unwrap();
    let shown = record_json(RawFormat::RecordCbor, &block).unwrap();
    assert_eq!(shown, json!({"b": {"$bytes": "AQI"}, "l": {"$link": CID}}));
    assert_eq!(record_json(RawFormat::RecordJson, shown.to_string().as_bytes()).unwrap(), shown);
    assert!(record_json(RawFormat::Firehose, &block).is_err());
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
    let account = |active, status, at| Body::Account { active, status, at };
    for (word, status) in [
        ("deleted", AccountStatus::Deleted),
        ("deactivated", AccountStatus::Deactivated),
        ("suspended", AccountStatus::Suspended),
        ("takendown", AccountStatus::Takendown),
        ("throttled", AccountStatus::Throttled),
        ("desynchronized", AccountStatus::Desynchronized),
        ("napping", AccountStatus::Other("napping".to_owned())),
    ] {
        let told = of("account", json!({"active": false, "status": word, "time": time}));
        assert_eq!(body(told), account(false, Some(status), at));
    }
    assert_eq!(body(of("account", json!({"active": true, "time": "soon"}))), account(true, None, seen));
    assert_eq!(body(of("account", json!({"active": true, "status": null}))), account(true, None, seen));
    for (part, reason, field) in [
        (json!({"active": "yes"}), Reason::Envelope, "account.active"),
        (json!({}), Reason::Envelope, "account.active"),
        (json!({"active": false, "status": 7}), Reason::Envelope, "account.status"),
        (json!({"active": false, "status": "\0"}), Reason::NulCharacter, "account.status"),
        (json!(7), Reason::Envelope, "account"),
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
        let Body::Identity { handle, at: told } = body(of("identity", json!({"handle": handle, "time": time}))) else {
            panic!("no identity")
        };
        assert_eq!((handle.as_ref().map(|handle| handle.as_str()), told), (expected, at));
    }
    assert_eq!(only_reject(of("identity", json!([]))).field.as_deref(), Some("identity"));
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
    let told: Vec<_> = frame
        .items
        .into_iter()
        .map(|item| match only_event(vec![item]).body {
            Body::Commit(commit) => (commit.rev, commit.collection, commit.operation == Operation::Delete),
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
    assert_eq!(told, expected);
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
        (sent(good(), None), Reason::BlockMissing, None, true),
        (sent(good(), Some((cid, b"other bytes".to_vec()))), Reason::CidMismatch, None, true),
        (sent(operation("upsert", &path, Some(cid)), None), Reason::UnknownKind, Some("ops[0].action"), true),
        (sent(no_action, None), Reason::Envelope, Some("ops[0].action"), true),
        (sent(operation("update", &path, None), None), Reason::Envelope, Some("ops[0].cid"), true),
        (sent(operation("create", "fm.plyr.like", Some(cid)), None), Reason::Identifier, Some("ops[0].path"), false),
        (
            sent(operation("create", "fm.plyr.like/a/b", Some(cid)), None),
            Reason::Identifier,
            Some("ops[0].path"),
            false,
        ),
        (sent(no_path, None), Reason::Envelope, Some("ops[0].path"), false),
    ];
    for (sent, reason, field, has_path) in cases {
        let reject = only_reject(decode_frame(&commit(&[sent])).items);
        assert_eq!((reject.reason, reject.field.as_deref(), reject.path.is_some()), (reason, field, has_path));
        assert_eq!(reject.raw_format, if has_path { RawFormat::RecordCbor } else { RawFormat::Firehose });
    }
}

#[test]
fn t17_firehose_commits_amiss() {
    let block = serde_ipld_dagcbor::to_vec(&ipld(&like())).unwrap();
    let ours = || commit(&[put("fm.plyr.like", KEY, &block), put("fm.plyr.like", "3l3qo2vuowo22", &block)]);
    for (name, value, reason) in [
        ("repo", Ipld::Null, Reason::Envelope),
        ("repo", "alice.test".into(), Reason::Identifier),
        ("rev", Ipld::Integer(7), Reason::Envelope),
        ("rev", "7".into(), Reason::Identifier),
        ("seq", "7".into(), Reason::Envelope),
        ("ops", Ipld::Null, Reason::Envelope),
    ] {
        let mut payload = ours();
        set(&mut payload, name, value);
        let reject = only_reject(decode_frame(&payload).items);
        assert_eq!((reject.reason, reject.field.as_deref()), (reason, Some(name)));
    }
    let good_car = car([(ipld_cid(&block), block.clone())].iter());
    let cut = &good_car[..good_car.len() - 1];
    for blocks in [b"".as_slice(), b"no CAR", cut, &[0xff; 20], &[good_car.clone(), vec![0]].concat()] {
        let mut payload = commit(&[put("fm.plyr.like", KEY, &block)]);
        set(&mut payload, "blocks", Ipld::Bytes(blocks.to_vec()));
        assert_eq!(only_reject(decode_frame(&payload).items).reason, Reason::BlockMissing, "{blocks:?}");
        set(&mut payload, "tooBig", Ipld::Bool(true));
        let reject = only_reject(decode_frame(&payload).items);
        assert_eq!((reject.reason, reject.path.unwrap().cid), (Reason::TooBig, Some(Cid::of_record(&block))));
    }
    let mut payload = commit(&[]);
    assert!(decode_frame(&payload).items.is_empty());
    set(&mut payload, "tooBig", Ipld::Bool(true));
    assert_eq!(only_reject(decode_frame(&payload).items).reason, Reason::TooBig);
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
    assert!(matches!(body, Body::Identity { handle: Some(handle), .. } if handle.as_str() == "alice.test"));
    let account = decode_of("#account", &payload(json!({"active": false, "status": "deleted"})));
    let body = only_event(account.items).body;
    assert_eq!(body, Body::Account { active: false, status: Some(AccountStatus::Deleted), at });
    let sync = decode_of("#sync", &payload(json!({"rev": REV, "blocks": null})));
    assert_eq!(only_event(sync.items).body, Body::Sync { rev: Tid::parse(REV).unwrap() });
    for (kind, more, reason, field) in [
        ("#account", json!({}), Reason::Envelope, "active"),
        ("#account", json!({"active": false, "status": 7}), Reason::Envelope, "status"),
        ("#account", json!({"active": false, "status": "\0"}), Reason::NulCharacter, "status"),
        ("#identity", json!({"did": 7}), Reason::Envelope, "did"),
        ("#identity", json!({"did": "alice.test"}), Reason::Identifier, "did"),
        ("#identity", json!({"seq": null}), Reason::Envelope, "seq"),
        ("#identity", json!({"time": "now"}), Reason::Envelope, "time"),
        ("#sync", json!({}), Reason::Envelope, "rev"),
        ("#sync", json!({"rev": "7"}), Reason::Identifier, "rev"),
        ("#tombstone", json!({}), Reason::UnknownKind, "t"),
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
        (json!({"op": 2, "t": "#commit"}), Reason::UnknownKind, Some("op")),
        (json!({"op": 1}), Reason::Envelope, Some("t")),
        (json!({"t": "#commit"}), Reason::Envelope, Some("op")),
        (json!([]), Reason::Envelope, Some("op")),
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
        assert_eq!(decode(&whole[..length]), Reason::FrameEncoding, "cut at {length}");
    }
    assert_eq!(decode(&[whole.clone(), vec![0]].concat()), Reason::FrameEncoding);
    assert_eq!(decode(b"{\"did\":1}"), Reason::FrameEncoding);
    assert_eq!(decode(&vec![0; MESSAGE_MAX + 1]), Reason::FrameBound);
    // A list and a map that promise more than there is.
    assert_eq!(decode(&[0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), Reason::FrameEncoding);
    assert_eq!(decode(&[0xbb, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), Reason::FrameEncoding);
}

/// What decoding a reject's bytes again gives.
fn again(reject: &Reject) -> Item {
    only_item(decode_reject(&collections(), reject.raw_format, reject.path.as_ref(), &reject.raw))
}

#[test]
fn rejects_are_decoded_again_from_what_was_kept() {
    let good = serde_ipld_dagcbor::to_vec(&ipld(&like())).unwrap();
    let bad = serde_ipld_dagcbor::to_vec(&ipld(&json!({}))).unwrap();
    let path = format!("fm.plyr.like/{KEY}");
    let missing = Sent { operation: operation("create", &path, Some(ipld_cid(&good))), block: None };
    let mismatch = Sent { block: Some((ipld_cid(&good), bad.clone())), ..put("fm.plyr.like", KEY, &good) };
    let mut no_rev = create("fm.plyr.like", KEY, &like());
    no_rev["commit"]["rev"] = "7".into();
    let mut no_repo = commit(&[put("fm.plyr.like", KEY, &good)]);
    set(&mut no_repo, "repo", Ipld::Null);
    for items in [
        decode_json(&create("fm.plyr.like", KEY, &json!({}))).items,
        decode_frame(&commit(&[put("fm.plyr.like", KEY, &bad)])).items,
        decode_frame(&commit(&[missing])).items,
        decode_frame(&commit(&[mismatch])).items,
        decode_json(&no_rev).items,
        decode_frame(&no_repo).items,
    ] {
        let reject = only_reject(items);
        let Item::Reject(second) = again(&reject) else { panic!("taken: {reject:?}") };
        assert_eq!(*second, reject);
    }
    // What another version refused, this one can take.
    let mut refused = only_reject(decode_json(&create("fm.plyr.like", KEY, &json!({}))).items);
    refused.raw = like().to_string().into_bytes();
    assert!(matches!(again(&refused), Item::Event(_)));
    let whole = create("fm.plyr.like", KEY, &like()).to_string();
    let items = decode_reject(&collections(), RawFormat::JetstreamV1, None, whole.as_bytes());
    assert!(matches!(items.as_slice(), [Item::Event(_)]));
    let whole = message(&json!({"op": 1, "t": "#commit"}), &commit(&[put("fm.plyr.like", KEY, &good)]));
    let items = decode_reject(&collections(), RawFormat::Firehose, None, &whole);
    assert!(matches!(items.as_slice(), [Item::Event(_)]));
    assert_eq!(only_reject(decode_reject(&collections(), RawFormat::RecordJson, None, b"{}")).reason, Reason::Envelope);
}

/// One commit cannot make more rejects than it has operations, nor keep its bytes more than once.
#[test]
fn a_commit_of_broken_operations_is_kept_once() {
    let sent = (0..200).map(|_| put("fm.plyr.like", "..", &[0])).collect::<Vec<_>>();
    let reject = only_reject(decode_frame(&commit(&sent)).items);
    assert_eq!((reject.reason, reject.raw_format), (Reason::Identifier, RawFormat::Firehose));
}

#[test]
fn reasons_and_formats_have_words_of_their_own() {
    let words: HashSet<&str> = Reason::ALL.into_iter().map(Reason::as_str).collect();
    assert_eq!(words.len(), Reason::ALL.len());
    for format in [RawFormat::RecordJson, RawFormat::RecordCbor, RawFormat::JetstreamV1, RawFormat::Firehose] {
        assert_eq!(RawFormat::parse(format.as_str()), Some(format));
    }
}

/// Bytes with some places changed, cut out or doubled.
fn damaged(whole: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<u8>(), 0..4_u8);
    prop::collection::vec(change, 0..4).prop_map(move |changes| {
        let mut bytes = whole.clone();
        for (at, byte, how) in changes {
            let at = at.index(bytes.len().max(1));
            match how {
                0 if at < bytes.len() => bytes[at] = byte,
                1 if at < bytes.len() => drop(bytes.remove(at)),
                2 => bytes.insert(at, byte),
                _ => bytes.truncate(at.max(1)),
            }
        }
        bytes
    })
}

fn firehose_sample() -> Vec<u8> {
    let blocks = [like(), list(2), track()].map(|record| serde_ipld_dagcbor::to_vec(&ipld(&record)).unwrap());
    let sent = [
        put("fm.plyr.like", KEY, &blocks[0]),
        put("fm.plyr.list", KEY, &blocks[1]),
        put("fm.plyr.track", KEY, &blocks[2]),
    ];
    message(&json!({"op": 1, "t": "#commit"}), &commit(&sent))
}

fn sound(item: &Item) {
    if let Item::Reject(reject) = item {
        assert!(!reject.detail.contains('\0') && reject.detail.chars().count() <= 300, "{reject:?}");
        assert!(reject.raw.len() <= Reject::RAW_MAX && reject.raw.len() <= reject.raw_length);
        let again = decode_reject(&collections(), reject.raw_format, reject.path.as_ref(), &reject.raw);
        assert!(again.iter().any(|item| matches!(item, Item::Reject(_))), "refused, then taken: {reject:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        jetstream_v1::decode_message(&collections(), &bytes).items.iter().for_each(sound);
        if let Message::Frame(frame) = firehose::decode_message(&collections(), &bytes) {
            frame.items.iter().for_each(sound);
        }
        let _ = (record_json(RawFormat::RecordCbor, &bytes), record_json(RawFormat::RecordJson, &bytes));
    }

    #[test]
    fn no_damage_makes_jetstream_panic(bytes in damaged(create("fm.plyr.list", KEY, &list(2)).to_string().into_bytes())) {
        let items = jetstream_v1::decode_message(&collections(), &bytes).items;
        prop_assert!(items.len() <= 1);
        items.iter().for_each(sound);
    }

    #[test]
    fn no_damage_makes_the_firehose_panic(bytes in damaged(firehose_sample())) {
        if let Message::Frame(frame) = firehose::decode_message(&collections(), &bytes) {
            prop_assert!(frame.items.len() <= 4);
            frame.items.iter().for_each(sound);
        }
    }

    #[test]
    fn no_damage_makes_a_record_panic(bytes in damaged(serde_ipld_dagcbor::to_vec(&ipld(&list(2))).unwrap())) {
        // Hashed anew, so that the record itself is looked at.
        let items = decode_frame(&commit(&[put("fm.plyr.list", KEY, &bytes)])).items;
        sound(&only_item(items));
    }
}
