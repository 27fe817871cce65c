use super::error::RecordError;
use crate::decode::{reject::RawFormat, value::Value};

/// The bytes of a record as its host sent them.
#[derive(Debug, Clone, Copy)]
pub struct RawRecord<'a> {
    /// [`RawFormat::RecordJson`] or [`RawFormat::RecordCbor`].
    pub format: RawFormat,
    /// Empty where a commit names a block that it does not carry.
    pub bytes: &'a [u8],
}

impl<'a> RawRecord<'a> {
    /// Reads any record, of one of our collections or not.
    pub(super) fn read(self) -> Result<Value<'a>, RecordError> {
        match self.format {
            RawFormat::RecordJson => {
                Value::from_json(self.bytes).map_err(|error| RecordError::encoding(error.to_string()))
            }
            RawFormat::RecordCbor => {
                Value::from_cbor(self.bytes).map_err(|error| RecordError::encoding(error.to_string()))
            }
            RawFormat::JetstreamV1 | RawFormat::JetstreamV2 | RawFormat::Firehose => {
                Err(RecordError::encoding("a whole message is not a record"))
            }
        }
    }
}
