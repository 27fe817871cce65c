use super::{
    blocks::Blocks,
    cbor::Digest,
    error::VerifyError,
    tree::{Change, Tree},
};
use crate::{
    atproto::{Cid, PublicKey},
    decode::firehose_message::{RawCommit, RawOperation},
};

/// A commit that was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// The root of the repo's tree after the commit.
    pub data: Cid,
    /// The root before it: what the commit before, by the sender's account, had as its `data`.
    pub prev_data: Cid,
}

/// Operations of a commit at most, by the specification.
const OPERATIONS_MAX: usize = 200;

/// Checks a commit against the slice of the repo that came with it.
///
/// It holds when every block hashes to its name; the signed commit is the one named, of this repo and rev, and signed with
/// this key; every record that was created or updated is in the tree under its path and came along, and no deleted one is;
/// and the tree without these operations has the root that the commit names as `prevData`, so that no operation is left
/// out. Where a commit names none, it must be the first of its repo. What it says of time, sequence and blobs is not signed
/// and proves nothing.
pub fn verify_commit(commit: RawCommit<'_>, key: &PublicKey) -> Result<Verified, VerifyError> {
    let blocks = Blocks::read(commit.slice().ok_or(VerifyError::Blocks("there are none"))?)?;
    let signed = blocks.commit()?;
    if commit.cid().and_then(|cid| cid.record_digest()) != Some(blocks.root()) {
        return Err(VerifyError::Other("name"));
    }
    if commit.did() != Some(signed.did) {
        return Err(VerifyError::Other("repo"));
    }
    if commit.rev() != Some(signed.rev) {
        return Err(VerifyError::Other("rev"));
    }
    let operations = commit.operations().ok_or(VerifyError::Operation("there is no list of them"))?;
    let mut changes = Vec::new();
    for operation in operations {
        if changes.len() == OPERATIONS_MAX {
            return Err(VerifyError::Operation("there are too many"));
        }
        changes.push(change_of(&operation, &blocks)?);
    }
    let before = Tree::read(&blocks, &signed.data)?.undo(changes)?.root()?;
    if before != stated_before(commit)? {
        return Err(VerifyError::Before);
    }
    // The dearest comes last; and to fail here says that it is only the key that does not fit.
    signed.check_signature(key)?;
    Ok(Verified { data: Cid::of_digest(&signed.data), prev_data: Cid::of_digest(&before) })
}

/// The root that the commit says its tree had before. A first commit need not name the empty tree.
fn stated_before(commit: RawCommit<'_>) -> Result<Digest, VerifyError> {
    match (commit.prev_data(), commit.since()) {
        (Some(cid), _) => cid.record_digest().ok_or(VerifyError::Before),
        (None, None) => Tree { items: Vec::new() }.root(),
        (None, Some(_)) => Err(VerifyError::Before),
    }
}

fn change_of<'m>(operation: &RawOperation<'m>, blocks: &Blocks<'_>) -> Result<Change<'m>, VerifyError> {
    let path = operation.path.ok_or(VerifyError::Operation("one without a path"))?.as_bytes();
    let digest = |cid: Option<Cid>| cid.and_then(|cid| cid.record_digest());
    let (before, after) = (digest(operation.prev), digest(operation.cid));
    let is_stated = match operation.action {
        Some("create") => operation.prev.is_none() && after.is_some(),
        Some("update") => before.is_some() && after.is_some(),
        Some("delete") => before.is_some() && operation.cid.is_none(),
        _ => false,
    };
    if !is_stated {
        return Err(VerifyError::Operation("one that does not name the record before and after it"));
    }
    if after.is_some_and(|after| blocks.find(&after).is_none()) {
        return Err(VerifyError::Incomplete);
    }
    Ok(Change { path, before, after })
}
