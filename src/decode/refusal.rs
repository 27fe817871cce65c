use super::{
    record::RecordError,
    reject::{Item, RawFormat, Reject},
};
use crate::{
    atproto::SyntaxError,
    model::{RecordPath, RejectReason},
};

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
            detail: self.detail,
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

impl From<RecordError> for Refusal {
    fn from(error: RecordError) -> Self {
        Self { reason: error.reason, field: error.field, detail: error.detail }
    }
}
