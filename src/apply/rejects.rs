use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use super::batch::Origin;
use crate::{
    atproto::Cid,
    decode::Reject,
    model::{Collections, PositionKind, RejectReason, UntrustedText},
    store::rejects::{self, NewReject},
};

/// Rejects of one source and reason of which a batch keeps the bytes. A flood of one kind says no more than these, and its records are in
/// their repos.
const WHOLE_MAX: usize = 500;

/// Stores what a batch refused; of a flood most without their bytes.
pub async fn write(
    connection: &mut PgConnection,
    collections: &Collections,
    refused: &[(Origin, Reject)],
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    let mut counts: HashMap<(&str, RejectReason), usize> = HashMap::new();
    let rows = refused.iter().map(|(origin, reject)| {
        let count = counts.entry((&origin.source, reject.reason)).or_default();
        *count += 1;
        let row = row(collections, origin, reject);
        if *count > WHOLE_MAX { NewReject { raw: &[], ..row } } else { row }
    });
    let rows: Vec<NewReject<'_>> = rows.collect();
    rejects::insert(connection, &rows, now).await.map(drop)
}

/// A reject's row. Its digest makes it one, however often it comes: by path and rev, or else by its bytes.
fn row<'a>(collections: &'a Collections, origin: &'a Origin, reject: &'a Reject) -> NewReject<'a> {
    let mut digest = Sha256::new();
    if let Some(path) = &reject.path {
        for part in [path.did.as_str(), path.collection.suffix(), path.rkey.as_str()] {
            digest.update(part);
            digest.update([0]);
        }
        digest.update(path.rev.number().to_be_bytes());
    } else {
        digest.update(origin.source.as_bytes());
        digest.update([0]);
        digest.update(&reject.raw);
    }
    let path = reject.path.as_ref();
    NewReject {
        digest: digest.finalize().into(),
        source: &origin.source,
        kind: origin.kind.map(PositionKind::as_str),
        position: origin.position,
        reason: reject.reason.as_str(),
        field: reject.field.as_ref().map(UntrustedText::of),
        detail: UntrustedText::of(&reject.detail),
        did: path.map(|path| path.did.as_str()),
        collection: path.map(|path| collections.nsid(path.collection).as_str()),
        rkey: path.map(|path| path.rkey.as_str()),
        rev: path.map(|path| path.rev.number()),
        cid: path.and_then(|path| path.cid).map(Cid::to_bytes),
        raw_format: reject.raw_format.as_str(),
        raw: &reject.raw,
        raw_length: i64::try_from(reject.raw_length).unwrap_or(i64::MAX),
    }
}
