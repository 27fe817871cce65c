//! The operations of a commit on our collections.

use std::cell::OnceCell;

use super::{
    super::{
        Item, RawFormat,
        operation::{Fault, RawRecord, Refusal, decode_delete, decode_put},
    },
    Blocks, Found, RawCommit, RawMessage, RawOperation,
};
use crate::{
    atproto::{Did, RecordKey, Tid},
    model::{Collection, Collections, RecordPath, RejectReason},
};

/// Reads a commit. The refusal is one that concerns the commit as a whole.
pub(super) fn decode_commit(collections: &Collections, raw: &RawMessage<'_>) -> Result<Found, Refusal> {
    let commit = raw.commit().ok_or_else(|| Refusal::missing("t"))?;
    let mut operations = commit.operations().ok_or_else(|| Refusal::missing("ops"))?.enumerate().peekable();
    if operations.peek().is_none() && commit.is_too_big() {
        let repo = commit.did().unwrap_or("an unknown repo");
        return Err(Refusal::of(
            RejectReason::TooBig,
            "tooBig",
            format!("a commit of {repo} was too big to be carried"),
        ));
    }
    let slice = Slice { raw, commit, blocks: OnceCell::new() };
    let mut found = Found::default();
    for (index, sent) in operations {
        let item = match find_ours(collections, index, sent) {
            Ok(Some(ours)) => slice.decode_operation(collections, &ours),
            Ok(None) => Ok(None),
            Err(refusal) => Err(refusal.into()),
        };
        match item {
            Ok(item) => found.items.extend(item),
            Err(fault) => {
                found.fault.get_or_insert(fault);
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
    let path = sent.path.ok_or_else(|| Refusal::missing(&field(index, "path")))?;
    let (collection, rkey) = path.split_once('/').unwrap_or((path, ""));
    Ok(collections.find(collection).map(|collection| Ours { index, sent, collection, rkey }))
}

/// What the operations of one commit share.
struct Slice<'m> {
    raw: &'m RawMessage<'m>,
    commit: RawCommit<'m>,
    /// Read when the first operation of ours asks for a block; `None` where they cannot be read.
    blocks: OnceCell<Option<Blocks<'m>>>,
}

impl Slice<'_> {
    fn decode_operation(&self, collections: &Collections, ours: &Ours<'_>) -> Result<Option<Item>, Fault> {
        let action = ours.sent.action;
        if action == Some("delete") && RecordKey::parse(ours.rkey).is_err() {
            return Ok(None);
        }
        let path = self.read_path(ours)?;
        match action {
            Some("delete") => Ok(decode_delete(path)),
            Some("create" | "update") if path.cid.is_none() => {
                Err(Fault::about(path, Refusal::missing(&ours.field("cid"))))
            }
            Some("create" | "update") => Ok(Some(self.decode_put(collections, path))),
            Some(other) => {
                let detail = format!("the action {other:?} is not known");
                Err(Fault::about(path, Refusal::of(RejectReason::UnknownKind, ours.field("action"), detail)))
            }
            None => Err(Fault::about(path, Refusal::missing(&ours.field("action")))),
        }
    }

    fn decode_put(&self, collections: &Collections, path: RecordPath) -> Item {
        let block = path.cid.and_then(|cid| self.blocks().and_then(|blocks| blocks.find(&cid)));
        let raw = RawRecord { format: RawFormat::RecordCbor, bytes: block.unwrap_or_default() };
        match decode_put(collections, path, raw) {
            Item::Reject(mut reject) if reject.reason == RejectReason::BlockMissing && self.commit.is_too_big() => {
                reject.reason = RejectReason::TooBig;
                Item::Reject(reject)
            }
            item => item,
        }
    }

    fn read_path(&self, ours: &Ours<'_>) -> Result<RecordPath, Refusal> {
        let invalid = Refusal::invalid;
        let rkey = RecordKey::parse(ours.rkey).map_err(|error| invalid(&ours.field("path"), error))?;
        let did = Did::parse(self.commit.did().ok_or_else(|| Refusal::missing("repo"))?)
            .map_err(|error| invalid("repo", error))?;
        let rev = Tid::parse(self.commit.rev().ok_or_else(|| Refusal::missing("rev"))?)
            .map_err(|error| invalid("rev", error))?;
        self.raw.position().ok_or_else(|| Refusal::missing("seq"))?;
        Ok(RecordPath { did, collection: ours.collection, rkey, rev, cid: ours.sent.cid })
    }

    fn blocks(&self) -> Option<&Blocks<'_>> {
        self.blocks.get_or_init(|| self.commit.blocks().ok()).as_ref()
    }
}
