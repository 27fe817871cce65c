//! A record held against its lexicon.
//!
//! Beyond what the lexicons in `lexicons/` say: the subject of a like is a track of the same namespace, every AT-URI names
//! one record of a DID, and the texts that are kept hold no U+0000.

use super::{
    RawFormat,
    fields::{At, Fields, TextRule},
    value::Value,
};
use crate::{
    atproto::{Did, RecordKey, Tid},
    model::{Collection, Collections, Like, List, ListItem, Profile, Record, RejectReason, Track},
};

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
    if !has_key_form(collection, rkey) {
        let form = if collection == Collection::Profile { "self" } else { "a TID" };
        let detail = format!("the record key must be {form}");
        return Err(RecordError { reason: RejectReason::RecordKey, field: None, detail });
    }
    let value = read_value(format, bytes)?;
    let Value::Map(_) = value else {
        return Err(encoding_error("a record must be an object"));
    };
    let fields = Fields::of(&value, &At::Record)?;
    let nsid = collections.nsid(collection).as_str();
    if fields.optional("$type").and_then(Value::as_text) != Some(nsid) {
        return Err(fields.at("$type").fail_as(RejectReason::RecordType, format!("must be {nsid}")));
    }
    match collection {
        Collection::Like => decode_like(collections, fields).map(Record::Like),
        Collection::List => decode_list(fields).map(Record::List),
        Collection::Track => decode_track(fields).map(|track| Record::Track(Box::new(track))),
        Collection::Profile => decode_profile(fields).map(Record::Profile),
    }
}

/// The JSON form of any record, ours or not: links as `{"$link"}`, bytes as `{"$bytes"}`.
///
/// `format` is [`RawFormat::RecordJson`] or [`RawFormat::RecordCbor`].
pub fn record_json(format: RawFormat, bytes: &[u8]) -> Result<serde_json::Value, RecordError> {
    read_value(format, bytes).map(|value| value.to_json())
}

/// Whether a record key is of the form that the collection's lexicon asks for.
pub(super) fn has_key_form(collection: Collection, rkey: &RecordKey) -> bool {
    match collection {
        Collection::Like | Collection::List | Collection::Track => Tid::parse(rkey.as_str()).is_ok(),
        Collection::Profile => rkey.as_str() == "self",
    }
}

pub(super) fn read_value(format: RawFormat, bytes: &[u8]) -> Result<Value<'_>, RecordError> {
    match format {
        RawFormat::RecordJson => Value::from_json(bytes).map_err(|error| encoding_error(error.to_string())),
        RawFormat::RecordCbor => Value::from_cbor(bytes).map_err(|error| encoding_error(error.to_string())),
        RawFormat::JetstreamV1 | RawFormat::JetstreamV2 | RawFormat::Firehose => {
            Err(encoding_error("a whole message is not a record"))
        }
    }
}

fn encoding_error(detail: impl Into<String>) -> RecordError {
    RecordError { reason: RejectReason::RecordEncoding, field: None, detail: detail.into() }
}

fn decode_like(collections: &Collections, fields: Fields<'_>) -> Result<Like, RecordError> {
    let (subject, subject_cid) = fields.required_strong_ref("subject")?;
    if subject.collection != *collections.nsid(Collection::Track) {
        let at = fields.at("subject");
        return Err(At::Field(&at, "uri").fail("must name a track of the same namespace"));
    }
    Ok(Like { subject, subject_cid, created_at: fields.required_datetime("createdAt")? })
}

const LIST_ITEMS_MAX: usize = 500;

fn decode_list(fields: Fields<'_>) -> Result<List, RecordError> {
    fields.required("items")?;
    let at = fields.at("items");
    let item = |(index, value)| {
        let at = At::Item(&at, index);
        let (uri, cid) = Fields::of(value, &at)?.required_strong_ref("subject")?;
        Ok(ListItem { uri, cid })
    };
    Ok(List {
        items: fields.list("items", LIST_ITEMS_MAX)?.iter().enumerate().map(item).collect::<Result<_, _>>()?,
        name: fields.text("name", TextRule { graphemes_max: 64, ..TextRule::up_to(256) })?,
        list_type: fields.text("listType", TextRule::ANY)?,
        created_at: fields.required_datetime("createdAt")?,
        updated_at: fields.datetime("updatedAt")?,
    })
}

fn decode_track(fields: Fields<'_>) -> Result<Track, RecordError> {
    Ok(Track {
        title: fields.required_text("title", TextRule::filled(256))?,
        artist: fields.required_text("artist", TextRule::filled(256))?,
        file_type: fields.required_text("fileType", TextRule::filled(16))?,
        audio_url: fields.uri("audioUrl")?,
        audio_cid: decode_audio_blob(fields)?,
        album: fields.text("album", TextRule::ANY)?,
        duration: decode_duration(fields)?,
        features: decode_features(fields)?,
        image_url: fields.uri("imageUrl")?,
        description: fields.text("description", TextRule::up_to(5000))?,
        labels: decode_labels(fields)?,
        support_gate: decode_support_gate(fields)?,
        created_at: fields.required_datetime("createdAt")?,
    })
}

fn decode_duration(fields: Fields<'_>) -> Result<Option<i64>, RecordError> {
    let at = fields.at("duration");
    match fields.optional("duration").map(Value::as_integer) {
        None => Ok(None),
        Some(Some(seconds @ 0..)) => Ok(Some(seconds)),
        Some(Some(_)) => Err(at.fail("is below 0")),
        Some(None) => Err(at.fail("must be an integer")),
    }
}

/// A blob is named by its CID; its type must be audio.
fn decode_audio_blob(fields: Fields<'_>) -> Result<Option<String>, RecordError> {
    let at = fields.at("audioBlob");
    match fields.blob("audioBlob")? {
        Some(blob) if !blob.mime_type.starts_with("audio/") => {
            Err(At::Field(&at, "mimeType").fail("must be of audio/*"))
        }
        blob => Ok(blob.map(|blob| blob.cid.to_string())),
    }
}

const FEATURES_MAX: usize = 10;

fn decode_features(fields: Fields<'_>) -> Result<Vec<Did>, RecordError> {
    let at = fields.at("features");
    let feature = |(index, value)| {
        let at = At::Item(&at, index);
        Fields::of(value, &at)?.required_did("did")
    };
    fields.list("features", FEATURES_MAX)?.iter().enumerate().map(feature).collect()
}

const SELF_LABELS: &str = "com.atproto.label.defs#selfLabels";
const LABELS_MAX: usize = 10;

/// An open union, so that labels of a kind invented later are no fault of the record; they say nothing to us.
fn decode_labels(fields: Fields<'_>) -> Result<Vec<String>, RecordError> {
    let Some(value) = fields.optional("labels") else {
        return Ok(Vec::new());
    };
    let labels_at = fields.at("labels");
    let labels = Fields::of(value, &labels_at)?;
    let kind = labels.required("$type")?.as_text().ok_or_else(|| labels.at("$type").fail("must be a string"))?;
    if kind != SELF_LABELS {
        return Ok(Vec::new());
    }
    labels.required("values")?;
    let at = labels.at("values");
    let label = |(index, value)| {
        let at = At::Item(&at, index);
        Fields::of(value, &at)?.required_text("val", TextRule::up_to(128))
    };
    labels.list("values", LABELS_MAX)?.iter().enumerate().map(label).collect()
}

/// Any object: kept as it is, so nothing inside may hold what the database cannot.
fn decode_support_gate(fields: Fields<'_>) -> Result<Option<serde_json::Value>, RecordError> {
    let at = fields.at("supportGate");
    match fields.optional("supportGate") {
        None => Ok(None),
        Some(value @ Value::Map(_)) if value.holds_nul() => Err(at.fail_as(RejectReason::NulCharacter, "holds U+0000")),
        Some(value @ Value::Map(_)) => Ok(Some(value.to_json())),
        Some(_) => Err(at.fail("must be an object")),
    }
}

fn decode_profile(fields: Fields<'_>) -> Result<Profile, RecordError> {
    Ok(Profile {
        avatar: fields.uri("avatar")?,
        bio: fields.text("bio", TextRule::ANY)?,
        created_at: fields.required_datetime("createdAt")?,
        updated_at: fields.datetime("updatedAt")?,
    })
}
