//! Jetstream v1: one JSON message per event.

use serde::Deserialize;

use super::{
    frame::{Frame, Undelivered},
    jetstream::{AccountPart, CommitPart, FieldNames, Head, IdentityPart, Parts, Text, read_message},
    refusal::{Fault, Refusal},
    reject::{Item, RawFormat},
};
use crate::{
    atproto::Timestamp,
    model::{Collections, RejectReason},
};

/// Reads one message. Never fails as a whole: what cannot be read is a reject among the items.
pub fn decode_message(collections: &Collections, message: &[u8]) -> Frame {
    let reject = |fault: Fault| fault.into_item(RawFormat::JetstreamV1, message);
    let envelope = match read_message(message, Envelope::of_parts) {
        Ok(envelope) => envelope,
        Err(refusal) => return Frame { items: vec![reject(refusal.into())], ..Frame::default() },
    };
    let time = envelope.time_us.and_then(Timestamp::from_micros);
    let items = match decode_envelope(collections, &envelope, time) {
        Ok(item) => item.into_iter().collect(),
        Err(fault) => vec![reject(fault)],
    };
    let is_commit = envelope.kind.as_ref().is_none_or(|kind| kind.0 == "commit");
    let rev = envelope.commit.as_ref().and_then(|commit| commit.rev.as_ref());
    let undelivered = || Undelivered::of(&items, Text::of(envelope.did.as_ref()), Text::of(rev));
    let undelivered = is_commit.then(undelivered).flatten();
    Frame { position: envelope.time_us, time, items, link: None, undelivered }
}

const NAMES: FieldNames = FieldNames { top: "", commit: "commit.", number: "time_us", time: "time_us" };

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

impl<'a> Envelope<'a> {
    fn of_parts(parts: &Parts<'a>) -> Self {
        Self {
            did: parts.field("did"),
            time_us: parts.field("time_us"),
            kind: parts.field("kind"),
            commit: parts.part("commit").map(|part| part.commit()),
            identity: parts.identity(),
            account: parts.account(),
        }
    }
}

fn decode_envelope(
    collections: &Collections,
    envelope: &Envelope<'_>,
    time: Option<Timestamp>,
) -> Result<Option<Item>, Fault> {
    // A number that is no moment is as good as none for what needs a moment, but is still a number.
    let head = |is_numbered| Head { names: &NAMES, did: envelope.did.as_ref(), is_numbered, seen: time };
    let kind = envelope.kind.as_ref().ok_or_else(|| Refusal::missing("kind"))?;
    match kind.0.as_ref() {
        "commit" => {
            let commit = envelope.commit.as_ref().ok_or_else(|| Refusal::missing("commit"))?;
            head(envelope.time_us.is_some()).decode_commit(collections, commit)
        }
        "identity" => head(time.is_some()).decode_identity(envelope.identity.as_ref()).map(Some),
        "account" => head(time.is_some()).decode_account(envelope.account.as_ref()).map(Some),
        kind => Err(Refusal::of(RejectReason::UnknownKind, "kind", format!("the kind {kind:?} is not known")).into()),
    }
}
