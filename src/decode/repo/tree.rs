//! The Merkle search tree of a repo, <https://atproto.com/specs/repository#mst-structure>, or as much of it as came along.
//!
//! A tree is the canonical form of its records in the order of their paths: how high a record lies follows from the hash of its
//! path alone. So a tree is kept here as that order, with a place holder for each subtree whose block did not come along; and
//! a change is a change of the order, from which the root is built again. A place holder can stay one only as long as its
//! neighbours lie higher than it: otherwise what it hides would have to be cut or joined, and that cannot be verified.

use sha2::{Digest as _, Sha256};

use super::{
    blocks::Blocks,
    cbor::{Digest, Malformed, Reader, Writer},
    error::VerifyError,
};

/// A tree, or as much as is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tree {
    /// In the order of their paths.
    pub items: Vec<Item>,
}

/// One thing in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// A record.
    Leaf(Leaf),
    /// A subtree whose block did not come along.
    Hidden {
        /// How high its root lies.
        height: u8,
        /// Of its root.
        digest: Digest,
    },
}

/// A record of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    /// Collection and record key, with a slash between.
    pub path: Vec<u8>,
    /// How high it lies: what the hash of its path says.
    pub height: u8,
    /// Of the record.
    pub record: Digest,
}

/// What a commit did to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Change<'m> {
    /// Collection and record key, with a slash between.
    pub path: &'m [u8],
    /// The record before; none where the commit created it.
    pub before: Option<Digest>,
    /// The record after; none where the commit deleted it.
    pub after: Option<Digest>,
}

/// Bytes of a path at most: 317 of a collection, a slash, 512 of a record key.
const PATH_MAX: usize = 830;
/// Paths are written as what they have not in common with the one before: the paths of an honest tree can be a few times as
/// long as its blocks, and no more.
const PATHS_PER_BLOCKS: usize = 4;
const PATHS_MIN: usize = 1 << 16;

/// How high a path lies: half the number of zero bits that its hash begins with.
pub(super) fn height_of(path: &[u8]) -> u8 {
    let digest = Sha256::digest(path);
    let zeros = match digest.iter().position(|byte| *byte != 0) {
        Some(at) => 8 * at + digest[at].leading_zeros() as usize,
        None => 256,
    };
    u8::try_from(zeros / 2).expect("half of 256 fits in a byte")
}

impl Tree {
    /// Reads what the blocks hold of the tree with this root. The root itself must be there.
    pub(super) fn read(blocks: &Blocks<'_>, root: &Digest) -> Result<Self, VerifyError> {
        let bytes: usize = blocks.byte_count();
        let room = PATHS_PER_BLOCKS.saturating_mul(bytes).saturating_add(PATHS_MIN);
        let mut walk = Walk { blocks, items: Vec::new(), last: Vec::new(), room };
        walk.read_root(root)?;
        Ok(Self { items: walk.items })
    }

    /// The root of the tree.
    pub(super) fn root(&self) -> Result<Digest, VerifyError> {
        match (self.items.iter().filter_map(Item::leaf_height).max(), self.items.as_slice()) {
            (Some(top), items) => build(items, top),
            (None, []) => Ok(Node::default().digest()),
            (None, [Item::Hidden { digest, .. }]) => Ok(*digest),
            (None, _) => Err(VerifyError::Incomplete),
        }
    }

    /// The tree before the changes, of which each must be of another path.
    pub(super) fn undo(self, mut changes: Vec<Change<'_>>) -> Result<Self, VerifyError> {
        changes.sort_unstable_by_key(|change| change.path);
        if changes.windows(2).any(|pair| pair[0].path == pair[1].path) {
            return Err(VerifyError::Operation("two operations on one path"));
        }
        let mut undone = Undone { items: Vec::with_capacity(self.items.len() + changes.len()), hidden: false };
        let mut changes = changes.into_iter().peekable();
        for item in self.items {
            let Item::Leaf(leaf) = item else {
                undone.hidden = true;
                undone.items.push(item);
                continue;
            };
            while let Some(change) = changes.next_if(|change| change.path < leaf.path.as_slice()) {
                undone.restore(&change)?;
            }
            match changes.next_if(|change| change.path == leaf.path) {
                Some(change) => undone.replace(leaf, &change)?,
                None => undone.items.push(Item::Leaf(leaf)),
            }
            undone.hidden = false;
        }
        for change in changes {
            undone.restore(&change)?;
        }
        Ok(Self { items: undone.items })
    }
}

impl Item {
    fn leaf_height(&self) -> Option<u8> {
        match self {
            Self::Leaf(leaf) => Some(leaf.height),
            Self::Hidden { .. } => None,
        }
    }
}

/// A tree in which some changes have been undone.
struct Undone {
    items: Vec<Item>,
    /// Whether anything is hidden between the record before and the next one.
    hidden: bool,
}

impl Undone {
    /// Puts back what was deleted.
    fn restore(&mut self, change: &Change<'_>) -> Result<(), VerifyError> {
        if self.hidden {
            return Err(VerifyError::Incomplete);
        }
        match (change.before, change.after) {
            (Some(record), None) => {
                let leaf = Leaf { path: change.path.to_vec(), height: height_of(change.path), record };
                self.items.push(Item::Leaf(leaf));
                Ok(())
            }
            _ => Err(VerifyError::Operation("a record is not in the tree")),
        }
    }

    /// Takes out what was created, and puts back what was replaced.
    fn replace(&mut self, leaf: Leaf, change: &Change<'_>) -> Result<(), VerifyError> {
        match change.after {
            None => return Err(VerifyError::Operation("a deleted record is still in the tree")),
            Some(after) if after != leaf.record => {
                return Err(VerifyError::Operation("the tree holds another version of a record"));
            }
            Some(_) => {}
        }
        self.items.extend(change.before.map(|record| Item::Leaf(Leaf { record, ..leaf })));
        Ok(())
    }
}

/// What a node says of one record.
struct Entry<'a> {
    shared: usize,
    rest: &'a [u8],
    record: Digest,
    right: Option<Digest>,
}

/// Reads nodes in the order of their paths.
struct Walk<'b> {
    blocks: &'b Blocks<'b>,
    items: Vec<Item>,
    /// The last path.
    last: Vec<u8>,
    /// How many bytes of paths may still come.
    room: usize,
}

impl Walk<'_> {
    fn read_root(&mut self, root: &Digest) -> Result<(), VerifyError> {
        let block = self.blocks.find(root).ok_or(VerifyError::Incomplete)?;
        let (left, entries) = read_node(block)?;
        match (left, entries.first()) {
            (None, None) => Ok(()),
            (Some(_), None) => Err(VerifyError::Tree("the root holds no record")),
            (left, Some(first)) => self.take_node(left, &entries, height_of(first.rest)),
        }
    }

    /// Reads a subtree whose root lies at this height, and hides it when its block is not there. Each step leads one lower,
    /// so that there are at most 128 on the stack.
    fn read_subtree(&mut self, digest: Digest, height: u8) -> Result<(), VerifyError> {
        let Some(block) = self.blocks.find(&digest) else {
            self.items.push(Item::Hidden { height, digest });
            return Ok(());
        };
        let (left, entries) = read_node(block)?;
        if left.is_none() && entries.is_empty() {
            return Err(VerifyError::Tree("an empty node below the root"));
        }
        self.take_node(left, &entries, height)
    }

    fn take_node(&mut self, left: Option<Digest>, entries: &[Entry<'_>], height: u8) -> Result<(), VerifyError> {
        self.take_child(left, height)?;
        // Of a node's first path nothing is left out, whatever came before it.
        let mut before = Vec::new();
        for entry in entries {
            let shared =
                before.get(..entry.shared).ok_or(VerifyError::Tree("a path that shares more than there is"))?;
            let path = [shared, entry.rest].concat();
            if shared_bytes(&before, &path) != entry.shared {
                return Err(VerifyError::Tree("a path that shares less than it could"));
            }
            self.take_leaf(&path, entry.record, height)?;
            before = path;
            self.take_child(entry.right, height)?;
        }
        Ok(())
    }

    fn take_child(&mut self, child: Option<Digest>, height: u8) -> Result<(), VerifyError> {
        let Some(child) = child else { return Ok(()) };
        let below = height.checked_sub(1).ok_or(VerifyError::Tree("a node below the lowest"))?;
        self.read_subtree(child, below)
    }

    fn take_leaf(&mut self, path: &[u8], record: Digest, height: u8) -> Result<(), VerifyError> {
        if path.is_empty() || path.len() > PATH_MAX {
            return Err(VerifyError::Tree("a path that is empty or too long"));
        }
        self.room =
            self.room.checked_sub(path.len()).ok_or(VerifyError::Tree("longer paths than any honest tree has"))?;
        // This also keeps a block from being read twice, as long as there is a record below it.
        if path <= self.last.as_slice() {
            return Err(VerifyError::Tree("the paths are not in their order"));
        }
        if height_of(path) != height {
            return Err(VerifyError::Tree("a record at another height than its path's"));
        }
        path.clone_into(&mut self.last);
        self.items.push(Item::Leaf(Leaf { path: path.to_vec(), height, record }));
        Ok(())
    }
}

fn read_node(block: &[u8]) -> Result<(Option<Digest>, Vec<Entry<'_>>), VerifyError> {
    try_read_node(block).map_err(|Malformed| VerifyError::Tree("a block that is no node"))
}

fn try_read_node(block: &[u8]) -> Result<(Option<Digest>, Vec<Entry<'_>>), Malformed> {
    let mut reader = Reader::of(block);
    exactly(reader.map()?, 2)?;
    reader.name("e")?;
    let count = reader.list()?;
    let mut entries = Vec::new();
    for _ in 0..count {
        entries.push(read_entry(&mut reader)?);
    }
    reader.name("l")?;
    let left = reader.optional_link()?;
    reader.end()?;
    Ok((left, entries))
}

fn read_entry<'a>(reader: &mut Reader<'a>) -> Result<Entry<'a>, Malformed> {
    exactly(reader.map()?, 4)?;
    reader.name("k")?;
    let rest = reader.bytes()?;
    reader.name("p")?;
    let shared = usize::try_from(reader.unsigned()?).map_err(|_| Malformed)?;
    reader.name("t")?;
    let right = reader.optional_link()?;
    reader.name("v")?;
    let record = reader.link()?;
    Ok(Entry { shared, rest, record, right })
}

fn exactly(found: u64, wanted: u64) -> Result<(), Malformed> {
    if found == wanted { Ok(()) } else { Err(Malformed) }
}

/// The root of these items, none of which lies higher than this.
fn build(items: &[Item], height: u8) -> Result<Digest, VerifyError> {
    if let [Item::Hidden { height: hidden, digest }] = items
        && *hidden == height
    {
        return Ok(*digest);
    }
    let mut node = Node::default();
    let mut rest = items;
    loop {
        let next = rest.iter().position(|item| item.leaf_height() == Some(height));
        let (gap, behind) = rest.split_at(next.unwrap_or(rest.len()));
        node.children.push(build_below(gap, height)?);
        let Some((Item::Leaf(leaf), behind)) = behind.split_first() else { break };
        node.leaves.push(leaf);
        rest = behind;
    }
    Ok(node.digest())
}

fn build_below(items: &[Item], height: u8) -> Result<Option<Digest>, VerifyError> {
    if items.is_empty() {
        return Ok(None);
    }
    // At the lowest there is nothing below: only something hidden can be left over, which would have to be cut or joined.
    let below = height.checked_sub(1).ok_or(VerifyError::Incomplete)?;
    build(items, below).map(Some)
}

/// A node in the making: a child before, between and behind its leaves.
#[derive(Debug, Default)]
struct Node<'t> {
    leaves: Vec<&'t Leaf>,
    children: Vec<Option<Digest>>,
}

impl Node<'_> {
    fn digest(&self) -> Digest {
        let mut writer = Writer::default();
        writer.map(2);
        writer.name("e");
        writer.list(self.leaves.len());
        let mut before: &[u8] = &[];
        for (leaf, right) in self.leaves.iter().zip(self.children.iter().skip(1)) {
            let shared = shared_bytes(before, &leaf.path);
            writer.map(4);
            writer.name("k");
            writer.bytes(&leaf.path[shared..]);
            writer.name("p");
            writer.unsigned(shared);
            writer.name("t");
            writer.optional_link(right.as_ref());
            writer.name("v");
            writer.optional_link(Some(&leaf.record));
            before = &leaf.path;
        }
        writer.name("l");
        writer.optional_link(self.children.first().and_then(Option::as_ref));
        Sha256::digest(&writer.bytes).into()
    }
}

fn shared_bytes(before: &[u8], path: &[u8]) -> usize {
    before.iter().zip(path).take_while(|(one, other)| one == other).count()
}
