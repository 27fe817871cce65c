//! The operations of a commit on our collections.

use std::cell::LazyCell;

use super::{
    super::{
        Collection, Collections, Item, RawFormat, Reason, RecordPath,
        operation::{RawRecord, Refusal, decode_delete, decode_put},
    },
    Found, RawCommit, RawMessage, RawOperation, missing,
};
use crate::atproto::{Did, RecordKey, Tid};

/// Reads a commit. The refusal is one that concerns the commit as a whole.
pub(super) fn decode_commit(collections: &Collections, raw: &RawMessage<'_>) -> Result<Found, Refusal> {
    let commit = raw.commit().ok_or_else(|| missing("t"))?;
    let mut operations = commit.operations().ok_or_else(|| missing("ops"))?.enumerate().peekable();
    if operations.peek().is_none() && commit.is_too_big() {
        let repo = commit.did().unwrap_or("an unknown repo");
        return Err(Refusal::of(Reason::TooBig, "tooBig", format!("a commit of {repo} was too big to be carried")));
    }
    let blocks = LazyCell::new(|| commit.blocks().ok());
    let mut found = Found::default();
    for (index, sent) in operations {
        let item = match find_ours(collections, index, sent) {
            Ok(None) => continue,
            Ok(Some(ours)) => read_path(raw, commit, &ours).map(|path| {
                let block = || sent.cid.and_then(|cid| blocks.as_ref()?.find(&cid)).unwrap_or_default();
                let big = commit.is_too_big();
                let item = decode_operation(collections, &ours, path, block);
                if big { too_big(item) } else { item }
            }),
            Err(refusal) => Err(refusal),
        };
        match item {
            Ok(item) => found.items.extend(item),
            Err(refusal) => {
                found.fault.get_or_insert(refusal);
            }
        }
    }
    Ok(found)
}

/// An operation on one of our collections.
struct Ours<'m> {
    index: usize,
    sent: RawOperation<'m>,
    collection: Collection,
    rkey: &'m str,
}

impl Ours<'_> {
    fn field(&self, name: &str) -> String {
        field(self.index, name)
    }
}

fn field(index: usize, name: &str) -> String {
    format!("ops[{index}].{name}")
}

fn find_ours<'m>(collections: &Collections, index: usize, sent: RawOperation<'m>) -> Result<Option<Ours<'m>>, Refusal> {
    let path = sent.path.ok_or_else(|| missing(&field(index, "path")))?;
    let (collection, rkey) = path.split_once('/').unwrap_or((path, ""));
    Ok(collections.find(collection).map(|collection| Ours { index, sent, collection, rkey }))
}

/// `None` for the delete of a key that no record can have.
fn read_path(raw: &RawMessage<'_>, commit: RawCommit<'_>, ours: &Ours<'_>) -> Result<Option<RecordPath>, Refusal> {
    let rkey = match (RecordKey::parse(ours.rkey), ours.sent.action) {
        (Ok(rkey), _) => rkey,
        (Err(_), Some("delete")) => return Ok(None),
        (Err(error), _) => return Err(Refusal::of(Reason::Identifier, ours.field("path"), error.to_string())),
    };
    let did = Did::parse(commit.did().ok_or_else(|| missing("repo"))?)
        .map_err(|error| Refusal::of(Reason::Identifier, "repo", error.to_string()))?;
    let rev = Tid::parse(commit.rev().ok_or_else(|| missing("rev"))?)
        .map_err(|error| Refusal::of(Reason::Identifier, "rev", error.to_string()))?;
    raw.position().ok_or_else(|| missing("seq"))?;
    Ok(Some(RecordPath { did, collection: ours.collection, rkey, rev, cid: ours.sent.cid }))
}

fn decode_operation<'m>(
    collections: &Collections,
    ours: &Ours<'_>,
    path: Option<RecordPath>,
    block: impl FnOnce() -> &'m [u8],
) -> Option<Item> {
    let path = path?;
    let reject =
        |path, refusal: Refusal| Some(Item::Reject(Box::new(refusal.about(Some(path), RawFormat::RecordCbor, &[]))));
    match ours.sent.action {
        Some("delete") => decode_delete(path),
        Some("create" | "update") if path.cid.is_none() => reject(path, missing(&ours.field("cid"))),
        Some("create" | "update") => {
            Some(decode_put(collections, path, RawRecord { format: RawFormat::RecordCbor, bytes: block() }))
        }
        Some(other) => {
            let detail = format!("the action {other:?} is not known");
            reject(path, Refusal::of(Reason::UnknownKind, ours.field("action"), detail))
        }
        None => reject(path, missing(&ours.field("action"))),
    }
}

/// In a commit that says it is too big, that is why a block is missing.
fn too_big(item: Option<Item>) -> Option<Item> {
    match item {
        Some(Item::Reject(mut reject)) if reject.reason == Reason::BlockMissing => {
            reject.reason = Reason::TooBig;
            Some(Item::Reject(reject))
        }
        other => other,
    }
}
