//! A record held against its lexicon.

use super::{Collection, Collections, RawFormat, Reason, Record};
use crate::atproto::RecordKey;

/// Why a record was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{detail}")]
pub struct RecordError {
    /// In one word.
    pub reason: Reason,
    /// The field at fault, as a path.
    pub field: Option<String>,
    /// In one sentence.
    pub detail: String,
}

/// Reads the bytes of a record of one of our collections.
///
/// `format` is [`RawFormat::RecordJson`] or [`RawFormat::RecordCbor`]. The answer is a record that satisfies the lexicon in
/// `lexicons/`, or the first field that breaks it.
pub fn decode_record(
    collections: &Collections,
    collection: Collection,
    rkey: &RecordKey,
    format: RawFormat,
    bytes: &[u8],
) -> Result<Record, RecordError> {
    let _ = (collections, collection, rkey, format, bytes);
    Err(RecordError { reason: Reason::RecordEncoding, field: None, detail: String::new() })
}
