//! What comes out of a table is parsed again into the types of [`crate::atproto`].

use chrono::{DateTime, Utc};

use crate::atproto::{AtUri, Cid, Did, Handle, Timestamp};

fn corrupt(error: crate::atproto::SyntaxError) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

/// A DID that we stored.
pub(super) fn stored_did(text: &str) -> sqlx::Result<Did> {
    Did::parse(text).map_err(corrupt)
}

pub(super) fn stored_handle(text: Option<&str>) -> sqlx::Result<Option<Handle>> {
    text.map(|text| Handle::parse(text).map_err(corrupt)).transpose()
}

pub(super) fn stored_uri(text: &str) -> sqlx::Result<AtUri> {
    AtUri::parse(text).map_err(corrupt)
}

pub(super) fn stored_cid(bytes: Option<&[u8]>) -> sqlx::Result<Option<Cid>> {
    bytes.map(|bytes| Cid::from_bytes(bytes).map_err(corrupt)).transpose()
}

/// The first eight bytes of a stored CID's digest.
pub(super) fn stored_head(bytes: Option<&[u8]>) -> sqlx::Result<Option<i64>> {
    Ok(stored_cid(bytes)?.map(|cid| cid.head()))
}

pub(super) fn moment(stored: Option<DateTime<Utc>>) -> Option<Timestamp> {
    stored.map(Timestamp::from_utc)
}
