//! The profile that most of atproto shows of an actor, checked against what its lexicon says of name and picture.

use super::{
    error::RecordError,
    fields::{At, Fields, TextRule},
    raw::RawRecord,
};
use crate::{
    atproto::Cid,
    decode::{reject::RawFormat, value::Value},
    model::RejectReason,
};

/// The collection. The record's key is `self`.
pub const BLUESKY_PROFILE: &str = "app.bsky.actor.profile";

const PICTURE_TYPES: [&str; 2] = ["image/png", "image/jpeg"];
const PICTURE_BYTES_MAX: i64 = 1_000_000;

/// As much of an `app.bsky.actor.profile` as is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlueskyProfile {
    /// `displayName` on one line, without what cannot be seen; none where nothing is left.
    pub display_name: Option<String>,
    /// The blob with the picture.
    pub avatar: Option<Cid>,
}

/// Reads the record. One that breaks its lexicon in what is shown of it is refused as a whole; the rest of it is not looked at.
///
/// `format` is [`RawFormat::RecordJson`] or [`RawFormat::RecordCbor`].
pub fn decode_bluesky_profile(format: RawFormat, bytes: &[u8]) -> Result<BlueskyProfile, RecordError> {
    let value = RawRecord { format, bytes }.read()?;
    let fields = Fields::of(&value, &At::Record)?;
    if fields.optional("$type").and_then(Value::as_text) != Some(BLUESKY_PROFILE) {
        return Err(fields.at("$type").fail_as(RejectReason::RecordType, format!("must be {BLUESKY_PROFILE}")));
    }
    let name = fields.text("displayName", TextRule { graphemes_max: 64, ..TextRule::up_to(640) })?;
    Ok(BlueskyProfile { display_name: name.and_then(|name| one_line(&name)), avatar: decode_picture(fields)? })
}

/// Control characters are spaces here, and those that turn the direction of all that follows are left out: a name stands among
/// the texts of other accounts.
fn one_line(name: &str) -> Option<String> {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    let seen: String = name.chars().filter(|c| !turns(*c)).map(|c| if breaks(c) { ' ' } else { c }).collect();
    let seen = seen.trim();
    (!seen.is_empty()).then(|| seen.to_owned())
}

fn decode_picture(fields: Fields<'_>) -> Result<Option<Cid>, RecordError> {
    let at = fields.at("avatar");
    let Some(blob) = fields.blob("avatar")? else { return Ok(None) };
    if !PICTURE_TYPES.contains(&blob.mime_type.as_str()) {
        return Err(At::Field(&at, "mimeType").fail("must be of a PNG or JPEG"));
    }
    if blob.size > PICTURE_BYTES_MAX {
        return Err(At::Field(&at, "size").fail(format!("is above {PICTURE_BYTES_MAX}")));
    }
    Ok(Some(blob.cid))
}
