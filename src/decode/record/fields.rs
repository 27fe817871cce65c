//! Fields of a record, taken out by what its lexicon says of them. The first that breaks it is named as a path.

use std::fmt;

use unicode_segmentation::UnicodeSegmentation;

use super::error::RecordError;
use crate::{
    atproto::{AtUri, Cid, Did, Timestamp},
    decode::value::{Map, Value, find},
    model::RejectReason,
};

/// Where in the record we are: `items[3].subject`. Written out only when something is wrong there.
#[derive(Debug, Clone, Copy)]
pub(super) enum At<'p> {
    /// The record.
    Record,
    /// A field of a map.
    Field(&'p At<'p>, &'static str),
    /// An item of a list.
    Item(&'p At<'p>, usize),
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record => Ok(()),
            Self::Field(Self::Record, name) => f.write_str(name),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

impl At<'_> {
    /// What is here breaks the lexicon.
    pub(super) fn fail(&self, why: impl fmt::Display) -> RecordError {
        self.fail_as(RejectReason::Lexicon, why)
    }

    /// What is here is refused for another reason than the lexicon.
    pub(super) fn fail_as(&self, reason: RejectReason, why: impl fmt::Display) -> RecordError {
        let field = self.to_string();
        RecordError { reason, detail: format!("`{field}` {why}"), field: Some(field) }
    }
}

/// What a lexicon says of a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct TextRule {
    /// `minLength`, in bytes of UTF-8.
    pub bytes_min: usize,
    /// `maxLength`, in bytes of UTF-8.
    pub bytes_max: usize,
    /// `maxGraphemes`.
    pub graphemes_max: usize,
}

impl TextRule {
    /// Any text.
    pub(super) const ANY: Self = Self { bytes_min: 0, bytes_max: usize::MAX, graphemes_max: usize::MAX };

    /// From one byte to this many.
    pub(super) const fn filled(bytes_max: usize) -> Self {
        Self { bytes_min: 1, bytes_max, graphemes_max: usize::MAX }
    }

    /// At most this many bytes.
    pub(super) const fn up_to(bytes_max: usize) -> Self {
        Self { bytes_max, ..Self::ANY }
    }
}

/// Bytes that lie beside a repo.
#[derive(Debug)]
pub(super) struct Blob {
    /// Their name.
    pub cid: Cid,
    /// Such as `audio/mpeg`.
    pub mime_type: String,
    /// How many.
    pub size: i64,
}

/// One map of a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'r> {
    entries: &'r Map<'r>,
    /// Where the map is.
    pub at: &'r At<'r>,
}

impl<'r> Fields<'r> {
    /// Takes a value that the lexicon says is an object.
    pub(super) fn of(value: &'r Value<'r>, at: &'r At<'r>) -> Result<Self, RecordError> {
        match value {
            Value::Map(entries) => Ok(Self { entries, at }),
            _ => Err(at.fail("must be an object")),
        }
    }

    /// A field's path.
    pub(super) fn at(&self, name: &'static str) -> At<'r> {
        At::Field(self.at, name)
    }

    /// A field that need not be there. One that is null is there, and of the wrong type for every lexicon of ours.
    pub(super) fn optional(&self, name: &'static str) -> Option<&'r Value<'r>> {
        find(self.entries, name)
    }

    /// A field that must be there.
    pub(super) fn required(&self, name: &'static str) -> Result<&'r Value<'r>, RecordError> {
        self.optional(name).ok_or_else(|| self.at(name).fail("is missing"))
    }

    /// The list in a field that may be absent: empty then.
    pub(super) fn list(&self, name: &'static str, items_max: usize) -> Result<&'r [Value<'r>], RecordError> {
        match self.optional(name) {
            None => Ok(&[]),
            Some(Value::List(items)) if items.len() <= items_max => Ok(items),
            Some(Value::List(_)) => Err(self.at(name).fail(format!("has more than {items_max} items"))),
            Some(_) => Err(self.at(name).fail("must be a list")),
        }
    }

    /// A text that must be there.
    pub(super) fn required_text(&self, name: &'static str, rule: TextRule) -> Result<String, RecordError> {
        text(self.required(name)?, &self.at(name), rule).map(str::to_owned)
    }

    /// A text that may be absent.
    pub(super) fn text(&self, name: &'static str, rule: TextRule) -> Result<Option<String>, RecordError> {
        self.optional(name).map(|value| text(value, &self.at(name), rule).map(str::to_owned)).transpose()
    }

    /// A text that may be absent, and that its lexicon leaves without a bound: the index holds this many bytes of it.
    pub(super) fn cut_text(&self, name: &'static str, bytes_max: usize) -> Result<Option<String>, RecordError> {
        let Some(value) = self.optional(name) else { return Ok(None) };
        let text = text(value, &self.at(name), TextRule::ANY)?;
        Ok(Some(cut(text, bytes_max).to_owned()))
    }

    /// A URI that may be absent.
    pub(super) fn uri(&self, name: &'static str) -> Result<Option<String>, RecordError> {
        let Some(value) = self.optional(name) else { return Ok(None) };
        let text = text(value, &self.at(name), TextRule::ANY)?;
        if is_uri(text) { Ok(Some(text.to_owned())) } else { Err(self.at(name).fail("is not a URI")) }
    }

    /// A moment that must be there.
    pub(super) fn required_datetime(&self, name: &'static str) -> Result<Timestamp, RecordError> {
        datetime(self.required(name)?, &self.at(name))
    }

    /// A moment that may be absent.
    pub(super) fn datetime(&self, name: &'static str) -> Result<Option<Timestamp>, RecordError> {
        self.optional(name).map(|value| datetime(value, &self.at(name))).transpose()
    }

    /// The DID in a field that must be there.
    pub(super) fn required_did(&self, name: &'static str) -> Result<Did, RecordError> {
        let at = self.at(name);
        Did::parse(identifier(self.required(name)?, &at)?).map_err(|error| at.fail(format!("is {error}")))
    }

    /// A blob in a field that may be absent; also in the form from before blobs had a type, which names no size.
    pub(super) fn blob(&self, name: &'static str) -> Result<Option<Blob>, RecordError> {
        let Some(value) = self.optional(name) else { return Ok(None) };
        let at = self.at(name);
        let blob = Fields::of(value, &at)?;
        if blob.optional("$type").is_none() && blob.optional("cid").is_some() {
            let cid = blob.required_text("cid", TextRule::ANY)?;
            let cid = Cid::parse(&cid).map_err(|error| blob.at("cid").fail(format!("is {error}")))?;
            let mime_type = blob.required_text("mimeType", TextRule::ANY)?;
            return Ok(Some(Blob { cid, mime_type, size: 0 }));
        }
        if blob.required("$type")?.as_text() != Some("blob") {
            return Err(blob.at("$type").fail("must be blob"));
        }
        let cid = blob.required("ref")?.as_link().ok_or_else(|| blob.at("ref").fail("must be a link"))?;
        let mime_type = blob.required_text("mimeType", TextRule::ANY)?;
        match blob.required("size")?.as_integer() {
            Some(size @ 0..) => Ok(Some(Blob { cid, mime_type, size })),
            _ => Err(blob.at("size").fail("must be an integer that is not negative")),
        }
    }

    /// A `com.atproto.repo.strongRef` in a field that must be there.
    pub(super) fn required_strong_ref(&self, name: &'static str) -> Result<(AtUri, Cid), RecordError> {
        let at = self.at(name);
        let strong_ref = Fields::of(self.required(name)?, &at)?;
        let (uri_at, cid_at) = (strong_ref.at("uri"), strong_ref.at("cid"));
        let uri = AtUri::parse(identifier(strong_ref.required("uri")?, &uri_at)?)
            .map_err(|error| uri_at.fail(format!("is {error}")))?;
        let cid = Cid::parse(identifier(strong_ref.required("cid")?, &cid_at)?)
            .map_err(|error| cid_at.fail(format!("is {error}")))?;
        Ok((uri, cid))
    }
}

/// Checks a value against what a lexicon says of a text. U+0000 is valid by any lexicon, and refused because what is taken
/// out here goes to a database that cannot hold it.
pub(super) fn text<'r>(value: &'r Value<'r>, at: &At<'_>, rule: TextRule) -> Result<&'r str, RecordError> {
    let text = value.as_text().ok_or_else(|| at.fail("must be a string"))?;
    if text.contains('\0') {
        return Err(at.fail_as(RejectReason::NulCharacter, "holds U+0000"));
    }
    if text.len() < rule.bytes_min {
        return Err(at.fail(format!("is shorter than {} bytes", rule.bytes_min)));
    }
    if text.len() > rule.bytes_max {
        return Err(at.fail(format!("is longer than {} bytes", rule.bytes_max)));
    }
    // A grapheme has at least one byte, so that most texts need no counting.
    if text.len() > rule.graphemes_max && text.graphemes(true).nth(rule.graphemes_max).is_some() {
        return Err(at.fail(format!("is longer than {} graphemes", rule.graphemes_max)));
    }
    Ok(text)
}

/// What fits of a text, without half a grapheme; of a single one that does not fit, some of its characters.
fn cut(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max {
        return text;
    }
    let ends = text.grapheme_indices(true).map(|(start, grapheme)| start + grapheme.len());
    let end = ends.take_while(|end| *end <= bytes_max).last();
    &text[..end.unwrap_or_else(|| text.floor_char_boundary(bytes_max))]
}

/// A text whose syntax leaves no room for U+0000.
fn identifier<'r>(value: &'r Value<'r>, at: &At<'_>) -> Result<&'r str, RecordError> {
    value.as_text().ok_or_else(|| at.fail("must be a string"))
}

fn datetime(value: &Value<'_>, at: &At<'_>) -> Result<Timestamp, RecordError> {
    Timestamp::parse(identifier(value, at)?).map_err(|error| at.fail(format!("is {error}")))
}

/// The lexicon's `uri`: a scheme, a colon, and something without spaces, at most 8 KiB.
fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    text.len() <= 8192
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+.-".contains(&b))
        && !rest.is_empty()
        && !rest.contains(|c: char| c.is_whitespace() || c.is_control())
}
