use super::{
    blocks::Blocks,
    error::VerifyError,
    tree::{Item, Leaf, Tree},
};
use crate::atproto::{Cid, Did, PublicKey, Tid};

/// A whole repo, as its owner signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repo<'a> {
    /// Of its newest commit.
    pub rev: Tid,
    /// The root of its tree.
    pub data: Cid,
    /// All of its records, of any collection, in the order of their paths.
    pub records: Vec<RepoRecord<'a>>,
}

/// One record of a repo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoRecord<'a> {
    /// Collection and record key, with a slash between; neither is checked further.
    pub path: String,
    /// Of its bytes.
    pub cid: Cid,
    /// DAG-CBOR that hashes to `cid`; whether it is a record that we can use is not checked here.
    pub bytes: &'a [u8],
}

/// Reads a repo as `com.atproto.sync.getRepo` gives it: signed by this key for this DID, its tree walked to the last record.
///
/// Takes as much memory as some times the CAR's bytes: to bound them is for the caller who fetches it.
pub fn read_repo<'a>(car: &'a [u8], did: &Did, key: &PublicKey) -> Result<Repo<'a>, VerifyError> {
    let blocks = Blocks::read(car)?;
    let commit = blocks.commit()?;
    if Did::parse(commit.did).as_ref() != Ok(did) {
        return Err(VerifyError::Other("repo"));
    }
    let rev = Tid::parse(commit.rev).map_err(|_| VerifyError::Commit("its rev is no TID"))?;
    let tree = Tree::read(&blocks, &commit.data)?;
    let records = tree.items.into_iter().map(|item| match item {
        Item::Leaf(leaf) => record(&blocks, leaf),
        Item::Hidden { .. } => Err(VerifyError::Incomplete),
    });
    let records = records.collect::<Result<_, _>>()?;
    // Last, as for a commit: to fail here says that it is only the key that does not fit.
    commit.check_signature(key)?;
    Ok(Repo { rev, data: Cid::of_digest(&commit.data), records })
}

fn record<'a>(blocks: &Blocks<'a>, leaf: Leaf) -> Result<RepoRecord<'a>, VerifyError> {
    let path = String::from_utf8(leaf.path).map_err(|_| VerifyError::Tree("a path that is no text"))?;
    let bytes = blocks.find(&leaf.record).ok_or(VerifyError::Incomplete)?;
    Ok(RepoRecord { path, cid: Cid::of_digest(&leaf.record), bytes })
}
