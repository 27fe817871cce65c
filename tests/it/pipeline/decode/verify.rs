//! Verification of commits: real ones pass, and no altered one does.

use std::collections::BTreeMap;

use ipld_core::{cid::Cid as IpldCid, ipld::Ipld};
use k256::ecdsa::{Signature, SigningKey, signature::Signer};
use plyr_likes::{
    atproto::{Cid, Did, PublicKey},
    decode::{
        firehose::{RawCommit, read_message},
        repo::{Verified, VerifyError, read_repo, verify_commit},
    },
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    pipeline::corpus::{find_corpus, read_frames},
    pipeline::wire::{DID, message, set},
    support::{
        repo::{Repo, Tree, Write, car, encode, map, signed_commit},
        wire::cid_of,
    },
};

/// The signing keys of the corpus by DID.
fn read_keys(corpus: &std::path::Path) -> BTreeMap<String, PublicKey> {
    let file = std::fs::File::open(corpus.join("did_docs.json.zst")).unwrap();
    let documents: BTreeMap<String, Value> =
        serde_json::from_reader(zstd::stream::Decoder::new(file).unwrap()).unwrap();
    let key = |document: &Value| {
        let methods = document["verificationMethod"].as_array().unwrap();
        let method = methods.iter().find(|method| method["id"].as_str().unwrap().ends_with("#atproto")).unwrap();
        PublicKey::parse(method["publicKeyMultibase"].as_str().unwrap()).unwrap()
    };
    documents.iter().map(|(did, document)| (did.clone(), key(document))).collect()
}

fn verify_frame(frame: &[u8], key: &PublicKey) -> Option<Result<Verified, VerifyError>> {
    Some(verify_commit(read_message(frame).ok()?.commit()?, key))
}

fn frame(payload: &Ipld) -> Vec<u8> {
    message(&json!({"op": 1, "t": "#commit"}), payload)
}

fn verify(payload: &Ipld, key: &PublicKey) -> Result<Verified, VerifyError> {
    verify_frame(&frame(payload), key).unwrap()
}

fn key_of(repo: &Repo) -> PublicKey {
    PublicKey::parse(&repo.multikey()).unwrap()
}

fn ours(cid: IpldCid) -> Cid {
    Cid::from(cid)
}

/// All that a commit says of records, and all that verifies it.
fn said(commit: RawCommit<'_>) -> impl PartialEq + std::fmt::Debug {
    let operation = |operation: plyr_likes::decode::firehose::RawOperation<'_>| {
        format!("{:?} {:?} {:?} {:?}", operation.action, operation.path, operation.cid, operation.prev)
    };
    let operations: Vec<String> = commit.operations().unwrap().map(operation).collect();
    let names = (commit.did().map(str::to_owned), commit.rev().map(str::to_owned), commit.cid(), commit.prev_data());
    (names, operations, commit.slice().map(<[u8]>::to_vec))
}

#[test]
fn the_commits_of_the_real_network_hold_by_the_keys_of_their_documents() {
    let Some(corpus) = find_corpus() else { return };
    let keys = read_keys(&corpus);
    let mut held = 0;
    for frame in read_frames(&corpus) {
        let read = read_message(&frame).unwrap();
        let Some(commit) = read.commit() else { continue };
        let did = commit.did().unwrap();
        let verified = verify_commit(commit, &keys[did]).unwrap_or_else(|error| panic!("{did}: {error}"));
        assert_eq!(Some(verified.prev_data), commit.prev_data());
        held += 1;
    }
    assert_eq!(held, 148);
}

/// Time, sequence and what else is not signed can be flipped without being noticed; but then nothing else has changed.
#[test]
fn a_flipped_byte_of_a_real_commit_is_refused_or_changes_nothing_that_is_said() {
    let Some(corpus) = find_corpus() else { return };
    let keys = read_keys(&corpus);
    let frames = read_frames(&corpus);
    let mut commits: Vec<&Vec<u8>> =
        frames.iter().filter(|frame| read_message(frame).unwrap().commit().is_some()).collect();
    commits.sort_by_key(|frame| frame.len());
    let mut flipped = 0;
    for frame in commits.iter().step_by(30) {
        let read = read_message(frame).unwrap();
        let commit = read.commit().unwrap();
        let (key, slice) = (keys[commit.did().unwrap()], commit.slice().unwrap());
        let slice_at = frame.windows(slice.len()).position(|window| window == slice).unwrap();
        for at in 0..frame.len() {
            let mut other = (*frame).clone();
            other[at] ^= 1 << (at % 8);
            flipped += 1;
            if let Some(Ok(_)) = verify_frame(&other, &key) {
                assert!(!(slice_at..slice_at + slice.len()).contains(&at), "byte {at} of the slice is not verified");
                let other = read_message(&other).unwrap();
                assert_eq!(said(other.commit().unwrap()), said(commit), "byte {at} changes what is said");
            }
        }
    }
    assert!(flipped > 10_000, "{flipped}");
}

#[test]
fn a_real_commit_holds_by_no_other_key() {
    let Some(corpus) = find_corpus() else { return };
    let keys = read_keys(&corpus);
    let frames = read_frames(&corpus);
    let frame = frames.iter().find(|frame| read_message(frame).unwrap().commit().is_some()).unwrap();
    let did = read_message(frame).unwrap().commit().unwrap().did().unwrap().to_owned();
    for (other, key) in keys.iter().take(20) {
        let expected = if *other == did { None } else { Some(VerifyError::Signature) };
        assert_eq!(verify_frame(frame, key).unwrap().err(), expected);
    }
}

/// Roots that the specification's own tests expect.
#[test]
fn the_naive_trees_are_those_of_other_implementations() {
    let record = IpldCid::try_from("bafyreie5cvv4h45feadgeuwhbcutmh6t2ceseocckahdoe6uat64zmz454").unwrap();
    let root = |paths: &[&str]| {
        let leaves: Vec<(&str, IpldCid)> = paths.iter().map(|path| (*path, record)).collect();
        Tree::of_leaves(&leaves).root.to_string()
    };
    assert_eq!(root(&[]), "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm");
    assert_eq!(
        root(&["com.example.record/3jqfcqzm3fo2j"]),
        "bafyreibj4lsc3aqnrvphp5xmrnfoorvru4wynt6lwidqbm2623a6tatzdu"
    );
}

fn record(text: &str) -> Vec<u8> {
    encode(&map([("text", Ipld::String(text.to_owned()))]))
}

/// A repo with some records, and the rev that comes next.
fn some_repo(records: usize) -> (Repo, i64) {
    let mut repo = Repo::new(DID, 7);
    let paths: Vec<String> = (0..records).map(|at| format!("fm.plyr.like/3l3qo2v{at:06}")).collect();
    for (rev, chunk) in (1..).zip(paths.chunks(100)) {
        let writes: Vec<Write<'_>> = chunk.iter().map(|path| (path.as_str(), Some(record(path)))).collect();
        repo.commit(rev, &writes);
    }
    (repo, 1_000)
}

#[test]
fn an_operation_that_is_left_out_or_misstated_is_refused() {
    let (mut repo, rev) = some_repo(300);
    let key = key_of(&repo);
    let (created, deleted, updated) =
        ("fm.plyr.like/3l3qo2v000100x", "fm.plyr.like/3l3qo2v000150", "fm.plyr.like/3l3qo2v000200");
    let payload =
        repo.commit(rev, &[(created, Some(record("new"))), (deleted, None), (updated, Some(record("newer")))]);
    assert_eq!(verify(&payload, &key).map(|verified| verified.data), Ok(ours(repo.data())));
    let Ipld::Map(fields) = &payload else { panic!("a map") };
    let Ipld::List(operations) = &fields["ops"] else { panic!("a list") };
    let with = |operations: Vec<Ipld>| {
        let mut other = payload.clone();
        set(&mut other, "ops", Ipld::List(operations));
        verify(&other, &key).unwrap_err()
    };
    for left_out in 0..3 {
        let others =
            operations.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, operation)| operation.clone());
        assert_eq!(with(others.collect()), VerifyError::Before, "operation {left_out} left out");
    }
    let twice = operations.iter().chain(&operations[..1]).cloned().collect();
    assert_eq!(with(twice), VerifyError::Operation("two operations on one path"));
    let wrongly = |at: usize, field: &str, value: Ipld| {
        let mut operations = operations.clone();
        set(&mut operations[at], field, value);
        with(operations)
    };
    let other = || Ipld::Link(cid_of(b"another"));
    assert_eq!(wrongly(0, "path", "fm.plyr.like/3l3qo2v000100y".into()).as_str(), "operation");
    assert_eq!(wrongly(0, "path", "fm.plyr.like/far-away".into()), VerifyError::Incomplete);
    assert_eq!(wrongly(0, "cid", other()), VerifyError::Incomplete);
    assert_eq!(wrongly(0, "cid", Ipld::Link(cid_of(&record("newer")))).as_str(), "operation");
    assert_eq!(wrongly(0, "prev", other()).as_str(), "operation");
    assert_eq!(wrongly(1, "prev", other()), VerifyError::Before);
    assert_eq!(wrongly(1, "prev", Ipld::Null).as_str(), "operation");
    assert_eq!(wrongly(1, "path", updated.into()).as_str(), "operation");
    assert_eq!(wrongly(2, "prev", other()), VerifyError::Before);
    assert_eq!(wrongly(2, "action", "create".into()).as_str(), "operation");
    assert_eq!(wrongly(2, "action", "repeal".into()).as_str(), "operation");
}

#[test]
fn a_commit_of_another_repo_rev_or_history_is_refused() {
    let (mut repo, rev) = some_repo(50);
    let key = key_of(&repo);
    let payload = repo.commit(rev, &[("fm.plyr.like/3l3qo2vzzzz", Some(record("new")))]);
    let with = |field: &str, value: Ipld| {
        let mut other = payload.clone();
        set(&mut other, field, value);
        verify(&other, &key).unwrap_err()
    };
    assert_eq!(with("repo", "did:plc:another".into()), VerifyError::Other("repo"));
    assert_eq!(with("rev", "3l3qo2vutsw2b".into()), VerifyError::Other("rev"));
    assert_eq!(with("commit", Ipld::Link(cid_of(b"another"))), VerifyError::Other("name"));
    assert_eq!(with("prevData", Ipld::Link(cid_of(b"another"))), VerifyError::Before);
    assert_eq!(with("prevData", Ipld::Null), VerifyError::Before);
    assert_eq!(with("blocks", Ipld::Null).as_str(), "blocks");
    assert_eq!(with("blocks", Ipld::Bytes(Vec::new())).as_str(), "blocks");
}

#[test]
fn a_first_commit_need_not_name_the_empty_tree() {
    let mut repo = Repo::new(DID, 7);
    let mut payload = repo.commit(1, &[("fm.plyr.like/a", Some(record("a"))), ("fm.plyr.like/b", Some(record("b")))]);
    set(&mut payload, "prevData", Ipld::Null);
    assert!(verify(&payload, &key_of(&repo)).is_ok());
    set(&mut payload, "since", "3l3qo2vutsw2b".into());
    assert_eq!(verify(&payload, &key_of(&repo)), Err(VerifyError::Before));
}

#[test]
fn x1_a_signature_with_the_higher_value_or_of_the_old_key_is_refused() {
    let mut repo = Repo::new(DID, 7);
    let old = key_of(&repo);
    repo.rotate(8);
    let payload = repo.commit(1, &[("fm.plyr.like/a", Some(record("a")))]);
    assert_eq!(verify(&payload, &old), Err(VerifyError::Signature));
    assert!(verify(&payload, &key_of(&repo)).is_ok());
    let key = SigningKey::from_slice(&[8; 32]).unwrap();
    for (name, sign) in [
        (
            "high",
            Box::new(|made: Signature| Signature::from_scalars(made.r(), -made.s()).unwrap().to_bytes().to_vec())
                as Box<dyn Fn(Signature) -> Vec<u8>>,
        ),
        ("long", Box::new(|made: Signature| [made.to_bytes().to_vec(), vec![0]].concat())),
        ("empty", Box::new(|_| Vec::new())),
        ("zero", Box::new(|_| vec![0; 64])),
    ] {
        let archive = archive_of(&[("fm.plyr.like/a", record("a"))], |unsigned| {
            let made: Signature = key.sign(unsigned);
            sign(made.normalize_s())
        });
        let read = read_repo(&archive, &Did::parse(DID).unwrap(), &key_of(&repo));
        assert_eq!(read, Err(VerifyError::Signature), "{name}");
    }
}

#[test]
fn a_signature_on_the_other_curve_holds_too() {
    use p256::ecdsa::signature::Signer as _;
    let key = p256::ecdsa::SigningKey::from_slice(&[9; 32]).unwrap();
    let point = key.verifying_key().to_sec1_point(true);
    let public = PublicKey::P256(point.as_bytes().try_into().unwrap());
    let sign = |unsigned: &[u8], low: bool| {
        let made: p256::ecdsa::Signature = key.sign(unsigned);
        let lower = made.normalize_s();
        let made = if low { lower } else { p256::ecdsa::Signature::from_scalars(lower.r(), -lower.s()).unwrap() };
        made.to_bytes().to_vec()
    };
    for low in [true, false] {
        let archive = archive_of(&[("fm.plyr.like/a", record("a"))], |unsigned| sign(unsigned, low));
        let read = read_repo(&archive, &Did::parse(DID).unwrap(), &public);
        assert_eq!(read.map(|repo| repo.records.len()), if low { Ok(1) } else { Err(VerifyError::Signature) });
    }
}

fn archive_of(records: &[(&str, Vec<u8>)], sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let node = node_of(records);
    archive_of_blocks(cid_of(&node), records.iter().map(|(_, record)| record.clone()).chain([node]).collect(), sign)
}

fn archive_of_blocks(data: IpldCid, mut blocks: Vec<Vec<u8>>, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let signed = signed_commit(DID, "3l3qo2vutsw2b", data, sign);
    let root = cid_of(&signed);
    blocks.push(signed);
    car(root, &blocks)
}

/// One node with all the records, as written, however high they must lie.
fn node_of(records: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entry = |(path, record): &(&str, Vec<u8>)| entry(0, path, cid_of(record), Ipld::Null);
    encode(&map([("l", Ipld::Null), ("e", Ipld::List(records.iter().map(entry).collect()))]))
}

fn entry(shared: i128, rest: &str, record: IpldCid, right: Ipld) -> Ipld {
    map([
        ("p", Ipld::Integer(shared)),
        ("k", Ipld::Bytes(rest.as_bytes().to_vec())),
        ("v", Ipld::Link(record)),
        ("t", right),
    ])
}

/// The owner himself can sign what is no tree.
#[test]
fn a_signed_tree_that_is_not_of_the_one_form_is_refused() {
    let key = SigningKey::from_slice(&[7; 32]).unwrap();
    let sign = |unsigned: &[u8]| {
        let made: Signature = key.sign(unsigned);
        made.normalize_s().to_bytes().to_vec()
    };
    let public = key_of(&Repo::new(DID, 7));
    let (a, b) = (record("a"), record("b"));
    let read = |nodes: &[Ipld]| {
        let nodes: Vec<Vec<u8>> = nodes.iter().map(encode).collect();
        let blocks = nodes.iter().cloned().chain([a.clone(), b.clone()]).collect();
        let archive = archive_of_blocks(cid_of(&nodes[0]), blocks, sign);
        read_repo(&archive, &Did::parse(DID).unwrap(), &public).map(|repo| repo.records.len())
    };
    let node = |left: Ipld, entries: Vec<Ipld>| map([("l", left), ("e", Ipld::List(entries))]);
    let leaf = |shared, rest: &str| entry(shared, rest, cid_of(&a), Ipld::Null);
    let (empty, link) = (node(Ipld::Null, vec![]), |node: &Ipld| Ipld::Link(cid_of(&encode(node))));
    // The hashes of 2653ae71 and asdf begin with no pair of zero bits, that of blue with one.
    assert_eq!(read(&[node(Ipld::Null, vec![leaf(0, "2653ae71"), leaf(0, "asdf")])]), Ok(2));
    assert_eq!(read(std::slice::from_ref(&empty)), Ok(0));
    let refused = [
        ("the order", vec![node(Ipld::Null, vec![leaf(0, "asdf"), leaf(0, "2653ae71")])]),
        ("a path twice", vec![node(Ipld::Null, vec![leaf(0, "asdf"), leaf(4, "")])]),
        ("an empty path", vec![node(Ipld::Null, vec![leaf(0, "")])]),
        ("the height", vec![node(Ipld::Null, vec![leaf(0, "asdf"), leaf(0, "blue")])]),
        ("shares more", vec![node(Ipld::Null, vec![leaf(1, "asdf")])]),
        ("shares less", vec![node(Ipld::Null, vec![leaf(0, "asdf"), leaf(0, "asdf0000000000000001")])]),
        ("below the lowest", vec![node(link(&empty), vec![leaf(0, "asdf")]), empty.clone()]),
        ("empty below the root", vec![node(link(&empty), vec![leaf(0, "blue")]), empty.clone()]),
        ("no record in the root", {
            let below = node(Ipld::Null, vec![leaf(0, "asdf")]);
            vec![node(link(&below), vec![]), below]
        }),
        ("a node twice", {
            let below = node(Ipld::Null, vec![leaf(0, "asdf")]);
            vec![node(link(&below), vec![entry(0, "blue", cid_of(&a), link(&below))]), below]
        }),
        ("another field", vec![map([("l", Ipld::Null), ("e", Ipld::List(vec![])), ("x", Ipld::Null)])]),
        ("no node", vec![Ipld::String("node".to_owned())]),
    ];
    for (what, nodes) in refused {
        let read = read(&nodes);
        assert!(matches!(read, Err(VerifyError::Tree(_))), "{what}: {read:?}");
    }
    let missing = node(link(&node(Ipld::Null, vec![leaf(0, "asdf")])), vec![leaf(0, "blue")]);
    assert_eq!(read(&[missing]), Err(VerifyError::Incomplete));
}

#[test]
fn a_whole_repo_is_read_as_its_owner_signed_it() {
    let (repo, rev) = some_repo(1_000);
    let (archive, did) = (repo.archive(rev), Did::parse(DID).unwrap());
    let read = read_repo(&archive, &did, &key_of(&repo)).unwrap();
    let expected: Vec<(&str, Cid, &[u8])> =
        repo.records().map(|(path, bytes)| (path, ours(cid_of(bytes)), bytes)).collect();
    let found: Vec<(&str, Cid, &[u8])> =
        read.records.iter().map(|record| (record.path.as_str(), record.cid, record.bytes)).collect();
    assert_eq!(found, expected);
    assert_eq!((read.rev.number(), read.data), (rev, ours(repo.data())));
    assert_eq!(read_repo(&archive, &did, &key_of(&Repo::new(DID, 8))), Err(VerifyError::Signature));
    let other = Did::parse("did:plc:another").unwrap();
    assert_eq!(read_repo(&archive, &other, &key_of(&repo)), Err(VerifyError::Other("repo")));
    assert_eq!(read_repo(&Repo::new(DID, 7).archive(1), &did, &key_of(&repo)).unwrap().records, []);
}

/// There is no DID document of this one in the corpus. The signature is what is looked at last: all else holds.
#[test]
fn a_real_repo_holds_up_to_its_signature() {
    let Some(corpus) = find_corpus() else { return };
    let archive = std::fs::read(corpus.join("repo.car")).unwrap();
    let did = Did::parse("did:plc:53iucmf5ldftgqyf2ac7hmhd").unwrap();
    let read = read_repo(&archive, &did, &key_of(&Repo::new(DID, 7)));
    assert_eq!(read, Err(VerifyError::Signature));
}

#[test]
fn every_flip_and_cut_of_a_repo_is_refused() {
    let (repo, rev) = some_repo(12);
    let (archive, did, key) = (repo.archive(rev), Did::parse(DID).unwrap(), key_of(&repo));
    assert!(read_repo(&archive, &did, &key).is_ok());
    for at in 0..archive.len() {
        let mut other = archive.clone();
        other[at] ^= 1 << (at % 8);
        assert!(read_repo(&other, &did, &key).is_err(), "byte {at}");
        assert!(read_repo(&archive[..at], &did, &key).is_err(), "cut at {at}");
    }
}

/// What one commit of a generated history does: which paths, and whether they are written or deleted when they are there.
fn history() -> impl Strategy<Value = Vec<Vec<(u16, bool)>>> {
    prop::collection::vec(prop::collection::vec((0_u16..400, any::<bool>()), 1..20), 1..12)
}

fn play(repo: &mut Repo, rev: i64, commit: &[(u16, bool)]) -> Option<Ipld> {
    let live: BTreeMap<String, Vec<u8>> =
        repo.records().map(|(path, bytes)| (path.to_owned(), bytes.to_vec())).collect();
    let mut writes: BTreeMap<String, Option<Vec<u8>>> = BTreeMap::new();
    for (number, put) in commit {
        let path = format!("fm.plyr.{}/3l3qo{number:04}", if number % 3 == 0 { "like" } else { "track" });
        if *put {
            writes.insert(path, Some(record(&format!("{number} at {rev}"))));
        } else if live.contains_key(&path) {
            writes.insert(path, None);
        }
    }
    let writes: Vec<Write<'_>> = writes.iter().map(|(path, record)| (path.as_str(), record.clone())).collect();
    (!writes.is_empty()).then(|| repo.commit(rev, &writes))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// The least slice verifies a commit, and with fewer blocks it verifies to the same or not at all.
    #[test]
    fn commits_of_any_history_hold_each_behind_the_one_before(history in history(), missing in any::<prop::sample::Index>()) {
        let mut repo = Repo::new(DID, 7);
        let key = key_of(&repo);
        let mut data = ours(repo.data());
        for (rev, commit) in (1..).zip(&history) {
            let Some(payload) = play(&mut repo, rev, commit) else { continue };
            let verified = verify(&payload, &key);
            prop_assert_eq!(verified, Ok(Verified { data: ours(repo.data()), prev_data: data }));
            let fewer = without_a_block(&payload, missing);
            let outcome = verify(&fewer, &key);
            prop_assert!(outcome == verified || outcome.is_err(), "{:?}", outcome);
            data = ours(repo.data());
        }
    }

    #[test]
    fn mangled_slices_prove_nothing_and_end_nothing(
        history in history(), at in any::<prop::sample::Index>(), bytes in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let mut repo = Repo::new(DID, 7);
        let key = key_of(&repo);
        let payloads: Vec<Ipld> =
            (1..).zip(&history).filter_map(|(rev, commit)| play(&mut repo, rev, commit)).collect();
        let Some(payload) = payloads.last() else { return Ok(()) };
        let Ipld::Map(fields) = payload else { panic!("a map") };
        let Ipld::Bytes(slice) = &fields["blocks"] else { panic!("bytes") };
        let mut mangled = slice.clone();
        let start = at.index(mangled.len());
        for (place, byte) in mangled[start..].iter_mut().zip(&bytes) {
            *place = *byte;
        }
        let same = mangled == *slice;
        let mut other = payload.clone();
        set(&mut other, "blocks", Ipld::Bytes(mangled));
        prop_assert_eq!(verify(&other, &key).is_ok(), same);
    }
}

/// The same commit, with one block fewer.
fn without_a_block(payload: &Ipld, which: prop::sample::Index) -> Ipld {
    let frame = frame(payload);
    let read = read_message(&frame).unwrap();
    let commit = read.commit().unwrap();
    let mut blocks = blocks_of(commit.slice().unwrap());
    blocks.remove(which.index(blocks.len()));
    let mut other = payload.clone();
    set(&mut other, "blocks", Ipld::Bytes(car(IpldCid::try_from(commit.cid().unwrap().to_bytes()).unwrap(), &blocks)));
    other
}

/// The blocks of a CAR whose sections are shorter than 16 KiB and have CIDs of 36 bytes.
pub fn blocks_of(car: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = car;
    let mut blocks = Vec::new();
    while let Some((low, behind)) = rest.split_first() {
        let (length, behind) = match low & 0x80 {
            0 => (usize::from(*low), behind),
            _ => (usize::from(low & 0x7f) | usize::from(behind[0]) << 7, &behind[1..]),
        };
        blocks.push(behind[..length].to_vec());
        rest = &behind[length..];
    }
    blocks.drain(..1);
    blocks.into_iter().map(|section| section[36..].to_vec()).collect()
}
