//! What a message holds, of any collection and unchecked.

use std::collections::HashMap;

use super::super::{
    MESSAGE_MAX, car,
    value::{Value, ValueError},
};
use crate::{
    atproto::{Cid, Timestamp},
    model::RejectReason,
};

/// A message whose two objects could be read.
#[derive(Debug)]
pub struct RawMessage<'a> {
    header: Value<'a>,
    payload: Value<'a>,
}

/// A `#commit` as it was sent.
#[derive(Debug, Clone, Copy)]
pub struct RawCommit<'m> {
    payload: &'m Value<'m>,
}

/// One operation as it was sent; what is missing or of the wrong type is `None`.
#[derive(Debug, Clone, Copy)]
pub struct RawOperation<'m> {
    /// `create`, `update` or `delete`.
    pub action: Option<&'m str>,
    /// Collection and record key, with a slash between.
    pub path: Option<&'m str>,
    /// Of the record; a delete has none.
    pub cid: Option<Cid>,
    /// Of the record that it replaces or deletes; a create has none.
    pub prev: Option<Cid>,
}

/// The blocks that a commit carries.
#[derive(Debug)]
pub struct Blocks<'m>(HashMap<Cid, &'m [u8]>);

/// A message that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub struct ReadError {
    /// [`RejectReason::FrameEncoding`] or [`RejectReason::FrameBound`].
    pub reason: RejectReason,
    /// In one sentence.
    pub detail: String,
}

/// Reads the two objects of a message.
pub fn read_message(message: &[u8]) -> Result<RawMessage<'_>, ReadError> {
    if message.len() > MESSAGE_MAX {
        let detail = format!("the message has {} bytes", message.len());
        return Err(ReadError { reason: RejectReason::FrameBound, detail });
    }
    match Value::pair_from_cbor(message) {
        Ok((header, payload)) => Ok(RawMessage { header, payload }),
        Err(error @ ValueError::Bound(_)) => {
            Err(ReadError { reason: RejectReason::FrameBound, detail: error.to_string() })
        }
        Err(error @ ValueError::Encoding(_)) => {
            Err(ReadError { reason: RejectReason::FrameEncoding, detail: error.to_string() })
        }
    }
}

impl RawMessage<'_> {
    /// The commit, if the message is one.
    pub fn commit(&self) -> Option<RawCommit<'_>> {
        let is_commit = self.operation() == Some(1) && self.kind() == Some("#commit");
        is_commit.then_some(RawCommit { payload: &self.payload })
    }

    /// What the header calls `op`: 1 a message, -1 an error.
    pub(super) fn operation(&self) -> Option<i64> {
        self.header.field("op").and_then(Value::as_integer)
    }

    /// What the header calls `t`, such as `#commit`.
    pub(super) fn kind(&self) -> Option<&str> {
        self.header.field("t").and_then(Value::as_text)
    }

    /// A field of the payload.
    pub(super) fn field(&self, name: &str) -> Option<&Value<'_>> {
        self.payload.field(name)
    }

    /// A text of the payload.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.field(name).and_then(Value::as_text)
    }

    /// The sequence number.
    pub(super) fn position(&self) -> Option<i64> {
        self.payload.field("seq").and_then(Value::as_integer)
    }

    /// When the upstream saw it.
    pub(super) fn time(&self) -> Option<Timestamp> {
        self.text("time").and_then(|text| Timestamp::parse(text).ok())
    }
}

impl<'m> RawCommit<'m> {
    /// Whose repo.
    pub fn did(&self) -> Option<&'m str> {
        self.payload.field("repo").and_then(Value::as_text)
    }

    /// Of the commit, and so of all its operations.
    pub fn rev(&self) -> Option<&'m str> {
        self.payload.field("rev").and_then(Value::as_text)
    }

    /// In their order; `None` where the list is missing.
    pub fn operations(&self) -> Option<impl Iterator<Item = RawOperation<'m>> + use<'m>> {
        let Some(Value::List(operations)) = self.payload.field("ops") else {
            return None;
        };
        Some(operations.iter().map(|operation| RawOperation {
            action: operation.field("action").and_then(Value::as_text),
            path: operation.field("path").and_then(Value::as_text),
            cid: operation.field("cid").and_then(Value::as_link),
            prev: operation.field("prev").and_then(Value::as_link),
        }))
    }

    /// Of the signed commit.
    pub fn cid(&self) -> Option<Cid> {
        self.payload.field("commit").and_then(Value::as_link)
    }

    /// The rev of the commit before this one; none in the first.
    pub fn since(&self) -> Option<&'m str> {
        self.payload.field("since").and_then(Value::as_text)
    }

    /// The root of the tree that the commit before this one left.
    pub fn prev_data(&self) -> Option<Cid> {
        self.payload.field("prevData").and_then(Value::as_link)
    }

    /// The slice of the repo that came along, as a CAR.
    pub fn slice(&self) -> Option<&'m [u8]> {
        match self.payload.field("blocks") {
            Some(Value::Bytes(car)) => Some(car),
            _ => None,
        }
    }

    /// The slice of the repo that came along. Says why it cannot be read.
    pub fn blocks(&self) -> Result<Blocks<'m>, &'static str> {
        car::read_blocks(self.slice().ok_or("there are no blocks")?).map(Blocks)
    }

    /// Whether the host left out what happened.
    pub(super) fn is_too_big(self) -> bool {
        self.payload.field("tooBig").and_then(Value::as_boolean) == Some(true)
    }
}

impl<'m> Blocks<'m> {
    /// The bytes that were sent under this name; whether they hash to it is not checked here.
    pub fn find(&self, cid: &Cid) -> Option<&'m [u8]> {
        self.0.get(cid).copied()
    }
}
