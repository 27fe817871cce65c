//! Keys of actors, signed commits, and the blocks that a firehose sends to verify them.

use std::collections::{BTreeMap, HashMap};

use ipld_core::{cid::Cid, ipld::Ipld};
use k256::ecdsa::{Signature, SigningKey, signature::Signer as _};
use sha2::{Digest as _, Sha256};

use crate::{
    event::What,
    model::tid_text,
    tree::Tree,
    wire::{Body, Slice, car, cbor_of, cid_of, encode, map, text},
    world::World,
};

/// An actor's key: the same for each seed.
fn key_of(world: &World, actor: u32) -> SigningKey {
    let digest = Sha256::digest(format!("key {} {actor}", world.shape.seed));
    SigningKey::from_slice(&digest).expect("a digest that is no key would be news")
}

/// An actor's public key, as its DID document has it.
pub fn public_key(world: &World, actor: u32) -> String {
    let mut bytes = vec![0xe7, 0x01];
    bytes.extend(key_of(world, actor).verifying_key().to_sec1_point(true).as_bytes());
    format!("z{}", base58(&bytes))
}

fn base58(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut digits: Vec<u8> = Vec::new();
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += u32::from(*digit) * 256;
            *digit = u8::try_from(carry % 58).expect("below 58");
            carry /= 58;
        }
        while carry > 0 {
            digits.push(u8::try_from(carry % 58).expect("below 58"));
            carry /= 58;
        }
    }
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    digits.extend(vec![0; zeros]);
    digits.iter().rev().map(|digit| char::from(ALPHABET[usize::from(*digit)])).collect()
}

/// A commit of this tree, signed with the actor's key.
pub fn signed_commit(world: &World, actor: u32, rev: i64, tree: Cid) -> Vec<u8> {
    let mut fields = vec![
        ("did", text(world.did(actor))),
        ("version", Ipld::Integer(3)),
        ("data", Ipld::Link(tree)),
        ("rev", text(&tid_text(rev))),
        ("prev", Ipld::Null),
    ];
    let signature: Signature = key_of(world, actor).sign(&encode(&map(fields.clone())));
    fields.push(("sig", Ipld::Bytes(signature.to_bytes().to_vec())));
    encode(&map(fields))
}

/// What a signed world keeps besides: the paths of each repo, and the slice of each commit: the blocks that verify it.
#[derive(Debug, Default)]
pub struct Trees {
    repos: HashMap<u32, Kept>,
    slices: HashMap<u32, Slice>,
}

#[derive(Debug, Default)]
struct Kept {
    paths: BTreeMap<String, Cid>,
    root: Option<Cid>,
    rev: Option<i64>,
}

impl Trees {
    /// The slice of an event, where the world is signed.
    pub fn slice(&self, event: u32) -> Option<&Slice> {
        self.slices.get(&event)
    }
}

/// Signs the world's last event and makes its slice.
pub(crate) fn sign_last(world: &mut World) {
    let number = u32::try_from(world.events.len() - 1).expect("fewer than 2^32 events");
    let Some(event) = world.events.last() else { return };
    let (actor, rev, sync) = (event.actor, event.rev, matches!(event.what, What::Sync { .. }));
    if !sync && !event.is_commit() {
        return;
    }
    let commit = event.commit(world);
    let mut kept = world.trees.repos.remove(&actor).unwrap_or_default();
    let (mut records, mut before) = (Vec::new(), Vec::new());
    for operation in &commit.operations {
        let path = format!("{}/{}", operation.collection, operation.rkey);
        before.push(match &operation.body {
            Body::Put { json, .. } => {
                let bytes = cbor_of(json);
                let old = kept.paths.insert(path, cid_of(&bytes));
                records.push(bytes);
                old
            }
            Body::Delete => kept.paths.remove(&path),
        });
    }
    let tree = Tree::of(kept.paths.iter().map(|(path, cid)| (path.as_str(), *cid)));
    let signed = signed_commit(world, actor, rev, tree.root);
    let root = cid_of(&signed);
    let mut blocks = vec![signed];
    if !sync {
        // The whole tree: more than verification needs, never less.
        blocks.extend(tree.nodes.into_iter().map(|(_, bytes)| bytes));
        blocks.extend(records);
    }
    let slice = Slice { root, blocks: car(root, &blocks).into(), since: kept.rev, prev_data: kept.root, before };
    world.trees.slices.insert(number, slice);
    (kept.root, kept.rev) = (Some(tree.root), Some(rev));
    world.trees.repos.insert(actor, kept);
}
