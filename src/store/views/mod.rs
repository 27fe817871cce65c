//! What clients see: reads alone, one function per statement, in the order of rule 15 (by `sort_at`, then by number or key).
//!
//! Contract: a page takes the place behind which it starts and answers rows in order; one more row than is
//! shown says whether there is another page. What a page reads follows from its limit, whatever the index holds: where rows are
//! passed over because they are not shown, a page looks at a thousand of them and then ends ([`Stretch`]). Two functions called in one
//! repeatable-read transaction see one moment.

pub mod actors;
pub mod indexers;
pub mod likes;
pub mod lists;
pub mod operation;
pub mod rejects;
pub mod tracks;

use super::stored::stored_cid;
use crate::{atproto::Timestamp, model::TrackId};

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

/// Rows that a page looks at in search of those that it shows.
const STRETCH: i64 = 1000;

/// The rows of a page that passes over some.
#[derive(Debug, Clone)]
pub struct Stretch<R, P> {
    /// Those that are shown, in order.
    pub rows: Vec<R>,
    /// The last row that was looked at, where there may be others behind it: the page goes on there.
    pub rest: Option<P>,
}

impl<R, P> From<Vec<R>> for Stretch<R, P> {
    /// Of a page that passes over none.
    fn from(rows: Vec<R>) -> Self {
        Self { rows, rest: None }
    }
}

/// Ids as a statement takes them.
fn numbers(ids: &[TrackId]) -> Vec<i64> {
    ids.iter().map(|id| id.number()).collect()
}

/// Where an actor's picture is: where its own profile record says, or else the blob that its Bluesky profile names, on the
/// server that has it.
fn avatar_url(own: Option<String>, did: &str, host: Option<&str>, cid: Option<&[u8]>) -> sqlx::Result<Option<String>> {
    let (None, Some(host), Some(cid)) = (&own, host, stored_cid(cid)?) else { return Ok(own) };
    // Of the characters that a DID may hold, this alone means something else in a query.
    let did = did.replace('%', "%25");
    Ok(Some(format!("{host}/xrpc/com.atproto.sync.getBlob?did={did}&cid={cid}")))
}
