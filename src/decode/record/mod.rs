//! The bytes of a record in, a record that satisfies its lexicon out: a file for each of our collections, and one for the
//! Bluesky profile, which is not ours.
//!
//! Contract: a record is taken as a whole or refused with the first field that breaks its lexicon in `lexicons/`. Beyond what the
//! lexicons say, every AT-URI must name one record of a DID, and the texts that are kept must hold no U+0000.

mod bluesky_profile;
#[cfg(feature = "fifth-collection")]
mod comment;
mod error;
mod fields;
mod like;
mod list;
mod profile;
mod raw;
mod track;

pub use bluesky_profile::{BLUESKY_PROFILE, BlueskyProfile, decode_bluesky_profile};
pub use error::RecordError;
pub use raw::RawRecord;

use super::{reject::RawFormat, value::Value};
use crate::{
    atproto::RecordKey,
    model::{Collection, Collections, Record, RejectReason},
};
use fields::{At, Fields};

/// Reads the record at this key of one of our collections.
pub fn decode_record(
    collections: &Collections,
    collection: Collection,
    rkey: &RecordKey,
    raw: RawRecord<'_>,
) -> Result<Record, RecordError> {
    let form = collection.key_form();
    if !form.fits(rkey) {
        let detail = format!("the record key must be {form}");
        return Err(RecordError { reason: RejectReason::RecordKey, field: None, detail });
    }
    let value = raw.read()?;
    let Value::Map(_) = value else {
        return Err(RecordError::encoding("a record must be an object"));
    };
    let fields = Fields::of(&value, &At::Record)?;
    let nsid = collections.nsid(collection).as_str();
    if fields.optional("$type").and_then(Value::as_text) != Some(nsid) {
        return Err(fields.at("$type").fail_as(RejectReason::RecordType, format!("must be {nsid}")));
    }
    match collection {
        Collection::Like => like::decode(collections, fields).map(Record::Like),
        Collection::List => list::decode(fields).map(Record::List),
        Collection::Track => track::decode(fields).map(|track| Record::Track(Box::new(track))),
        Collection::Profile => profile::decode(fields).map(Record::Profile),
        #[cfg(feature = "fifth-collection")]
        Collection::Comment => comment::decode(collections, fields).map(Record::Comment),
    }
}

/// The JSON form of any record, ours or not: links as `{"$link"}`, bytes as `{"$bytes"}`.
///
/// `format` is [`RawFormat::RecordJson`] or [`RawFormat::RecordCbor`].
pub fn record_json(format: RawFormat, bytes: &[u8]) -> Result<serde_json::Value, RecordError> {
    RawRecord { format, bytes }.read().map(|value| value.to_json())
}
