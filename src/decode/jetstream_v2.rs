//! Jetstream v2, `network.bsky.jetstream.subscribeEvents`: one JSON message per event, in the envelope of `xrpc.v1.json`.
//!
//! A type that is not known, of the envelope or of what is in it, is skipped: that is how the protocol grows.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    frame::{Frame, Message, Undelivered},
    jetstream::{AccountPart, CommitPart, FieldNames, Head, IdentityPart, Parts, Text, read_message},
    refusal::{Fault, Refusal},
    reject::{Item, RawFormat},
};
use crate::{
    atproto::{Tid, Timestamp},
    model::{Collections, Event, EventBody},
};

/// Begins the type of every payload.
const TYPE_PREFIX: &str = "network.bsky.jetstream.subscribeEvents#";
const NAMES: FieldNames = FieldNames { top: "payload.", commit: "payload.", number: "seq", time: "time" };

/// Reads one message. Never fails as a whole: what cannot be read is a reject among the items.
pub fn decode_message(collections: &Collections, message: &[u8]) -> Message {
    let frame = |items| Message::Frame(Frame { items, ..Frame::default() });
    let broken = |fault: Fault| vec![fault.into_item(RawFormat::JetstreamV2, message)];
    let envelope = match read_message(message, Envelope::of_parts) {
        Ok(envelope) => envelope,
        Err(refusal) => return frame(broken(refusal.into())),
    };
    let payload = match envelope.unwrap_payload() {
        Ok(Some(payload)) => payload,
        Ok(None) => return frame(Vec::new()),
        Err(Unusable::Error { error, message }) => return Message::Error { error, message },
        Err(Unusable::Broken(refusal)) => return frame(broken(refusal.into())),
    };
    if payload.kind() == Some("info") {
        return Message::Info { name: owned(payload.name).unwrap_or_default(), message: owned(payload.message) };
    }
    let (position, time) = (payload.seq, payload.time());
    let is_commit = payload.kind().is_none_or(|kind| kind == "commit");
    let (did, rev) = (payload.did.clone(), payload.rev.clone());
    let items = match decode_payload(collections, payload, time) {
        Ok(item) => item.into_iter().collect(),
        Err(fault) => broken(fault),
    };
    let undelivered = || Undelivered::of(&items, Text::of(did.as_ref()), Text::of(rev.as_ref()));
    let undelivered = is_commit.then(undelivered).flatten();
    Message::Frame(Frame { position, time, items, link: None, undelivered })
}

/// What a message holds, as far as it is there and of the right type.
#[derive(Debug, Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, rename = "$type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    payload: Option<Payload<'a>>,
    #[serde(borrow)]
    error: Option<Text<'a>>,
    #[serde(borrow)]
    message: Option<Text<'a>>,
}

/// An envelope without a payload to read.
enum Unusable {
    /// The upstream says that it is about to close.
    Error { error: String, message: Option<String> },
    /// The message is malformed.
    Broken(Refusal),
}

impl<'a> Envelope<'a> {
    fn of_parts(parts: &Parts<'a>) -> Self {
        Self {
            kind: parts.field("$type"),
            payload: parts.part("payload").map(|part| Payload::of_parts(&part)),
            error: parts.field("error"),
            message: parts.field("message"),
        }
    }

    /// None: of a type that is not known.
    fn unwrap_payload(self) -> Result<Option<Payload<'a>>, Unusable> {
        let Some(kind) = &self.kind else { return Err(Unusable::Broken(Refusal::missing("$type"))) };
        match kind.0.as_ref() {
            "message" => self.payload.map(Some).ok_or_else(|| Unusable::Broken(Refusal::missing("payload"))),
            "error" => {
                Err(Unusable::Error { error: owned(self.error).unwrap_or_default(), message: owned(self.message) })
            }
            _ => Ok(None),
        }
    }
}

/// Of all kinds: the fields of an operation lie beside the others.
#[derive(Debug, Deserialize)]
struct Payload<'a> {
    #[serde(borrow, rename = "$type")]
    full_kind: Option<Text<'a>>,
    seq: Option<i64>,
    #[serde(borrow)]
    did: Option<Text<'a>>,
    #[serde(borrow)]
    time: Option<Text<'a>>,
    #[serde(borrow, rename = "witnessedAt")]
    witnessed_at: Option<Text<'a>>,
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
    #[serde(borrow)]
    identity: Option<IdentityPart<'a>>,
    #[serde(borrow)]
    account: Option<AccountPart<'a>>,
    #[serde(borrow)]
    sync: Option<SyncPart<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    message: Option<Text<'a>>,
}

/// What the relay head of a repo that diverged. The blocks that it sent along are not read.
#[derive(Debug, Deserialize)]
struct SyncPart<'a> {
    #[serde(borrow)]
    rev: Option<Text<'a>>,
}

impl<'a> Payload<'a> {
    fn of_parts(parts: &Parts<'a>) -> Self {
        let CommitPart { rev, operation, collection, rkey, cid, record } = parts.commit();
        Self {
            full_kind: parts.field("$type"),
            seq: parts.field("seq"),
            did: parts.field("did"),
            time: parts.field("time"),
            witnessed_at: parts.field("witnessedAt"),
            rev,
            operation,
            collection,
            rkey,
            cid,
            record,
            identity: parts.identity(),
            account: parts.account(),
            sync: parts.part("sync").map(|part| SyncPart { rev: part.field("rev") }),
            name: parts.field("name"),
            message: parts.field("message"),
        }
    }

    /// The part of the type that tells the kinds apart; empty for a type of another protocol.
    fn kind(&self) -> Option<&str> {
        let full = self.full_kind.as_ref()?.0.as_ref();
        Some(full.strip_prefix(TYPE_PREFIX).unwrap_or_default())
    }

    /// When the upstream saw it: an operator's import may alter `time`, but not the other.
    fn time(&self) -> Option<Timestamp> {
        let moment = |text: &Option<Text<'_>>| Timestamp::parse(&text.as_ref()?.0).ok();
        moment(&self.witnessed_at).or_else(|| moment(&self.time))
    }
}

fn decode_payload(
    collections: &Collections,
    payload: Payload<'_>,
    seen: Option<Timestamp>,
) -> Result<Option<Item>, Fault> {
    let head = Head { names: &NAMES, did: payload.did.as_ref(), is_numbered: payload.seq.is_some(), seen };
    match payload.kind() {
        Some("commit") => {
            let Payload { rev, operation, collection, rkey, cid, record, .. } = payload;
            head.decode_commit(collections, &CommitPart { rev, operation, collection, rkey, cid, record })
        }
        Some("identity") => head.decode_identity(payload.identity.as_ref()).map(Some),
        Some("account") => head.decode_account(payload.account.as_ref()).map(Some),
        Some("sync") => decode_sync(&head, payload.sync.as_ref()).map(Some),
        Some(_) => Ok(None),
        None => Err(head.missing("$type").into()),
    }
}

fn decode_sync(head: &Head<'_, '_>, sync: Option<&SyncPart<'_>>) -> Result<Item, Fault> {
    let sync = sync.ok_or_else(|| head.missing("sync"))?;
    let did = head.read_did()?;
    let rev = sync.rev.as_ref().ok_or_else(|| head.missing("sync.rev"))?;
    let rev = Tid::parse(&rev.0).map_err(|error| Refusal::invalid(&head.field("sync.rev"), error))?;
    if !head.is_numbered {
        return Err(head.missing(NAMES.number).into());
    }
    Ok(Item::Event(Event { did, body: EventBody::Sync { rev } }))
}

fn owned(text: Option<Text<'_>>) -> Option<String> {
    text.map(|text| text.0.into_owned())
}
