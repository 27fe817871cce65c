//! From an operation on one of our collections to an item: the step that all dialects share.

use super::{Item, Message, RawFormat, Reject, firehose, jetstream_v1, jetstream_v2, record};
use crate::{
    atproto::{Cid, SyntaxError},
    model::{AccountStatus, Collections, Commit, Event, EventBody, Operation, RecordPath, RejectReason},
};

/// The bytes of a record as its commit carries them.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawRecord<'a> {
    /// [`RawFormat::RecordJson`] or [`RawFormat::RecordCbor`].
    pub format: RawFormat,
    /// Empty where the commit names a block that it does not carry.
    pub bytes: &'a [u8],
}

/// A create or an update. `path.cid` must be there.
pub(super) fn decode_put(collections: &Collections, path: RecordPath, raw: RawRecord<'_>) -> Item {
    let Some(cid) = path.cid else {
        return refuse(path, raw, Refusal::of(RejectReason::Envelope, "cid", "the operation names no CID"));
    };
    if raw.format == RawFormat::RecordCbor {
        if raw.bytes.is_empty() {
            return refuse(
                path,
                raw,
                Refusal::whole(RejectReason::BlockMissing, "the commit does not carry the record's block"),
            );
        }
        if Cid::of_record(raw.bytes) != cid {
            return refuse(path, raw, Refusal::whole(RejectReason::CidMismatch, "the bytes do not hash to the CID"));
        }
    }
    match record::decode_record(collections, path.collection, &path.rkey, raw.format, raw.bytes) {
        Ok(record) => {
            let operation = Operation::Put { cid, record };
            let commit = Commit { rev: path.rev, collection: path.collection, rkey: path.rkey, operation };
            Item::Event(Event { did: path.did, body: EventBody::Commit(Box::new(commit)) })
        }
        Err(error) => refuse(path, raw, Refusal { reason: error.reason, field: error.field, detail: error.detail }),
    }
}

/// A delete. Where the key is of a form that no record of ours can have, there was nothing to delete.
pub(super) fn decode_delete(path: RecordPath) -> Option<Item> {
    record::has_key_form(path.collection, &path.rkey).then(|| {
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

/// Reads again what was refused earlier, from the bytes that were kept.
///
/// `path` must be given for a record, as it was in the reject. Bytes that are still refused give a reject again; a message
/// of which nothing is ours any more gives no item.
pub fn decode_reject(collections: &Collections, format: RawFormat, path: Option<&RecordPath>, raw: &[u8]) -> Vec<Item> {
    match (format, path) {
        (RawFormat::JetstreamV1, _) => jetstream_v1::decode_message(collections, raw).items,
        (RawFormat::JetstreamV2, _) => items(jetstream_v2::decode_message(collections, raw)),
        (RawFormat::Firehose, _) => items(firehose::decode_message(collections, raw)),
        (RawFormat::RecordJson | RawFormat::RecordCbor, Some(path)) => {
            vec![decode_put(collections, path.clone(), RawRecord { format, bytes: raw })]
        }
        (RawFormat::RecordJson | RawFormat::RecordCbor, None) => {
            let refusal = Refusal::whole(RejectReason::Envelope, "a record without its path cannot be applied");
            vec![Item::Reject(Box::new(refusal.about(None, format, raw)))]
        }
    }
}

fn items(message: Message) -> Vec<Item> {
    match message {
        Message::Frame(frame) => frame.items,
        Message::Info { .. } | Message::Error { .. } => Vec::new(),
    }
}

fn refuse(path: RecordPath, raw: RawRecord<'_>, refusal: Refusal) -> Item {
    Item::Reject(Box::new(refusal.about(Some(path), raw.format, raw.bytes)))
}

/// Why something is refused, before it is said about what.
#[derive(Debug)]
pub(super) struct Refusal {
    /// In one word.
    pub reason: RejectReason,
    /// The field at fault.
    pub field: Option<String>,
    /// In one sentence.
    pub detail: String,
}

impl Refusal {
    /// Because of one field.
    pub(super) fn of(reason: RejectReason, field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { reason, field: Some(field.into()), detail: detail.into() }
    }

    /// Because of no field in particular.
    pub(super) fn whole(reason: RejectReason, detail: impl Into<String>) -> Self {
        Self { reason, field: None, detail: detail.into() }
    }

    /// Because a field of the envelope is not what its dialect says.
    pub(super) fn missing(name: &str) -> Self {
        Self::of(RejectReason::Envelope, name, format!("`{name}` is missing or of the wrong type"))
    }

    /// Because a field of the envelope is no identifier.
    pub(super) fn invalid(name: &str, error: SyntaxError) -> Self {
        Self::of(RejectReason::Identifier, name, error.to_string())
    }

    /// The reject, with as much of the bytes as is kept.
    pub(super) fn about(self, path: Option<RecordPath>, raw_format: RawFormat, raw: &[u8]) -> Reject {
        Reject {
            reason: self.reason,
            field: self.field,
            // The detail may quote the input, and goes to the same database as the texts of records.
            detail: self.detail.chars().filter(|c| *c != '\0').take(300).collect(),
            path,
            raw_format,
            raw: raw[..raw.len().min(Reject::RAW_MAX)].to_vec(),
            raw_length: raw.len(),
        }
    }
}

/// Something in a message for which the whole message is kept.
#[derive(Debug)]
pub(super) struct Fault {
    path: Option<Box<RecordPath>>,
    refusal: Refusal,
}

impl Fault {
    /// In what the message says of a record.
    pub(super) fn about(path: RecordPath, refusal: Refusal) -> Self {
        Self { path: Some(Box::new(path)), refusal }
    }

    /// The reject that keeps the message.
    pub(super) fn into_item(self, format: RawFormat, message: &[u8]) -> Item {
        Item::Reject(Box::new(self.refusal.about(self.path.map(|path| *path), format, message)))
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self { path: None, refusal }
    }
}

/// The status in an account event, if the database can hold it.
pub(super) fn account_status(word: &str, field: &str) -> Result<AccountStatus, Refusal> {
    if word.contains('\0') {
        return Err(Refusal::of(RejectReason::NulCharacter, field, format!("`{field}` holds U+0000")));
    }
    Ok(AccountStatus::parse(word))
}
