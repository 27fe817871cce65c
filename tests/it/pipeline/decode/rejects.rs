//! Rejects decoded again, and bytes of any kind.

use ipld_core::ipld::Ipld;
use plyr_likes::{
    decode::{
        Item, RawFormat, Reject, decode_reject,
        firehose::{self, Message},
        jetstream_v1,
        record::record_json,
    },
    model::RejectReason,
};
use proptest::prelude::*;
use serde_json::json;
use std::collections::HashSet;

use super::{
    super::wire::{KEY, Sent, commit, create, ipld, ipld_cid, like, list, message, operation, put, set, track},
    collections, decode_both, decode_frame, decode_json, only_item, only_reject,
};

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
    assert_eq!(
        only_reject(decode_reject(&collections(), RawFormat::RecordJson, None, b"{}")).reason,
        RejectReason::Envelope
    );
}

/// A sender who makes a value of every byte is stopped before his message takes many times its size.
#[test]
fn a_record_of_more_values_than_anybody_needs() {
    let with = |values: usize| {
        let mut record = like();
        record["extra"] = vec![json!([]); values].into();
        record
    };
    assert!(decode_both("fm.plyr.like", KEY, &with(90_000)).is_ok());
    assert_eq!(decode_both("fm.plyr.like", KEY, &with(100_000)), Err((RejectReason::RecordEncoding, None)));
    assert!(decode_json(&create("app.bsky.feed.like", KEY, &with(100_000))).items.is_empty());
    let mut payload = commit(&[]);
    set(&mut payload, "extra", Ipld::List(vec![Ipld::Null; 100_000]));
    assert_eq!(only_reject(decode_frame(&payload).items).reason, RejectReason::FrameBound);
}

#[test]
fn reasons_and_formats_have_words_of_their_own() {
    let words: HashSet<&str> = RejectReason::ALL.into_iter().map(RejectReason::as_str).collect();
    assert_eq!(words.len(), RejectReason::ALL.len());
    for format in [
        RawFormat::RecordJson,
        RawFormat::RecordCbor,
        RawFormat::JetstreamV1,
        RawFormat::JetstreamV2,
        RawFormat::Firehose,
    ] {
        assert_eq!(RawFormat::parse(format.as_str()), Some(format));
    }
}

/// Bytes with some places changed, cut out or doubled.
pub fn damaged(whole: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
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

pub fn sound(item: &Item) {
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
        // Hashed again, so that the record itself is looked at.
        let items = decode_frame(&commit(&[put("fm.plyr.list", KEY, &bytes)])).items;
        sound(&only_item(items));
    }
}
