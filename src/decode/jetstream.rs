//! What both versions of Jetstream share: JSON messages whose parts are the same and whose envelopes differ.
//!
//! The record is skipped, not read, until the collection is known to be ours. What is missing or of the wrong type in the
//! envelope is a reject only where the message could be ours.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    firehose_message::MESSAGE_MAX,
    operation::{decode_delete, decode_put},
    record::RawRecord,
    refusal::{Fault, Refusal},
    reject::{Item, RawFormat},
};
use crate::{
    atproto::{Cid, Did, Handle, RecordKey, Tid, Timestamp},
    model::{AccountStatus, Collection, Collections, Event, EventBody, HostMoment, RecordPath, RejectReason},
};

/// A text that is copied only where it holds escapes.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

impl Text<'_> {
    /// The text of a field that may be absent.
    pub(super) fn of<'t>(field: Option<&'t Text<'_>>) -> Option<&'t str> {
        field.map(|text| text.0.as_ref())
    }
}

/// One operation, as far as it is there and of the right type.
#[derive(Debug, Deserialize)]
pub(super) struct CommitPart<'a> {
    #[serde(borrow)]
    pub(super) rev: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) operation: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) collection: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) rkey: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) cid: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) record: Option<&'a RawValue>,
}

/// What the upstream says of an identity.
#[derive(Debug, Deserialize)]
pub(super) struct IdentityPart<'a> {
    #[serde(borrow)]
    handle: Option<Text<'a>>,
    #[serde(borrow)]
    time: Option<Text<'a>>,
}

/// What the upstream says of an account.
#[derive(Debug, Deserialize)]
pub(super) struct AccountPart<'a> {
    active: Option<bool>,
    /// `None` where it is absent; a status of another type than text is some.
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    /// Likewise: of another type than a number it is as good as none.
    #[serde(borrow)]
    seq: Option<&'a RawValue>,
    #[serde(borrow)]
    time: Option<Text<'a>>,
}

/// The fields of an object, each unread: the slow way, taken when a field is of the wrong type or there twice.
pub(super) struct Parts<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Parts<'a> {
    fn read(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok().map(Self)
    }

    /// A field of the right type.
    pub(super) fn field<T: Deserialize<'a>>(&self, name: &str) -> Option<T> {
        serde_json::from_str::<Option<T>>(self.0.get(name)?.get()).ok().flatten()
    }

    /// The fields of a field that is an object.
    pub(super) fn part(&self, name: &str) -> Option<Self> {
        Self::read(self.0.get(name)?.get())
    }

    /// The operation whose fields these are.
    pub(super) fn commit(&self) -> CommitPart<'a> {
        CommitPart {
            rev: self.field("rev"),
            operation: self.field("operation"),
            collection: self.field("collection"),
            rkey: self.field("rkey"),
            cid: self.field("cid"),
            record: self.field("record"),
        }
    }

    /// What `identity` holds.
    pub(super) fn identity(&self) -> Option<IdentityPart<'a>> {
        self.part("identity").map(|part| IdentityPart { handle: part.field("handle"), time: part.field("time") })
    }

    /// What `account` holds.
    pub(super) fn account(&self) -> Option<AccountPart<'a>> {
        self.part("account").map(|part| AccountPart {
            active: part.field("active"),
            status: part.field("status"),
            seq: part.field("seq"),
            time: part.field("time"),
        })
    }
}

/// Reads the envelope of a message, by the slow way where the quick one fails.
pub(super) fn read_message<'a, E: Deserialize<'a>>(
    message: &'a [u8],
    of_parts: impl Fn(&Parts<'a>) -> E,
) -> Result<E, Refusal> {
    if message.len() > MESSAGE_MAX {
        return Err(Refusal::whole(RejectReason::FrameBound, format!("the message has {} bytes", message.len())));
    }
    let not_json = |why: String| Refusal::whole(RejectReason::FrameEncoding, why);
    let text = std::str::from_utf8(message).map_err(|error| not_json(error.to_string()))?;
    match serde_json::from_str(text) {
        Ok(envelope) => Ok(envelope),
        Err(_) => match Parts::read(text) {
            Some(parts) => Ok(of_parts(&parts)),
            None => Err(match serde_json::from_str::<IgnoredAny>(text) {
                Ok(_) => Refusal::whole(RejectReason::Envelope, "the message is not an object"),
                Err(error) => not_json(error.to_string()),
            }),
        },
    }
}

/// Where a dialect keeps things; each ends where a name follows.
#[derive(Debug)]
pub(super) struct FieldNames {
    /// The fields that all kinds have, and the parts of those that are no commits.
    pub(super) top: &'static str,
    /// The fields of an operation.
    pub(super) commit: &'static str,
    /// The number of the message.
    pub(super) number: &'static str,
    /// When the upstream saw it.
    pub(super) time: &'static str,
}

/// What a message says whatever its kind, and how its dialect calls it.
#[derive(Debug)]
pub(super) struct Head<'e, 'a> {
    pub(super) names: &'static FieldNames,
    pub(super) did: Option<&'e Text<'a>>,
    /// Whether the message has a number.
    pub(super) is_numbered: bool,
    /// When the upstream saw it.
    pub(super) seen: Option<Timestamp>,
}

impl Head<'_, '_> {
    /// An operation on one of our collections; nothing if it is on another.
    pub(super) fn decode_commit(
        &self,
        collections: &Collections,
        commit: &CommitPart<'_>,
    ) -> Result<Option<Item>, Fault> {
        let Some(collection) = collections.find(self.in_commit(commit.collection.as_ref(), "collection")?) else {
            return Ok(None);
        };
        let operation = self.in_commit(commit.operation.as_ref(), "operation")?;
        if operation == "delete" && commit.rkey.as_ref().is_some_and(|rkey| RecordKey::parse(&rkey.0).is_err()) {
            return Ok(None);
        }
        let mut path = self.read_path(commit, collection)?;
        if let Some(cid) = commit.cid.as_ref().filter(|_| operation != "delete") {
            match Cid::parse(&cid.0) {
                Ok(cid) => path.cid = Some(cid),
                Err(error) => {
                    let refusal = Refusal::invalid(&self.commit_field("cid"), error);
                    return Err(Fault::about(path, refusal));
                }
            }
        }
        if !self.is_numbered {
            return Err(Fault::about(path, self.missing(self.names.number)));
        }
        match operation {
            "create" | "update" => {
                if path.cid.is_none() {
                    return Err(Fault::about(path, Refusal::missing(&self.commit_field("cid"))));
                }
                let Some(record) = commit.record else {
                    return Err(Fault::about(path, Refusal::missing(&self.commit_field("record"))));
                };
                let raw = RawRecord { format: RawFormat::RecordJson, bytes: record.get().as_bytes() };
                Ok(Some(decode_put(collections, path, raw)))
            }
            "delete" => Ok(decode_delete(path)),
            other => {
                let detail = format!("the operation {other:?} is not known");
                let refusal = Refusal::of(RejectReason::UnknownKind, self.commit_field("operation"), detail);
                Err(Fault::about(path, refusal))
            }
        }
    }

    fn read_path(&self, commit: &CommitPart<'_>, collection: Collection) -> Result<RecordPath, Refusal> {
        let rev = self.in_commit(commit.rev.as_ref(), "rev")?;
        let rkey = self.in_commit(commit.rkey.as_ref(), "rkey")?;
        Ok(RecordPath {
            did: self.read_did()?,
            collection,
            rkey: RecordKey::parse(rkey).map_err(|error| Refusal::invalid(&self.commit_field("rkey"), error))?,
            rev: Tid::parse(rev).map_err(|error| Refusal::invalid(&self.commit_field("rev"), error))?,
            cid: None,
        })
    }

    /// A change of handle or document.
    pub(super) fn decode_identity(&self, identity: Option<&IdentityPart<'_>>) -> Result<Item, Fault> {
        let identity = identity.ok_or_else(|| self.missing("identity"))?;
        let did = self.read_did()?;
        let handle = identity.handle.as_ref().and_then(|handle| Handle::parse_any_case(&handle.0).ok());
        let handle = handle.filter(|handle| handle.as_str() != "handle.invalid");
        let at = self.read_time(identity.time.as_ref())?;
        Ok(Item::Event(Event { did, body: EventBody::Identity { handle, at } }))
    }

    /// A change of an account's state.
    pub(super) fn decode_account(&self, account: Option<&AccountPart<'_>>) -> Result<Item, Fault> {
        let account = account.ok_or_else(|| self.missing("account"))?;
        let did = self.read_did()?;
        let active = account.active.ok_or_else(|| self.missing("account.active"))?;
        // `active` governs; a status that is no text is as good as none.
        let word = account.status.and_then(|raw| serde_json::from_str::<Text<'_>>(raw.get()).ok());
        let status = word.map(|word| AccountStatus::parse(&word.0));
        let seq = account.seq.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or(0);
        let at = HostMoment { at: self.read_time(account.time.as_ref())?, seq };
        Ok(Item::Event(Event { did, body: EventBody::Account { active, status, at } }))
    }

    /// When it happened by the host that sent it first, or else when the upstream saw it.
    fn read_time(&self, time: Option<&Text<'_>>) -> Result<Timestamp, Refusal> {
        if !self.is_numbered {
            return Err(self.missing(self.names.number));
        }
        let stated = time.and_then(|time| Timestamp::parse(&time.0).ok());
        stated.or(self.seen).ok_or_else(|| self.missing(self.names.time))
    }

    /// Whose repo or account.
    pub(super) fn read_did(&self) -> Result<Did, Refusal> {
        let did = self.did.ok_or_else(|| self.missing("did"))?;
        Did::parse(&did.0).map_err(|error| Refusal::invalid(&self.field("did"), error))
    }

    fn in_commit<'t>(&self, text: Option<&'t Text<'_>>, name: &str) -> Result<&'t str, Refusal> {
        Text::of(text).ok_or_else(|| Refusal::missing(&self.commit_field(name)))
    }

    /// The refusal of a message in which something is missing or of the wrong type.
    pub(super) fn missing(&self, name: &str) -> Refusal {
        Refusal::missing(&self.field(name))
    }

    /// The path of a field.
    pub(super) fn field(&self, name: &str) -> String {
        format!("{}{name}", self.names.top)
    }

    fn commit_field(&self, name: &str) -> String {
        format!("{}{name}", self.names.commit)
    }
}
