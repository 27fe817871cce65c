//! The one record that is not of ours: what is taken of it, and what it is refused for.

use plyr_likes::{
    decode::{BLUESKY_PROFILE, BlueskyProfile, RawFormat, decode_bluesky_profile},
    model::RejectReason,
};
use serde_json::{Value, json};

use crate::pipeline::wire::{CID, ipld};

/// In both encodings, which must say the same.
fn decoded(record: &Value) -> Result<BlueskyProfile, (RejectReason, Option<String>)> {
    let of = |format, bytes: &[u8]| decode_bluesky_profile(format, bytes).map_err(|error| (error.reason, error.field));
    let from_json = of(RawFormat::RecordJson, record.to_string().as_bytes());
    let block = serde_ipld_dagcbor::to_vec(&ipld(record)).unwrap();
    assert_eq!(from_json, of(RawFormat::RecordCbor, &block), "{record}");
    from_json
}

fn named(name: &str) -> Value {
    json!({"$type": BLUESKY_PROFILE, "displayName": name})
}

fn name_of(record: &Value) -> Option<String> {
    decoded(record).unwrap().display_name
}

fn pictured(change: impl Fn(&mut Value)) -> Result<Option<String>, (RejectReason, Option<String>)> {
    let mut record = named("Alice");
    record["avatar"] = json!({"$type": "blob", "ref": {"$link": CID}, "mimeType": "image/jpeg", "size": 1_000_000});
    change(&mut record["avatar"]);
    decoded(&record).map(|profile| profile.avatar.map(|cid| cid.to_string()))
}

#[test]
fn a_name_within_its_bounds_is_taken_and_no_other() {
    assert_eq!(name_of(&json!({"$type": BLUESKY_PROFILE})), None);
    assert_eq!(name_of(&named("")), None);
    assert_eq!(name_of(&named("Ålice 👩‍👩‍👧 Ω")).as_deref(), Some("Ålice 👩‍👩‍👧 Ω"));
    // 64 graphemes, each of ten bytes: both bounds at once.
    let widest = ("é".to_owned() + &"\u{301}".repeat(4)).repeat(64);
    assert_eq!((widest.len(), name_of(&named(&widest))), (640, Some(widest)));
    let refused = Err((RejectReason::Lexicon, Some("displayName".to_owned())));
    for name in ["é".repeat(65), "e".to_owned() + &"\u{301}".repeat(320)] {
        assert_eq!(decoded(&named(&name)), refused, "{name}");
    }
    assert_eq!(decoded(&json!({"$type": BLUESKY_PROFILE, "displayName": 5})), refused);
    assert_eq!(decoded(&json!({"$type": BLUESKY_PROFILE, "displayName": null})), refused);
    assert_eq!(decoded(&named("a\0b")), Err((RejectReason::NulCharacter, Some("displayName".to_owned()))));
}

#[test]
fn what_would_disturb_other_texts_is_left_out_of_a_name() {
    assert_eq!(name_of(&named(" Al\u{202e}ice\n\u{7}Bob\u{85}\u{2028}x\u{2066}\t")).as_deref(), Some("Alice  Bob  x"));
    assert_eq!(name_of(&named("\u{202e}\n \u{200f}")), None);
}

#[test]
fn a_picture_is_a_blob_of_the_right_kind() {
    assert_eq!(pictured(|_| ()), Ok(Some(CID.to_owned())));
    assert_eq!(pictured(|avatar| avatar["mimeType"] = "image/png".into()), Ok(Some(CID.to_owned())));
    // As it was written before blobs had a type.
    let old = |avatar: &mut Value| *avatar = json!({"cid": CID, "mimeType": "image/jpeg"});
    assert_eq!(pictured(old), Ok(Some(CID.to_owned())));
    let at = |field: &str| Err((RejectReason::Lexicon, Some(format!("avatar.{field}"))));
    assert_eq!(pictured(|avatar| avatar["mimeType"] = "text/html".into()), at("mimeType"));
    assert_eq!(pictured(|avatar| avatar["mimeType"] = "image/svg+xml".into()), at("mimeType"));
    assert_eq!(pictured(|avatar| avatar["size"] = 1_000_001.into()), at("size"));
    assert_eq!(pictured(|avatar| avatar["size"] = 0.into()), Ok(Some(CID.to_owned())));
    assert_eq!(pictured(|avatar| avatar["size"] = (-1).into()), at("size"));
    assert_eq!(pictured(|avatar| avatar["$type"] = "bob".into()), at("$type"));
    assert_eq!(pictured(|avatar| avatar["ref"] = CID.into()), at("ref"));
    assert_eq!(pictured(|avatar| *avatar = json!({"cid": "no CID", "mimeType": "image/jpeg"})), at("cid"));
    let whole = Err((RejectReason::Lexicon, Some("avatar".to_owned())));
    assert_eq!(pictured(|avatar| *avatar = "https://elsewhere.test/a.jpg".into()), whole);
}

#[test]
fn another_record_or_none_is_refused() {
    let of_type = |reason| Err((reason, Some("$type".to_owned())));
    assert_eq!(decoded(&json!({"$type": "fm.plyr.actor.profile"})), of_type(RejectReason::RecordType));
    assert_eq!(decoded(&json!({"displayName": "Alice"})), of_type(RejectReason::RecordType));
    assert!(decoded(&json!([])).is_err());
    let refused = decode_bluesky_profile(RawFormat::RecordJson, b"{\"$type\": ").unwrap_err();
    assert_eq!(refused.reason, RejectReason::RecordEncoding);
}
