//! The raw firehose, `com.atproto.sync.subscribeRepos`: two DAG-CBOR objects per message.
//!
//! [`read_message`] gives what a message holds, of any collection and unchecked; [`decode_message`] goes on from there with
//! the operations on our collections. Blocks are looked at only where such an operation names them.

mod commit;

pub use super::{
    commit_link::{Follows, Link},
    firehose_message::{Blocks, RawCommit, RawMessage, RawOperation, ReadError, read_message},
    frame::Message,
};

use super::{
    frame::{Frame, Undelivered},
    refusal::{Fault, Refusal},
    reject::{Item, RawFormat},
    value::Value,
};
use crate::{
    atproto::{Did, Handle, Tid, Timestamp},
    model::{AccountStatus, Collections, Event, EventBody, HostMoment, RejectReason},
};
use commit::Found;

/// Reads one message. Never fails as a whole: what cannot be read is a reject among the items.
pub fn decode_message(collections: &Collections, message: &[u8]) -> Message {
    let reject = |fault: Fault| fault.into_item(RawFormat::Firehose, message);
    let raw = match read_message(message) {
        Ok(raw) => raw,
        Err(error) => {
            let items = vec![reject(Refusal::whole(error.reason, error.detail).into())];
            return Message::Frame(Frame { items, ..Frame::default() });
        }
    };
    let text = |name| raw.text(name).map(str::to_owned);
    let found = match (raw.operation(), raw.kind()) {
        (Some(-1), _) => return Message::Error { error: text("error").unwrap_or_default(), message: text("message") },
        (Some(1), Some("#info")) => {
            return Message::Info { name: text("name").unwrap_or_default(), message: text("message") };
        }
        (Some(1), Some("#commit")) => commit::decode_commit(collections, &raw),
        (Some(1), Some("#identity")) => decode_identity(&raw).map(only),
        (Some(1), Some("#account")) => decode_account(&raw).map(only),
        (Some(1), Some("#sync")) => decode_sync(&raw).map(only),
        (Some(1), Some(kind)) => {
            Err(Refusal::of(RejectReason::UnknownKind, "t", format!("the type {kind:?} is not known")))
        }
        (Some(1), None) => Err(Refusal::missing("t")),
        (Some(op), _) => Err(Refusal::of(RejectReason::UnknownKind, "op", format!("the operation {op} is not known"))),
        (None, _) => Err(Refusal::missing("op")),
    };
    let items = match found {
        Ok(Found { mut items, fault }) => {
            items.extend(fault.map(reject));
            items
        }
        Err(refusal) => vec![reject(refusal.into())],
    };
    let link = matches!(raw.kind(), Some("#commit" | "#sync")).then(|| Link::read(&raw)).flatten();
    let undelivered = raw.commit().and_then(|commit| Undelivered::of(&items, commit.did(), commit.rev()));
    Message::Frame(Frame { position: raw.position(), time: raw.time(), items, link, undelivered })
}

fn only(event: Event) -> Found {
    Found { items: vec![Item::Event(event)], fault: None }
}

fn decode_identity(raw: &RawMessage<'_>) -> Result<Event, Refusal> {
    let handle = raw.text("handle").and_then(|text| Handle::parse_any_case(text).ok());
    let handle = handle.filter(|handle| handle.as_str() != "handle.invalid");
    let (did, at) = (read_did(raw)?, read_time(raw)?);
    Ok(Event { did, body: EventBody::Identity { handle, at } })
}

fn decode_account(raw: &RawMessage<'_>) -> Result<Event, Refusal> {
    let did = read_did(raw)?;
    let active = raw.field("active").and_then(Value::as_boolean).ok_or_else(|| Refusal::missing("active"))?;
    // `active` governs; a status that is no text is as good as none.
    let status = raw.text("status").map(AccountStatus::parse);
    let at = HostMoment { at: read_time(raw)?, seq: raw.position().unwrap_or(0) };
    Ok(Event { did, body: EventBody::Account { active, status, at } })
}

fn decode_sync(raw: &RawMessage<'_>) -> Result<Event, Refusal> {
    let did = read_did(raw)?;
    let rev = raw.text("rev").ok_or_else(|| Refusal::missing("rev"))?;
    let rev = Tid::parse(rev).map_err(|error| Refusal::invalid("rev", error))?;
    raw.position().ok_or_else(|| Refusal::missing("seq"))?;
    Ok(Event { did, body: EventBody::Sync { rev } })
}

fn read_did(raw: &RawMessage<'_>) -> Result<Did, Refusal> {
    let did = raw.text("did").ok_or_else(|| Refusal::missing("did"))?;
    Did::parse(did).map_err(|error| Refusal::invalid("did", error))
}

fn read_time(raw: &RawMessage<'_>) -> Result<Timestamp, Refusal> {
    raw.position().ok_or_else(|| Refusal::missing("seq"))?;
    raw.time().ok_or_else(|| Refusal::missing("time"))
}
