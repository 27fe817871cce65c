//! A repo as its host keeps it: a whole tree, built again for each commit in the most naive way. Shares no code with the
//! library.

use std::collections::{BTreeMap, BTreeSet};

use ipld_core::{
    cid::{
        Cid,
        multibase::{self, Base},
        multihash::Multihash,
    },
    ipld::Ipld,
};
use k256::ecdsa::{Signature, SigningKey, signature::Signer};
use sha2::{Digest, Sha256};

/// A repo whose owner's key the tests hold.
pub struct Repo {
    pub did: String,
    key: SigningKey,
    records: BTreeMap<String, Vec<u8>>,
    rev: Option<i64>,
    data: Cid,
}

/// What a commit does to one path: the record that is put there, or none.
pub type Write<'w> = (&'w str, Option<Vec<u8>>);

impl Repo {
    /// An empty one; the seed makes the key.
    pub fn new(did: &str, seed: u8) -> Self {
        let key = SigningKey::from_slice(&[seed; 32]).expect("a number below the order of the curve");
        Self { did: did.to_owned(), key, records: BTreeMap::new(), rev: None, data: Tree::of(&BTreeMap::new()).root }
    }

    /// As the DID document holds it.
    pub fn multikey(&self) -> String {
        let point = self.key.verifying_key().to_sec1_point(true);
        multibase::encode(Base::Base58Btc, [&[0xe7, 0x01], point.as_bytes()].concat())
    }

    /// From now on another key signs.
    pub fn rotate(&mut self, seed: u8) {
        self.key = SigningKey::from_slice(&[seed; 32]).expect("a number below the order of the curve");
    }

    /// Where each record is.
    pub fn records(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.records.iter().map(|(path, record)| (path.as_str(), record.as_slice()))
    }

    /// The root of the tree.
    pub fn data(&self) -> Cid {
        self.data
    }

    /// Writes in one commit. The payload of the firehose's message has the nodes on the way to each path written and to both of its
    /// neighbours, which is the least that verifies it.
    pub fn commit(&mut self, rev: i64, writes: &[Write<'_>]) -> Ipld {
        let before = (self.rev, self.data);
        let operations: Vec<Ipld> = writes.iter().map(|write| self.write(write)).collect();
        let tree = Tree::of(&self.records);
        let signed = self.signed(rev, tree.root);
        let root = cid_of(&signed);
        let mut blocks = vec![signed];
        blocks.extend(tree.visited_blocks(&self.neighbours(writes)));
        blocks.extend(writes.iter().filter_map(|(_, record)| record.clone()));
        (self.rev, self.data) = (Some(rev), tree.root);
        map([
            ("repo", Ipld::String(self.did.clone())),
            ("rev", Ipld::String(tid_text(rev))),
            ("since", before.0.map_or(Ipld::Null, |rev| Ipld::String(tid_text(rev)))),
            ("prevData", Ipld::Link(before.1)),
            ("commit", Ipld::Link(root)),
            ("blocks", Ipld::Bytes(car(root, &blocks))),
            ("ops", Ipld::List(operations)),
            ("blobs", Ipld::List(Vec::new())),
            ("rebase", Ipld::Bool(false)),
            ("tooBig", Ipld::Bool(false)),
            ("seq", Ipld::Integer(rev.into())),
            ("time", Ipld::String("2026-07-04T12:00:00.000Z".to_owned())),
        ])
    }

    /// The whole repo, as `getRepo` gives it.
    pub fn archive(&self, rev: i64) -> Vec<u8> {
        let tree = Tree::of(&self.records);
        let signed = self.signed(rev, tree.root);
        let root = cid_of(&signed);
        let nodes = tree.nodes.into_iter().map(|node| node.block);
        let blocks: Vec<Vec<u8>> = [signed].into_iter().chain(nodes).chain(self.records.values().cloned()).collect();
        car(root, &blocks)
    }

    fn write(&mut self, (path, record): &Write<'_>) -> Ipld {
        let link = |record: Option<&Vec<u8>>| record.map_or(Ipld::Null, |record| Ipld::Link(cid_of(record)));
        let before = match record {
            Some(record) => self.records.insert((*path).to_owned(), record.clone()),
            None => self.records.remove(*path),
        };
        let action = match (&before, record) {
            (None, Some(_)) => "create",
            (Some(_), Some(_)) => "update",
            (Some(_), None) => "delete",
            (None, None) => panic!("there is nothing to delete at {path}"),
        };
        let mut operation = map([
            ("action", Ipld::String(action.to_owned())),
            ("path", Ipld::String((*path).to_owned())),
            ("cid", link(record.as_ref())),
        ]);
        if let (Ipld::Map(fields), Some(before)) = (&mut operation, &before) {
            fields.insert("prev".to_owned(), link(Some(before)));
        }
        operation
    }

    fn neighbours(&self, writes: &[Write<'_>]) -> BTreeSet<String> {
        let mut paths = BTreeSet::new();
        for (path, _) in writes {
            let path = (*path).to_owned();
            paths.extend(self.records.range(..path.clone()).next_back().map(|(path, _)| path.clone()));
            paths.extend(self.records.range(path.clone()..).take(2).map(|(path, _)| path.clone()));
            paths.insert(path);
        }
        paths
    }

    fn signed(&self, rev: i64, data: Cid) -> Vec<u8> {
        signed_commit(&self.did, &tid_text(rev), data, |unsigned| {
            let signature: Signature = self.key.sign(unsigned);
            signature.normalize_s().to_bytes().to_vec()
        })
    }
}

/// A commit of version 3 with the signature that `sign` makes of the rest.
pub fn signed_commit(did: &str, rev: &str, data: Cid, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut commit = map([
        ("did", Ipld::String(did.to_owned())),
        ("rev", Ipld::String(rev.to_owned())),
        ("data", Ipld::Link(data)),
        ("prev", Ipld::Null),
        ("version", Ipld::Integer(3)),
    ]);
    let signature = sign(&encode(&commit));
    let Ipld::Map(fields) = &mut commit else { panic!("a map is a map") };
    fields.insert("sig".to_owned(), Ipld::Bytes(signature));
    encode(&commit)
}

/// A tree of records.
pub struct Tree {
    pub root: Cid,
    nodes: Vec<Node>,
}

struct Node {
    block: Vec<u8>,
    /// The paths beside the node in the nodes above it: what lies between is to be looked for here.
    after: Option<String>,
    before: Option<String>,
}

impl Tree {
    pub fn of(records: &BTreeMap<String, Vec<u8>>) -> Self {
        let leaves: Vec<(&str, Cid)> = records.iter().map(|(path, record)| (path.as_str(), cid_of(record))).collect();
        Self::of_leaves(&leaves)
    }

    pub fn of_leaves(leaves: &[(&str, Cid)]) -> Self {
        let top = leaves.iter().map(|(path, _)| height(path)).max().unwrap_or(0);
        let mut nodes = Vec::new();
        let root = build(leaves, top, (None, None), &mut nodes);
        Self { root, nodes }
    }

    /// The nodes that are visited when these paths are looked for.
    fn visited_blocks(&self, paths: &BTreeSet<String>) -> Vec<Vec<u8>> {
        let visited = |node: &&Node| {
            paths.iter().any(|path| {
                node.after.as_ref().is_none_or(|after| after < path)
                    && node.before.as_ref().is_none_or(|before| path < before)
            })
        };
        self.nodes.iter().filter(visited).map(|node| node.block.clone()).collect()
    }
}

fn build(
    leaves: &[(&str, Cid)],
    level: usize,
    (after, before): (Option<&str>, Option<&str>),
    nodes: &mut Vec<Node>,
) -> Cid {
    let mut places: Vec<usize> = (0..leaves.len()).filter(|at| height(leaves[*at].0) == level).collect();
    places.push(leaves.len());
    let mut children = Vec::new();
    let mut start: usize = 0;
    for place in &places {
        let outer =
            (start.checked_sub(1).map(|at| leaves[at].0).or(after), leaves.get(*place).map(|leaf| leaf.0).or(before));
        let inside = &leaves[start..*place];
        children.push(if inside.is_empty() { Ipld::Null } else { Ipld::Link(build(inside, level - 1, outer, nodes)) });
        start = place + 1;
    }
    let mut last = "";
    let mut entries = Vec::new();
    for (place, right) in places.iter().zip(&children[1..]) {
        let (path, record) = leaves[*place];
        let shared = last.bytes().zip(path.bytes()).take_while(|(one, other)| one == other).count();
        entries.push(map([
            ("p", Ipld::Integer(shared as i128)),
            ("k", Ipld::Bytes(path.as_bytes()[shared..].to_vec())),
            ("v", Ipld::Link(record)),
            ("t", right.clone()),
        ]));
        last = path;
    }
    let block = encode(&map([("l", children[0].clone()), ("e", Ipld::List(entries))]));
    let cid = cid_of(&block);
    nodes.push(Node { block, after: after.map(str::to_owned), before: before.map(str::to_owned) });
    cid
}

/// Pairs of zero bits that the hash of a path begins with.
fn height(path: &str) -> usize {
    let digest = Sha256::digest(path.as_bytes());
    let mut bits = digest.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    bits.position(|bit| bit == 1).unwrap_or(256) / 2
}

/// The CID of DAG-CBOR bytes.
fn cid_of(bytes: &[u8]) -> Cid {
    let hash = Multihash::wrap(0x12, &Sha256::digest(bytes)).expect("32 bytes fit");
    Cid::new_v1(0x71, hash)
}

/// The text of a TID.
fn tid_text(number: i64) -> String {
    let digit =
        |at: u32| b"234567abcdefghijklmnopqrstuvwxyz"[usize::try_from(number >> (5 * at) & 31).expect("five bits")];
    (0..13).rev().map(|at| char::from(digit(at))).collect()
}

pub fn map<const N: usize>(fields: [(&str, Ipld); N]) -> Ipld {
    Ipld::Map(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

pub fn encode(ipld: &Ipld) -> Vec<u8> {
    serde_ipld_dagcbor::to_vec(ipld).expect("the data model has an encoding")
}

/// A CAR of these blocks, each under its own name.
pub fn car(root: Cid, blocks: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut section = |content: &[u8]| {
        let mut length = content.len();
        while length >= 0x80 {
            bytes.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
            length >>= 7;
        }
        bytes.push(u8::try_from(length).expect("seven bits"));
        bytes.extend(content);
    };
    section(&encode(&map([("roots", Ipld::List(vec![Ipld::Link(root)])), ("version", Ipld::Integer(1))])));
    for block in blocks {
        section(&[cid_of(block).to_bytes(), block.clone()].concat());
    }
    bytes
}
