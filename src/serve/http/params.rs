//! What a client may write in a parameter: each kind parsed once, and described for the OpenAPI document by the same rule.

use std::borrow::Cow;

use serde::Deserialize;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr,
        schema::{ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type},
    },
};

use crate::{
    atproto::{AtUri, Did, Handle, SyntaxError},
    model::TrackId,
    store::views::actors::ActorName,
};

/// URIs in one question at most.
const URIS_MAX: usize = 100;
/// Characters of a free text at most.
const TEXT_LENGTH_MAX: usize = 640;

// What `atproto` takes, as patterns. Lengths of the parts are left to their `maxLength` as a whole.
macro_rules! did {
    () => {
        "did:[a-z]+:[a-zA-Z0-9._:%-]*[a-zA-Z0-9._-]"
    };
}
macro_rules! label {
    () => {
        "[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
    };
}
macro_rules! handle {
    () => {
        concat!("(", label!(), "\\.)+[a-zA-Z]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")
    };
}
macro_rules! nsid {
    () => {
        concat!("[a-zA-Z]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\\.", label!(), ")+\\.[a-zA-Z][a-zA-Z0-9]{0,62}")
    };
}
macro_rules! record_key {
    () => {
        "([a-zA-Z0-9_:~-][a-zA-Z0-9._:~-]{0,511}|\\.[a-zA-Z0-9_:~-][a-zA-Z0-9._:~-]{0,510}|\\.\\.[a-zA-Z0-9._:~-]{1,510})"
    };
}

/// The schema of a text; the length is in characters.
fn text_schema(pattern: &str, length_max: usize) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .pattern(Some(pattern))
        .max_length(Some(length_max))
        .into()
}

/// An actor: a DID as it is, or a handle in any case, with or without `@`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct ActorParam(pub ActorName);

impl TryFrom<String> for ActorParam {
    type Error = SyntaxError;

    fn try_from(text: String) -> Result<Self, SyntaxError> {
        let name = if text.starts_with("did:") {
            Did::parse(&text).map(ActorName::Did)
        } else {
            Handle::parse_any_case(&text).map(ActorName::Handle)
        };
        name.map(Self)
    }
}

impl ToSchema for ActorParam {}
impl PartialSchema for ActorParam {
    fn schema() -> RefOr<Schema> {
        text_schema(concat!("^(", did!(), "|@?", handle!(), ")$"), 2048)
    }
}

/// An AT-URI of a record whose authority may still be a handle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedUri {
    /// Complete.
    Uri(AtUri),
    /// To be completed with the DID of this handle's actor in front of the rest, which begins with a slash.
    OfHandle(Handle, String),
}

impl NamedUri {
    /// The address, where it names a DID.
    pub fn complete(&self) -> Option<&AtUri> {
        match self {
            Self::Uri(uri) => Some(uri),
            Self::OfHandle(..) => None,
        }
    }
}

/// The AT-URI of a record, with a DID or a handle.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct UriParam {
    /// As the client wrote it.
    pub text: String,
    /// What it says.
    pub uri: NamedUri,
}

impl TryFrom<String> for UriParam {
    type Error = SyntaxError;

    fn try_from(text: String) -> Result<Self, SyntaxError> {
        let uri = named_uri(&text)?;
        Ok(Self { text, uri })
    }
}

fn named_uri(text: &str) -> Result<NamedUri, SyntaxError> {
    let Some(rest) = text.strip_prefix("at://").filter(|rest| !rest.starts_with("did:")) else {
        return AtUri::parse(text).map(NamedUri::Uri);
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let handle = Handle::parse_any_case(authority)?;
    // The syntax of the rest is checked with a DID in the handle's place.
    AtUri::parse(&format!("at://did:web:handle{path}"))?;
    Ok(NamedUri::OfHandle(handle, path.to_owned()))
}

impl ToSchema for UriParam {}
impl PartialSchema for UriParam {
    fn schema() -> RefOr<Schema> {
        text_schema(concat!("^at://(", did!(), "|@?", handle!(), ")/", nsid!(), "/", record_key!(), "$"), 2884)
    }
}

/// AT-URIs of records, 1 to 100: the parameter repeats.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct UrisParam(pub Vec<UriParam>);

impl TryFrom<Vec<String>> for UrisParam {
    type Error = Cow<'static, str>;

    fn try_from(texts: Vec<String>) -> Result<Self, Self::Error> {
        if texts.len() > URIS_MAX {
            return Err(format!("must be given 1 to {URIS_MAX} times, not {}", texts.len()).into());
        }
        let uris: Result<Vec<_>, SyntaxError> = texts.into_iter().map(UriParam::try_from).collect();
        uris.map(Self).map_err(|why| why.to_string().into())
    }
}

impl ToSchema for UrisParam {}
impl PartialSchema for UrisParam {
    fn schema() -> RefOr<Schema> {
        ArrayBuilder::new().items(UriParam::schema()).min_items(Some(1)).max_items(Some(URIS_MAX)).into()
    }
}

/// The number of a track: a whole number of 64 bits.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub struct TrackIdParam(pub TrackId);

impl TryFrom<String> for TrackIdParam {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(|number: i64| Self(number.into())).map_err(|_| "must be a whole number of 64 bits")
    }
}

impl ToSchema for TrackIdParam {}
impl PartialSchema for TrackIdParam {
    fn schema() -> RefOr<Schema> {
        i64::schema()
    }
}

/// A text that no rule of ours bounds: at most 640 characters, and none of them U+0000, which the database cannot hold.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct FreeText(String);

impl FreeText {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for FreeText {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.contains('\0') {
            return Err("must not hold U+0000");
        }
        if text.chars().count() > TEXT_LENGTH_MAX {
            return Err("must be at most 640 characters");
        }
        Ok(Self(text))
    }
}

impl ToSchema for FreeText {}
impl PartialSchema for FreeText {
    fn schema() -> RefOr<Schema> {
        text_schema("^[^\\u0000]*$", TEXT_LENGTH_MAX)
    }
}
