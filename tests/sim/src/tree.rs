//! The Merkle search tree of a repo, built again from its paths for each commit.

use ipld_core::{cid::Cid, ipld::Ipld};
use sha2::{Digest as _, Sha256};

use crate::wire::{cid_of, encode, map};

/// A tree: its root and its nodes, from the root down.
#[derive(Debug, Clone)]
pub struct Tree {
    /// The root's CID.
    pub root: Cid,
    /// All nodes.
    pub nodes: Vec<(Cid, Vec<u8>)>,
}

/// On which layer a path stands: two zero bits of its digest for each.
fn layer_of(path: &str) -> u32 {
    let digest = Sha256::digest(path.as_bytes());
    let zeros: u32 = match digest.iter().position(|byte| *byte != 0) {
        Some(at) => u32::try_from(at).expect("32 bytes") * 8 + digest[at].leading_zeros(),
        None => 256,
    };
    zeros / 2
}

struct Leaf<'p> {
    path: &'p str,
    cid: Cid,
    layer: u32,
}

impl Tree {
    /// The tree of these paths, which are in order.
    pub fn of<'p>(paths: impl Iterator<Item = (&'p str, Cid)>) -> Self {
        let leaves: Vec<Leaf> = paths.map(|(path, cid)| Leaf { path, cid, layer: layer_of(path) }).collect();
        let top = leaves.iter().map(|leaf| leaf.layer).max().unwrap_or(0);
        let mut nodes = Vec::new();
        let root = build(&leaves, top, &mut nodes);
        nodes.reverse();
        Self { root, nodes }
    }
}

/// The node of these leaves on this layer, which is that of the highest or above it.
fn build(leaves: &[Leaf], layer: u32, nodes: &mut Vec<(Cid, Vec<u8>)>) -> Cid {
    let mut below = |leaves: &[Leaf]| match leaves {
        [] => Ipld::Null,
        leaves => Ipld::Link(build(leaves, layer - 1, nodes)),
    };
    let own: Vec<usize> = (0..leaves.len()).filter(|at| leaves[*at].layer == layer).collect();
    let first = own.first().copied().unwrap_or(leaves.len());
    let left = below(&leaves[..first]);
    let mut entries = Vec::new();
    let mut before = "";
    for (number, &at) in own.iter().enumerate() {
        let Leaf { path, cid, .. } = &leaves[at];
        let next = own.get(number + 1).copied().unwrap_or(leaves.len());
        let shared = path.bytes().zip(before.bytes()).take_while(|(one, other)| one == other).count();
        entries.push(map(vec![
            ("p", Ipld::Integer(i128::try_from(shared).expect("short"))),
            ("k", Ipld::Bytes(path.as_bytes()[shared..].to_vec())),
            ("v", Ipld::Link(*cid)),
            ("t", below(&leaves[at + 1..next])),
        ]));
        before = path;
    }
    let bytes = encode(&map(vec![("l", left), ("e", Ipld::List(entries))]));
    let cid = cid_of(&bytes);
    nodes.push((cid, bytes));
    cid
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The roots that the specification's own test vectors name.
    #[test]
    fn roots_are_those_of_the_specification() {
        let leaf = Cid::try_from("bafyreie5cvv4h45feadgeuwhbcutmh6t2ceseocckahdoe6uat64zmz454").expect("a CID");
        let root = |paths: &[&str]| Tree::of(paths.iter().map(|path| (*path, leaf))).root.to_string();
        assert_eq!(root(&[]), "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm");
        assert_eq!(
            root(&["com.example.record/3jqfcqzm3fo2j"]),
            "bafyreibj4lsc3aqnrvphp5xmrnfoorvru4wynt6lwidqbm2623a6tatzdu"
        );
        assert_eq!(
            root(&["com.example.record/3jqfcqzm3fx2j"]),
            "bafyreih7wfei65pxzhauoibu3ls7jgmkju4bspy4t2ha2qdjnzqvoy33ai"
        );
        let five = ["3jqfcqzm3fp2j", "3jqfcqzm3fr2j", "3jqfcqzm3fs2j", "3jqfcqzm3ft2j", "3jqfcqzm4fc2j"]
            .map(|key| format!("com.example.record/{key}"));
        let five: Vec<&str> = five.iter().map(String::as_str).collect();
        assert_eq!(root(&five), "bafyreicmahysq4n6wfuxo522m6dpiy7z7qzym3dzs756t5n7nfdgccwq7m");
    }
}
