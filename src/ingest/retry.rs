use sqlx::PgPool;

use super::IngestError;
use crate::{
    apply::{Applier, Batch},
    atproto::{Cid, Did, RecordKey, Tid},
    clock::Clock,
    decode::{self, Collections, Item, RawFormat, RecordPath},
    store::rejects::{self, StoredReject},
};

/// What became of the rejects that were tried again.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Retried {
    /// Decoded, applied and removed.
    pub applied: u64,
    /// Decoded and removed, but known already or overtaken by what came later.
    pub ignored: u64,
    /// Still refused.
    pub refused: u64,
    /// Kept without their whole bytes, so that they can't be tried.
    pub cut: u64,
}

/// Rejects read at once.
const PAGE: i64 = 100;

/// Tries rejects again, oldest first, by the ordinary path: all of them, or those of `ids`.
pub async fn retry_rejects(
    pool: PgPool,
    collections: Collections,
    clock: Clock,
    ids: &[i64],
) -> Result<Retried, IngestError> {
    let mut connection = pool.acquire().await?;
    let mut applier = Applier::new(collections.clone(), clock);
    let mut retried = Retried::default();
    let mut after = 0;
    loop {
        let page = rejects::list_after(&mut connection, after, ids, PAGE).await?;
        let Some(last) = page.last() else { return Ok(retried) };
        after = last.id;
        for reject in &page {
            if usize::try_from(reject.raw_length) != Ok(reject.raw.len()) {
                retried.cut += 1;
                continue;
            }
            let Some(events) = decode_again(&collections, reject) else {
                retried.refused += 1;
                continue;
            };
            let applied = applier.apply(&mut connection, &Batch { events, ..Batch::default() }).await?;
            rejects::delete(&mut connection, reject.id).await?;
            if applied.applied > 0 { retried.applied += 1 } else { retried.ignored += 1 }
        }
    }
}

/// The events of a reject, if all of it can be read now.
fn decode_again(collections: &Collections, reject: &StoredReject) -> Option<Vec<decode::Event>> {
    let format = RawFormat::parse(&reject.raw_format)?;
    let path = path(collections, reject);
    decode::decode_reject(collections, format, path.as_ref(), &reject.raw)
        .into_iter()
        .map(|item| match item {
            Item::Event(event) => Some(event),
            Item::Reject(_) => None,
        })
        .collect()
}

fn path(collections: &Collections, reject: &StoredReject) -> Option<RecordPath> {
    Some(RecordPath {
        did: Did::parse(reject.did.as_deref()?).ok()?,
        collection: collections.find(reject.collection.as_deref()?)?,
        rkey: RecordKey::parse(reject.rkey.as_deref()?).ok()?,
        rev: Tid::from_number(reject.rev?)?,
        cid: reject.cid.as_deref().and_then(|cid| Cid::from_bytes(cid).ok()),
    })
}
