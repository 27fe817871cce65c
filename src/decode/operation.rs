//! From an operation on one of our collections to an item: the step that all dialects share.

use super::{
    record::{RawRecord, decode_record},
    refusal::Refusal,
    reject::{Item, RawFormat},
};
use crate::{
    atproto::Cid,
    model::{Collections, Commit, Event, EventBody, Operation, Record, RecordPath, RejectReason},
};

/// A create or an update. `path.cid` must be there.
pub(super) fn decode_put(collections: &Collections, path: RecordPath, raw: RawRecord<'_>) -> Item {
    match read_put(collections, &path, raw) {
        Ok((cid, record)) => {
            let operation = Operation::Put { cid, record };
            let commit = Commit { rev: path.rev, collection: path.collection, rkey: path.rkey, operation };
            Item::Event(Event { did: path.did, body: EventBody::Commit(Box::new(commit)) })
        }
        Err(refusal) => Item::Reject(Box::new(refusal.about(Some(path), raw.format, raw.bytes))),
    }
}

fn read_put(collections: &Collections, path: &RecordPath, raw: RawRecord<'_>) -> Result<(Cid, Record), Refusal> {
    let cid = path.cid.ok_or_else(|| Refusal::of(RejectReason::Envelope, "cid", "the operation names no CID"))?;
    if raw.format == RawFormat::RecordCbor {
        if raw.bytes.is_empty() {
            return Err(Refusal::whole(RejectReason::BlockMissing, "the commit does not carry the record's block"));
        }
        if Cid::of_record(raw.bytes) != cid {
            return Err(Refusal::whole(RejectReason::CidMismatch, "the bytes do not hash to the CID"));
        }
    }
    let record = decode_record(collections, path.collection, &path.rkey, raw)?;
    Ok((cid, record))
}

/// A delete. Where the key is of a form that no record of ours can have, there was nothing to delete.
pub(super) fn decode_delete(path: RecordPath) -> Option<Item> {
    path.collection.key_form().fits(&path.rkey).then(|| {
        let RecordPath { did, collection, rkey, rev, .. } = path;
        let commit = Commit { rev, collection, rkey, operation: Operation::Delete };
        Item::Event(Event { did, body: EventBody::Commit(Box::new(commit)) })
    })
}

/// Reads a record as its PDS gives it: in JSON, where it was listed, or in DAG-CBOR, where the repo came as a whole. `path.cid` must
/// be there.
pub fn decode_read(collections: &Collections, path: RecordPath, format: RawFormat, bytes: &[u8]) -> Item {
    decode_put(collections, path, RawRecord { format, bytes })
}
