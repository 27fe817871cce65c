//! What a request says of its viewer, before the database has been asked.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};

use super::{error::ApiError, token::hash_token};

/// What a request says of who asks. Only the hash of a token is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    None,
    /// An `Authorization` that is no bearer token.
    Malformed,
    /// A program's token.
    Bearer([u8; 32]),
    /// A browser's session.
    Cookie([u8; 32]),
}

impl Credentials {
    /// Reads the `Authorization` header or else the `session_id` cookie.
    pub fn of_headers(headers: &HeaderMap) -> Self {
        if let Some(value) = headers.get(header::AUTHORIZATION) {
            let token = value.to_str().ok().and_then(|text| text.split_once(' '));
            return match token {
                Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                    Self::Bearer(hash_token(token.trim()))
                }
                _ => Self::Malformed,
            };
        }
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = cookies.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
        match pairs.find(|(name, _)| *name == "session_id") {
            Some((_, token)) => Self::Cookie(hash_token(token)),
            None => Self::None,
        }
    }

    /// The hash of the token; refused where there is none.
    pub fn require_hash(&self) -> Result<&[u8; 32], ApiError> {
        match self {
            Self::None => Err(ApiError::anonymous()),
            Self::Malformed => Err(ApiError::bad_token()),
            Self::Bearer(hash) | Self::Cookie(hash) => Ok(hash),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Credentials {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::of_headers(&parts.headers))
    }
}
