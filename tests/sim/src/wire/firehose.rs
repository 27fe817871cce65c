//! Messages of a firehose, and the blocks in them.

use ipld_core::{cid::Cid, ipld::Ipld};

use super::{Body, Commit, cbor_of, cid_of, encode, time_text};
use crate::model::tid_text;

pub(crate) fn map(fields: Vec<(&str, Ipld)>) -> Ipld {
    Ipld::Map(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

pub(crate) fn text(value: &str) -> Ipld {
    Ipld::String(value.to_owned())
}

pub(crate) fn message(header_type: &str, payload: &Ipld) -> Vec<u8> {
    let mut bytes = encode(&map(vec![("op", Ipld::Integer(1)), ("t", text(header_type))]));
    bytes.extend(encode(payload));
    bytes
}

/// An unsigned LEB128 number.
fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).expect("seven bits");
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

pub(crate) fn car(root: Cid, blocks: &[Vec<u8>]) -> Vec<u8> {
    let header = encode(&map(vec![("roots", Ipld::List(vec![Ipld::Link(root)])), ("version", Ipld::Integer(1))]));
    let mut bytes = varint(header.len());
    bytes.extend(header);
    for block in blocks {
        let cid = cid_of(block).to_bytes();
        bytes.extend(varint(cid.len() + block.len()));
        bytes.extend(cid);
        bytes.extend(block);
    }
    bytes
}

/// The root of a tree that holds nothing.
fn empty_tree() -> Vec<u8> {
    encode(&map(vec![("l", Ipld::Null), ("e", Ipld::List(Vec::new()))]))
}

pub(crate) fn empty_tree_cid() -> Cid {
    cid_of(&empty_tree())
}

/// A commit with a signature that no key has made.
pub(crate) fn commit_block(did: &str, rev: i64, tree: Cid) -> Vec<u8> {
    encode(&map(vec![
        ("did", text(did)),
        ("version", Ipld::Integer(3)),
        ("data", Ipld::Link(tree)),
        ("rev", text(&tid_text(rev))),
        ("prev", Ipld::Null),
        ("sig", Ipld::Bytes(vec![7; 64])),
    ]))
}

/// The whole commit as one firehose message; its tree is empty and its signature no key's. It follows on nothing.
pub fn firehose_message(commit: &Commit, seq: i64, time_us: i64) -> Vec<u8> {
    firehose_message_since(commit, None, (seq, time_us))
}

/// Likewise, but it follows on the commit of this rev, whose tree was as empty.
pub(crate) fn firehose_message_since(commit: &Commit, since: Option<i64>, (seq, time_us): (i64, i64)) -> Vec<u8> {
    let tree = empty_tree();
    let signed = commit_block(&commit.did, commit.rev, cid_of(&tree));
    let root = cid_of(&signed);
    let mut blocks = vec![signed, tree.clone()];
    blocks.extend(commit.operations.iter().filter_map(|operation| match &operation.body {
        Body::Put { json, .. } => Some(cbor_of(json)),
        Body::Delete => None,
    }));
    let prev_data = since.map(|_| cid_of(&tree));
    let slice = Slice { root, blocks: car(root, &blocks).into(), since, prev_data, before: Vec::new() };
    commit_message(commit, &slice, seq, time_us)
}

/// What verifies a commit of a firehose: its blocks, and what it stands on.
#[derive(Debug, Clone)]
pub struct Slice {
    /// The CID of the signed commit.
    pub root: Cid,
    /// A CAR.
    pub blocks: Box<[u8]>,
    /// The rev of the commit before.
    pub since: Option<i64>,
    /// The root of the tree before.
    pub prev_data: Option<Cid>,
    /// What each path of the commit held before, in the order of its operations.
    pub before: Vec<Option<Cid>>,
}

/// The commit as a firehose sends it, with the blocks that verify it.
pub(crate) fn commit_message(commit: &Commit, slice: &Slice, seq: i64, time_us: i64) -> Vec<u8> {
    let operations = commit.operations.iter().enumerate().map(|(at, operation)| {
        let path = text(&format!("{}/{}", operation.collection, operation.rkey));
        let before = slice.before.get(at).copied().flatten();
        let (action, cid) = match &operation.body {
            Body::Put { json, created, .. } => {
                (if *created { "create" } else { "update" }, Ipld::Link(cid_of(&cbor_of(json))))
            }
            Body::Delete => ("delete", Ipld::Null),
        };
        let mut fields = vec![("action", text(action)), ("path", path), ("cid", cid)];
        fields.extend(before.map(|cid| ("prev", Ipld::Link(cid))));
        map(fields)
    });
    let mut fields = vec![
        ("repo", text(&commit.did)),
        ("rev", text(&tid_text(commit.rev))),
        ("since", slice.since.map_or(Ipld::Null, |rev| text(&tid_text(rev)))),
        ("commit", Ipld::Link(slice.root)),
        ("blocks", Ipld::Bytes(slice.blocks.to_vec())),
        ("ops", Ipld::List(operations.collect())),
        ("blobs", Ipld::List(Vec::new())),
        ("rebase", Ipld::Bool(false)),
        ("tooBig", Ipld::Bool(false)),
        ("seq", Ipld::Integer(seq.into())),
        ("time", text(&time_text(time_us))),
    ];
    fields.extend(slice.prev_data.map(|cid| ("prevData", Ipld::Link(cid))));
    message("#commit", &map(fields))
}

pub fn firehose_identity(did: &str, handle: Option<&str>, seq: i64, time_us: i64) -> Vec<u8> {
    let mut fields = vec![("seq", Ipld::Integer(seq.into())), ("did", text(did)), ("time", text(&time_text(time_us)))];
    if let Some(handle) = handle {
        fields.push(("handle", text(handle)));
    }
    message("#identity", &map(fields))
}

pub fn firehose_account(did: &str, seq: i64, time_us: i64) -> Vec<u8> {
    firehose_account_as(did, None, seq, time_us)
}

/// No status: active.
pub fn firehose_account_as(did: &str, status: Option<&str>, seq: i64, time_us: i64) -> Vec<u8> {
    firehose_account_of(did, (status.is_none(), status), seq, time_us)
}

/// Whether an account is active, and why not, if a reason is given.
pub fn firehose_account_of(did: &str, (active, status): (bool, Option<&str>), seq: i64, time_us: i64) -> Vec<u8> {
    let mut fields = vec![
        ("seq", Ipld::Integer(seq.into())),
        ("did", text(did)),
        ("time", text(&time_text(time_us))),
        ("active", Ipld::Bool(active)),
    ];
    fields.extend(status.map(|status| ("status", text(status))));
    message("#account", &map(fields))
}

/// The repo diverged; its head is at this rev.
pub fn firehose_sync(did: &str, rev: i64, seq: i64, time_us: i64) -> Vec<u8> {
    let fields = vec![
        ("seq", Ipld::Integer(seq.into())),
        ("did", text(did)),
        ("time", text(&time_text(time_us))),
        ("rev", text(&tid_text(rev))),
        ("blocks", Ipld::Bytes(Vec::new())),
    ];
    message("#sync", &map(fields))
}

/// An error, which ends the stream.
pub fn firehose_error(error: &str) -> Vec<u8> {
    let mut bytes = encode(&map(vec![("op", Ipld::Integer((-1).into()))]));
    bytes.extend(encode(&map(vec![("error", text(error)), ("message", text("as planned"))])));
    bytes
}

/// A word to the reader.
pub fn firehose_info(name: &str) -> Vec<u8> {
    message("#info", &map(vec![("name", text(name)), ("message", text("as planned"))]))
}
