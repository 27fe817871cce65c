use crate::model::RejectReason;

/// Why a record was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{detail}")]
pub struct RecordError {
    /// In one word.
    pub reason: RejectReason,
    /// The field at fault, as a path.
    pub field: Option<String>,
    /// In one sentence.
    pub detail: String,
}

impl RecordError {
    /// The record as a whole is not of the data model.
    pub(super) fn encoding(detail: impl Into<String>) -> Self {
        Self { reason: RejectReason::RecordEncoding, field: None, detail: detail.into() }
    }
}
