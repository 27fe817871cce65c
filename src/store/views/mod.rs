//! What clients see: reads alone, one function per statement, in the order of rule 15 (by `sort_at`, then by path).
//!
//! Contract: a page takes the place behind which it starts and answers rows in order; whoever asks for one more row than is
//! shown learns whether there is another page. Two functions called in one repeatable-read transaction see one moment.

pub mod actors;
pub mod indexers;
pub mod likes;
pub mod lists;
pub mod operation;
pub mod tracks;

use chrono::{DateTime, Utc};

use crate::atproto::{AtUri, Cid, Did, Handle, Tid, Timestamp};

/// A place in an order: everything sorts by a moment and then by a text or number that no two rows share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place<K> {
    /// The row's `sort_at`.
    pub sort_at: Timestamp,
    /// What puts rows of one moment in order.
    pub key: K,
}

/// A page: the place behind which it starts (`None`: at the top), and the most rows it may hold.
#[derive(Debug, Clone)]
pub struct Page<P> {
    /// Rows behind this one.
    pub after: Option<P>,
    /// At most as many.
    pub limit: i64,
}

fn corrupt(error: crate::atproto::SyntaxError) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

/// A DID that we stored.
pub(super) fn stored_did(text: &str) -> sqlx::Result<Did> {
    Did::parse(text).map_err(corrupt)
}

fn stored_handle(text: Option<&str>) -> sqlx::Result<Option<Handle>> {
    text.map(|text| Handle::parse(text).map_err(corrupt)).transpose()
}

fn stored_uri(text: &str) -> sqlx::Result<AtUri> {
    AtUri::parse(text).map_err(corrupt)
}

pub(super) fn stored_cid(bytes: Option<&[u8]>) -> sqlx::Result<Option<Cid>> {
    bytes.map(|bytes| Cid::from_bytes(bytes).map_err(corrupt)).transpose()
}

pub(super) fn stored_tid(number: i64) -> sqlx::Result<Tid> {
    Tid::from_number(number).ok_or_else(|| sqlx::Error::Decode("a negative number is no TID".into()))
}

fn moment(stored: Option<DateTime<Utc>>) -> Option<Timestamp> {
    stored.map(Timestamp::from_utc)
}

/// Where somebody's picture is: where their own profile record says, or else the blob that their other profile names, on the
/// server that gave it.
fn avatar_url(
    own: Option<String>,
    did: &str,
    (host, cid): (Option<&str>, Option<&[u8]>),
) -> sqlx::Result<Option<String>> {
    let (None, Some(host), Some(cid)) = (&own, host, stored_cid(cid)?) else { return Ok(own) };
    // Of the characters that a DID may hold, this alone means something else in a query.
    let did = did.replace('%', "%25");
    Ok(Some(format!("{host}/xrpc/com.atproto.sync.getBlob?did={did}&cid={cid}")))
}
