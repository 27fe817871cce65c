//! The query string, as pairs that may repeat.

use axum::{
    extract::{FromRequestParts, Query},
    http::request::Parts,
};

use super::{
    cursor::{CursorPlace, Cursors},
    error::ApiError,
    pagination::{LIMIT_DEFAULT, LIMIT_MAX},
};
use crate::{
    atproto::{AtUri, Did, Handle},
    store::views::{Page, actors::ActorName},
};

/// The pairs of the query string, decoded. A parameter left empty counts as left out; names that we do not know are ignored.
#[derive(Debug)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// The first value under a name.
    pub fn one(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, value)| given == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// All values under a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(given, value)| given == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// The value under a name that must be there.
    pub fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.one(name).ok_or_else(|| ApiError::parameter(name, "is missing"))
    }

    /// How many rows the client wants: 1 to [`LIMIT_MAX`].
    pub fn limit(&self) -> Result<i64, ApiError> {
        let Some(text) = self.one("limit") else { return Ok(LIMIT_DEFAULT) };
        match text.parse() {
            Ok(limit) if (1..=LIMIT_MAX).contains(&limit) => Ok(limit),
            _ => Err(ApiError::parameter("limit", format_args!("must be a whole number from 1 to {LIMIT_MAX}"))),
        }
    }

    /// The page that the client wants of `query`, with room for one row more, which tells whether there is another.
    pub fn page<P: CursorPlace>(&self, cursors: &Cursors, query: &str) -> Result<Page<P>, ApiError> {
        let limit = self.limit()? + 1;
        let after = self.one("cursor").map(|cursor| cursors.open(query, cursor)).transpose()?;
        Ok(Page { after, limit })
    }

    /// The actor named, by DID or by handle.
    pub fn actor(&self, name: &str) -> Result<ActorName, ApiError> {
        actor_name(self.required(name)?).map_err(|why| ApiError::parameter(name, why))
    }

    /// 1 to 100 AT-URIs under a name that repeats.
    pub fn uris(&self, name: &str) -> Result<Vec<String>, ApiError> {
        let uris: Vec<String> = self.all(name).map(str::to_owned).collect();
        match uris.len() {
            1..=100 => Ok(uris),
            count => Err(ApiError::parameter(name, format_args!("must be given 1 to 100 times, not {count}"))),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(pairs)) => Ok(Self(pairs)),
            Err(why) => Err(ApiError::parameter("query string", why)),
        }
    }
}

/// An actor as people name them: a DID as it is, or a handle in any case, with or without `@`.
pub fn actor_name(text: &str) -> Result<ActorName, crate::atproto::SyntaxError> {
    if text.starts_with("did:") {
        return Did::parse(text).map(ActorName::Did);
    }
    Handle::parse_any_case(text).map(ActorName::Handle)
}

/// An AT-URI whose authority may still be a handle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedUri {
    /// Complete.
    Uri(AtUri),
    /// To be completed with the DID of this handle's actor in front of the rest, which begins with a slash.
    OfHandle(Handle, String),
}

/// Reads an AT-URI of a record.
pub fn named_uri(text: &str) -> Result<NamedUri, crate::atproto::SyntaxError> {
    let Some(rest) = text.strip_prefix("at://").filter(|rest| !rest.starts_with("did:")) else {
        return AtUri::parse(text).map(NamedUri::Uri);
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let handle = Handle::parse_any_case(authority)?;
    // The rest is held against the syntax with a DID in the handle's place.
    AtUri::parse(&format!("at://did:web:handle{path}"))?;
    Ok(NamedUri::OfHandle(handle, path.to_owned()))
}
