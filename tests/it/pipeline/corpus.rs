//! Bytes of the real network, compared with what other programs made of them. They are records of real accounts and not kept with
//! the sources: where they are not found, a line says that the test was skipped.

use std::{collections::BTreeMap, path::PathBuf};

use ipld_core::ipld::Ipld;
use plyr_likes::{
    atproto::Cid,
    decode::{
        Item, RawFormat,
        firehose::{self, Message},
        jetstream_v1,
        record::record_json,
    },
    model::{Collections, EventBody},
};
use serde_json::{Value, json};

use crate::pipeline::wire::{commit, message, set};

pub fn find_corpus() -> Option<PathBuf> {
    let beside = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/fixtures/corpus"));
    let found =
        std::env::var_os("PLYR_CORPUS_DIR").map(PathBuf::from).into_iter().chain([beside]).find(|at| at.is_dir());
    if found.is_none() {
        eprintln!("skipped: there is no corpus in ../shared/fixtures/corpus, and PLYR_CORPUS_DIR names none");
    }
    found
}

pub fn read_frames(corpus: &std::path::Path) -> Vec<Vec<u8>> {
    let file = std::fs::File::open(corpus.join("frames.bin.zst")).unwrap();
    let all = zstd::stream::decode_all(file).unwrap();
    let mut rest = all.as_slice();
    let mut frames = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let (frame, behind) = behind.split_at(u32::from_le_bytes(*length) as usize);
        frames.push(frame.to_vec());
        rest = behind;
    }
    frames
}

/// One event in a form that both sides have: its DID, then its commit.
fn commit_events(frame: &[u8]) -> Vec<Value> {
    let message = firehose::read_message(frame).unwrap();
    let Some(commit) = message.commit() else { return Vec::new() };
    let blocks = commit.blocks().unwrap();
    let event = |operation: firehose::RawOperation<'_>| {
        let (collection, rkey) = operation.path.unwrap().split_once('/').unwrap();
        let mut fields = json!({
            "rev": commit.rev(), "operation": operation.action, "collection": collection, "rkey": rkey,
        });
        if let Some(cid) = operation.cid {
            let block = blocks.find(&cid).expect("a commit carries the records that it names");
            assert_eq!(Cid::of_record(block), cid);
            fields["cid"] = cid.to_string().into();
            fields["record"] = record_json(RawFormat::RecordCbor, block).unwrap();
        }
        json!({ "did": commit.did(), "commit": fields })
    };
    commit.operations().unwrap().map(event).collect()
}

/// What the frame is, if it is no commit, in the same words.
fn account_events(frame: &[u8]) -> Vec<Value> {
    let collections = Collections::of_namespace("fm.plyr").unwrap();
    let Message::Frame(decoded) = firehose::decode_message(&collections, frame) else {
        panic!("neither info nor error")
    };
    assert!(decoded.position.is_some() && decoded.time.is_some());
    let event = |item: Item| match item {
        Item::Event(event) => match event.body {
            EventBody::Identity { handle, at } => {
                json!({ "did": event.did, "identity": { "handle": handle, "time": at } })
            }
            EventBody::Account { active, status, at } => {
                json!({ "did": event.did, "account": { "active": active, "status": status.map(|s| s.as_str().to_owned()), "seq": at.seq, "time": at.at } })
            }
            EventBody::Commit(_) | EventBody::Sync { .. } => panic!("the capture holds nothing of ours and no #sync"),
        },
        Item::Reject(reject) => panic!("refused: {reject:?}"),
    };
    decoded.items.into_iter().map(event).collect()
}

/// A line of Jetstream in the same words.
fn served_event(line: &str) -> Value {
    let mut line: Value = serde_json::from_str(line).unwrap();
    let did = line["did"].take();
    match line["kind"].as_str() {
        Some("commit") => json!({ "did": did, "commit": line["commit"] }),
        Some("identity") => {
            json!({ "did": did, "identity": { "handle": line["identity"]["handle"], "time": line["identity"]["time"] } })
        }
        Some("account") => {
            let account = &line["account"];
            json!({ "did": did, "account": { "active": account["active"], "status": account["status"], "seq": account["seq"], "time": account["time"] } })
        }
        other => panic!("a kind that the corpus has not: {other:?}"),
    }
}

/// How often each event is there: the two sides interleave repos differently.
fn count(events: impl Iterator<Item = Value>) -> BTreeMap<String, usize> {
    events.fold(BTreeMap::new(), |mut counts, event| {
        *counts.entry(event.to_string()).or_default() += 1;
        counts
    })
}

#[test]
fn firehose_frames_are_what_jetstream_served() {
    let Some(corpus) = find_corpus() else { return };
    let frames = read_frames(&corpus);
    let decoded: Vec<Value> =
        frames.iter().flat_map(|frame| commit_events(frame).into_iter().chain(account_events(frame))).collect();
    let served = std::fs::read_to_string(corpus.join("expected_v1.jsonl")).unwrap();
    let served: Vec<Value> = served.lines().map(served_event).collect();
    assert_eq!((frames.len(), decoded.len(), served.len()), (150, 152, 152));
    let (decoded, served) = (count(decoded.into_iter()), count(served.into_iter()));
    for (event, times) in &served {
        assert_eq!(decoded.get(event), Some(times), "served, and not decoded alike: {event}");
    }
    assert_eq!(decoded, served);
}

#[test]
fn jetstream_lines_of_other_collections_are_read_and_give_nothing() {
    let Some(corpus) = find_corpus() else { return };
    let collections = Collections::of_namespace("fm.plyr").unwrap();
    for (file, lines, events) in [("expected_v1.jsonl", 152, 2), ("golden_v1.jsonl", 10, 2)] {
        let text = std::fs::read_to_string(corpus.join(file)).unwrap();
        let frames: Vec<_> =
            text.lines().map(|line| jetstream_v1::decode_message(&collections, line.as_bytes())).collect();
        assert_eq!(frames.len(), lines);
        assert!(frames.iter().all(|frame| frame.position.is_some() && frame.time.is_some()));
        let items: Vec<&Item> = frames.iter().flat_map(|frame| &frame.items).collect();
        assert_eq!(items.len(), events, "{file}: {items:?}");
        assert!(items.iter().all(|item| matches!(item, Item::Event(_))), "{items:?}");
    }
}

#[test]
fn every_cut_of_a_real_frame_is_one_reject() {
    let Some(corpus) = find_corpus() else { return };
    let collections = Collections::of_namespace("fm.plyr").unwrap();
    let frames = read_frames(&corpus);
    let frame = frames.iter().min_by_key(|frame| frame.len()).unwrap();
    for length in 0..frame.len() {
        let Message::Frame(decoded) = firehose::decode_message(&collections, &frame[..length]) else {
            panic!("a cut frame is neither info nor error")
        };
        assert!(matches!(decoded.items.as_slice(), [Item::Reject(_)]), "cut at {length}: {:?}", decoded.items);
    }
}

/// The repo is put into a commit as its slice: the slice of a commit is a smaller one of the same kind.
#[test]
fn a_whole_repo_holds_what_another_tool_found_in_it() {
    let Some(corpus) = find_corpus() else { return };
    let expected = std::fs::read_to_string(corpus.join("car_expected_records.tsv")).unwrap();
    let expected: Vec<(&str, Cid)> = expected
        .lines()
        .map(|line| line.split_once('\t').unwrap())
        .map(|(path, cid)| (path, Cid::parse(cid).unwrap()))
        .collect();
    assert_eq!(expected.len(), 23);
    let mut payload = commit(&[]);
    set(&mut payload, "blocks", Ipld::Bytes(std::fs::read(corpus.join("repo.car")).unwrap()));
    let frame = message(&json!({"op": 1, "t": "#commit"}), &payload);
    let read = firehose::read_message(&frame).unwrap();
    let blocks = read.commit().unwrap().blocks().unwrap();
    for (path, cid) in expected {
        let block = blocks.find(&cid).expect(path);
        assert_eq!(Cid::of_record(block), cid, "{path}");
        let record = record_json(RawFormat::RecordCbor, block).unwrap();
        assert_eq!(record["$type"].as_str(), path.split('/').next());
    }
}
