use super::{
    error::RecordError,
    fields::{At, Fields, TextRule},
};
use crate::{
    atproto::Did,
    decode::value::Value,
    model::{RejectReason, Track},
};

/// Bytes of an album's name that the index holds: twice what a title may have, and some.
const ALBUM_BYTES_MAX: usize = 640;
/// Bytes of a gate, as JSON, that the index holds.
const SUPPORT_GATE_BYTES_MAX: usize = 8192;

pub(super) fn decode(fields: Fields<'_>) -> Result<Track, RecordError> {
    Ok(Track {
        title: fields.required_text("title", TextRule::filled(256))?,
        artist: fields.required_text("artist", TextRule::filled(256))?,
        file_type: fields.required_text("fileType", TextRule::filled(16))?,
        audio_url: fields.uri("audioUrl")?,
        audio_cid: decode_audio_blob(fields)?,
        album: fields.cut_text("album", ALBUM_BYTES_MAX)?,
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

/// Any object: kept as it is, so nothing inside may hold what the database cannot. One that is too large is kept as an empty object,
/// which gates as well: without any the track would be open to all.
fn decode_support_gate(fields: Fields<'_>) -> Result<Option<serde_json::Value>, RecordError> {
    let at = fields.at("supportGate");
    match fields.optional("supportGate") {
        None => Ok(None),
        Some(value @ Value::Map(_)) if value.holds_nul() => Err(at.fail_as(RejectReason::NulCharacter, "holds U+0000")),
        Some(value @ Value::Map(_)) => {
            let gate = value.to_json();
            let is_small = gate.to_string().len() <= SUPPORT_GATE_BYTES_MAX;
            Ok(Some(if is_small { gate } else { serde_json::Value::Object(serde_json::Map::new()) }))
        }
        Some(_) => Err(at.fail("must be an object")),
    }
}
