//! Records that clients write, through both dialects.

use ipld_core::ipld::Ipld;
use plyr_likes::{
    atproto::Cid,
    decode::{RawFormat, jetstream_v1, record::record_json},
    model::{Record, RejectReason},
};
use serde_json::{Value, json};

use super::{
    super::wire::{CID, DID, KEY, Sent, commit, create, delete, ipld, like, list, operation, put, set, track},
    collections, decode_both, decode_frame, decode_json, only_event, only_record, only_reject,
};

#[test]
fn o16_keys_that_no_record_of_ours_can_have() {
    for (collection, record) in [("fm.plyr.like", like()), ("fm.plyr.list", list(1)), ("fm.plyr.track", track())] {
        for rkey in ["self", "a", "3l3qo2vuowo2", &"a".repeat(512)] {
            assert_eq!(decode_both(collection, rkey, &record), Err((RejectReason::RecordKey, None)), "{rkey}");
            let reject = only_reject(decode_json(&create(collection, rkey, &record)).items);
            assert_eq!(reject.path.unwrap().rkey.as_str(), rkey);
            assert!(decode_json(&delete(collection, rkey)).items.is_empty());
        }
        for rkey in [".", "..", "", "a/b", &"a".repeat(513)] {
            let reject = only_reject(decode_json(&create(collection, rkey, &record)).items);
            assert_eq!((reject.reason, reject.field.as_deref()), (RejectReason::Identifier, Some("commit.rkey")));
            let block = serde_ipld_dagcbor::to_vec(&ipld(&record)).unwrap();
            let reject = only_reject(decode_frame(&commit(&[put(collection, rkey, &block)])).items);
            assert_eq!((reject.reason, reject.field.as_deref()), (RejectReason::Identifier, Some("ops[0].path")));
            assert!(decode_json(&delete(collection, rkey)).items.is_empty());
            let sent = Sent { operation: operation("delete", &format!("{collection}/{rkey}"), None), block: None };
            assert!(decode_frame(&commit(&[sent])).items.is_empty());
        }
    }
    let profile = json!({"$type": "fm.plyr.actor.profile", "createdAt": "2024-09-09T19:46:02Z"});
    assert!(decode_both("fm.plyr.actor.profile", "self", &profile).is_ok());
    assert_eq!(decode_both("fm.plyr.actor.profile", KEY, &profile), Err((RejectReason::RecordKey, None)));
    let mut moved = create("fm.plyr.like", KEY, &like());
    moved["did"] = "did:web:localhost%3A8080".into();
    assert_eq!(only_event(decode_json(&moved).items).did.as_str(), "did:web:localhost%3A8080");
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
        assert_eq!(like_key("createdAt", created_at), Err((RejectReason::Lexicon, Some("createdAt".to_owned()))));
    }
    for extra in [json!("\0"), json!({"\0": "\0"}), json!(i64::MIN), json!(i64::MAX), json!("x".repeat(1_000_000))] {
        assert!(like_key("extra", extra).is_ok());
    }
    for number in [json!(0.5), json!(u64::MAX)] {
        assert_eq!(like_key("extra", number), Err((RejectReason::RecordEncoding, None)));
    }
    assert_eq!(like_key("$type", "fm.plyr.list".into()), Err((RejectReason::RecordType, Some("$type".to_owned()))));
    let track_key = |name: &str, value: Value| decode_both("fm.plyr.track", KEY, &with(track(), name, value));
    assert!(track_key("duration", i64::MAX.into()).is_ok());
    assert_eq!(track_key("duration", i64::MIN.into()), Err((RejectReason::Lexicon, Some("duration".to_owned()))));
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
        assert_eq!(track_key(name, value), Err((RejectReason::NulCharacter, Some(field.to_owned()))));
    }
    let nul_name = decode_both("fm.plyr.list", KEY, &with(list(1), "name", json!("\0")));
    assert_eq!(nul_name, Err((RejectReason::NulCharacter, Some("name".to_owned()))));
    for record in [json!([]), json!("text"), json!(7)] {
        assert_eq!(decode_both("fm.plyr.like", KEY, &record), Err((RejectReason::RecordEncoding, None)));
    }
    let lone = create("fm.plyr.like", KEY, &with(like(), "x", "LONE".into())).to_string().replace("LONE", "\\ud83d");
    let reject = only_reject(jetstream_v1::decode_message(&collections(), lone.as_bytes()).items);
    assert_eq!(reject.reason, RejectReason::RecordEncoding);
    let path = reject.path.unwrap();
    assert_eq!((path.did.as_str(), path.rkey.as_str(), path.cid), (DID, KEY, Cid::parse(CID).ok()));
    assert!(reject.raw.starts_with(b"{\"$type\"") && reject.raw_format == RawFormat::RecordJson);
}

#[test]
fn o17_lists() {
    let Ok(Record::List(full)) = decode_both("fm.plyr.list", KEY, &list(500)) else { panic!("no list") };
    assert_eq!(full.items.len(), 500);
    assert_eq!(decode_both("fm.plyr.list", KEY, &list(501)), Err((RejectReason::Lexicon, Some("items".to_owned()))));
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
    assert_eq!(refused, Err((RejectReason::Lexicon, Some("items[3].subject.cid".to_owned()))));
}

#[test]
fn f12_a_blob_of_before_blobs_had_a_type_and_one_of_size_0_refuse_no_track() {
    let with = |blob: Value| {
        let mut record = track();
        record["audioBlob"] = blob;
        record
    };
    let audio_cid = |record: Record| match record {
        Record::Track(track) => track.audio_cid,
        _ => panic!("no track"),
    };
    let audio_of = |blob: Value| decode_both("fm.plyr.track", KEY, &with(blob)).map(audio_cid);
    let at = |field: &str| Err((RejectReason::Lexicon, Some(format!("audioBlob.{field}"))));
    assert_eq!(audio_of(json!({"cid": CID, "mimeType": "audio/mpeg"})), Ok(Some(CID.to_owned())));
    assert_eq!(audio_of(json!({"cid": "b", "mimeType": "audio/mpeg"})), at("cid"));
    assert_eq!(audio_of(json!({"cid": CID, "mimeType": "image/png"})), at("mimeType"));
    assert_eq!(audio_of(json!({"cid": CID})), at("mimeType"));
    let empty = json!({"$type": "blob", "ref": {"$link": CID}, "mimeType": "audio/mpeg", "size": 0});
    let items = decode_json(&create("fm.plyr.track", KEY, &with(empty))).items;
    assert_eq!(audio_cid(only_record(items)), Some(CID.to_owned()));
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
