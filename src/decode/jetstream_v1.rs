//! Jetstream v1: one JSON message per event.
//!
//! The record is skipped, not read, until the collection is known to be ours. What is missing or of the wrong type in the
//! envelope is a reject only where the message could be ours.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    AccountStatus, Body, Collection, Collections, Event, Frame, Item, MESSAGE_MAX, RawFormat, Reason, RecordPath,
    operation::{Fault, RawRecord, Refusal, decode_delete, decode_put},
};
use crate::atproto::{Cid, Did, Handle, RecordKey, Tid, Timestamp};

/// Reads one message. Never fails as a whole: what cannot be read is a reject among the items.
pub fn decode_message(collections: &Collections, message: &[u8]) -> Frame {
    let reject = |fault: Fault| fault.into_item(RawFormat::JetstreamV1, message);
    let envelope = match read_message(message) {
        Ok(envelope) => envelope,
        Err(refusal) => return Frame { items: vec![reject(refusal.into())], ..Frame::default() },
    };
    let items = match decode_envelope(collections, &envelope) {
        Ok(item) => item.into_iter().collect(),
        Err(fault) => vec![reject(fault)],
    };
    Frame { position: envelope.time_us, time: envelope.time(), items, link: None }
}

/// A text that is copied only where it holds escapes.
#[derive(Debug, Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// What a message holds, as far as it is there and of the right type.
#[derive(Debug, Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    did: Option<Text<'a>>,
    time_us: Option<i64>,
    #[serde(borrow)]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    commit: Option<CommitPart<'a>>,
    #[serde(borrow)]
    identity: Option<IdentityPart<'a>>,
    #[serde(borrow)]
    account: Option<AccountPart<'a>>,
}

#[derive(Debug, Deserialize)]
struct CommitPart<'a> {
    #[serde(borrow)]
    rev: Option<Text<'a>>,
    #[serde(borrow)]
    operation: Option<Text<'a>>,
    #[serde(borrow)]
    collection: Option<Text<'a>>,
    #[serde(borrow)]
    rkey: Option<Text<'a>>,
    #[serde(borrow)]
    cid: Option<Text<'a>>,
    #[serde(borrow)]
    record: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
struct IdentityPart<'a> {
    #[serde(borrow)]
    handle: Option<Text<'a>>,
    #[serde(borrow)]
    time: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
struct AccountPart<'a> {
    active: Option<bool>,
    /// `None` where it is absent; a status of another type than text is some.
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    time: Option<Text<'a>>,
}

/// The fields of an object, each unread: the slow way, taken when a field is of the wrong type or there twice.
struct Parts<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Parts<'a> {
    fn read(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok().map(Self)
    }

    fn field<T: Deserialize<'a>>(&self, name: &str) -> Option<T> {
        serde_json::from_str::<Option<T>>(self.0.get(name)?.get()).ok().flatten()
    }

    fn part(&self, name: &str) -> Option<Self> {
        Self::read(self.0.get(name)?.get())
    }

    fn envelope(&self) -> Envelope<'a> {
        Envelope {
            did: self.field("did"),
            time_us: self.field("time_us"),
            kind: self.field("kind"),
            commit: self.part("commit").map(|part| CommitPart {
                rev: part.field("rev"),
                operation: part.field("operation"),
                collection: part.field("collection"),
                rkey: part.field("rkey"),
                cid: part.field("cid"),
                record: part.field("record"),
            }),
            identity: self
                .part("identity")
                .map(|part| IdentityPart { handle: part.field("handle"), time: part.field("time") }),
            account: self.part("account").map(|part| AccountPart {
                active: part.field("active"),
                status: part.field("status"),
                time: part.field("time"),
            }),
        }
    }
}

fn read_message(message: &[u8]) -> Result<Envelope<'_>, Refusal> {
    if message.len() > MESSAGE_MAX {
        return Err(Refusal::whole(Reason::FrameBound, format!("the message has {} bytes", message.len())));
    }
    let not_json = |why: String| Refusal::whole(Reason::FrameEncoding, why);
    let text = std::str::from_utf8(message).map_err(|error| not_json(error.to_string()))?;
    match serde_json::from_str(text) {
        Ok(envelope) => Ok(envelope),
        Err(_) => match Parts::read(text) {
            Some(parts) => Ok(parts.envelope()),
            None => Err(match serde_json::from_str::<IgnoredAny>(text) {
                Ok(_) => Refusal::whole(Reason::Envelope, "the message is not an object"),
                Err(error) => not_json(error.to_string()),
            }),
        },
    }
}

fn decode_envelope(collections: &Collections, envelope: &Envelope<'_>) -> Result<Option<Item>, Fault> {
    match required(envelope.kind.as_ref(), "kind")? {
        "commit" => decode_commit(collections, envelope),
        "identity" => decode_identity(envelope).map(Some),
        "account" => decode_account(envelope).map(Some),
        kind => Err(Refusal::of(Reason::UnknownKind, "kind", format!("the kind {kind:?} is not known")).into()),
    }
}

fn decode_commit(collections: &Collections, envelope: &Envelope<'_>) -> Result<Option<Item>, Fault> {
    let Some(commit) = &envelope.commit else {
        return Err(Refusal::missing("commit").into());
    };
    let Some(collection) = collections.find(required(commit.collection.as_ref(), "commit.collection")?) else {
        return Ok(None);
    };
    let operation = required(commit.operation.as_ref(), "commit.operation")?;
    if operation == "delete" && commit.rkey.as_ref().is_some_and(|rkey| RecordKey::parse(&rkey.0).is_err()) {
        return Ok(None);
    }
    let mut path = read_path(envelope, commit, collection)?;
    if let Some(cid) = commit.cid.as_ref().filter(|_| operation != "delete") {
        match Cid::parse(&cid.0) {
            Ok(cid) => path.cid = Some(cid),
            Err(error) => {
                let refusal = Refusal::invalid("commit.cid", error);
                return Err(Fault::about(path, refusal));
            }
        }
    }
    if envelope.time_us.is_none() {
        return Err(Fault::about(path, Refusal::missing("time_us")));
    }
    match operation {
        "create" | "update" => {
            if path.cid.is_none() {
                return Err(Fault::about(path, Refusal::missing("commit.cid")));
            }
            let Some(record) = commit.record else {
                return Err(Fault::about(path, Refusal::missing("commit.record")));
            };
            let raw = RawRecord { format: RawFormat::RecordJson, bytes: record.get().as_bytes() };
            Ok(Some(decode_put(collections, path, raw)))
        }
        "delete" => Ok(decode_delete(path)),
        other => {
            let detail = format!("the operation {other:?} is not known");
            let refusal = Refusal::of(Reason::UnknownKind, "commit.operation", detail);
            Err(Fault::about(path, refusal))
        }
    }
}

fn read_path(envelope: &Envelope<'_>, commit: &CommitPart<'_>, collection: Collection) -> Result<RecordPath, Refusal> {
    let rev = required(commit.rev.as_ref(), "commit.rev")?;
    let rkey = required(commit.rkey.as_ref(), "commit.rkey")?;
    Ok(RecordPath {
        did: read_did(envelope)?,
        collection,
        rkey: RecordKey::parse(rkey).map_err(|error| Refusal::invalid("commit.rkey", error))?,
        rev: Tid::parse(rev).map_err(|error| Refusal::invalid("commit.rev", error))?,
        cid: None,
    })
}

fn decode_identity(envelope: &Envelope<'_>) -> Result<Item, Fault> {
    let Some(identity) = &envelope.identity else {
        return Err(Refusal::missing("identity").into());
    };
    let did = read_did(envelope)?;
    let handle = identity.handle.as_ref().and_then(|handle| Handle::parse_any_case(&handle.0).ok());
    let handle = handle.filter(|handle| handle.as_str() != "handle.invalid");
    let at = read_time(envelope, identity.time.as_ref())?;
    Ok(Item::Event(Event { did, body: Body::Identity { handle, at } }))
}

fn decode_account(envelope: &Envelope<'_>) -> Result<Item, Fault> {
    let Some(account) = &envelope.account else {
        return Err(Refusal::missing("account").into());
    };
    let did = read_did(envelope)?;
    let active = account.active.ok_or_else(|| Refusal::missing("account.active"))?;
    let status = match account.status {
        None => None,
        Some(raw) => {
            let Text(word) = serde_json::from_str(raw.get()).map_err(|_| Refusal::missing("account.status"))?;
            Some(AccountStatus::from_event(&word, "account.status")?)
        }
    };
    let at = read_time(envelope, account.time.as_ref())?;
    Ok(Item::Event(Event { did, body: Body::Account { active, status, at } }))
}

/// When it happened by the host that told it first, or else when the upstream saw it.
fn read_time(envelope: &Envelope<'_>, time: Option<&Text<'_>>) -> Result<Timestamp, Refusal> {
    let seen = envelope.time().ok_or_else(|| Refusal::missing("time_us"))?;
    Ok(time.and_then(|time| Timestamp::parse(&time.0).ok()).unwrap_or(seen))
}

fn read_did(envelope: &Envelope<'_>) -> Result<Did, Refusal> {
    Did::parse(required(envelope.did.as_ref(), "did")?).map_err(|error| Refusal::invalid("did", error))
}

fn required<'t>(text: Option<&'t Text<'_>>, name: &str) -> Result<&'t str, Refusal> {
    text.map(|text| text.0.as_ref()).ok_or_else(|| Refusal::missing(name))
}

impl Envelope<'_> {
    fn time(&self) -> Option<Timestamp> {
        self.time_us.and_then(Timestamp::from_micros)
    }
}
