use sha2::{Digest, Sha256};

use super::batch::Origin;
use crate::{
    atproto::Cid,
    decode::Reject,
    model::{Collections, PositionKind, UntrustedText},
    store::rejects::NewReject,
};

/// A reject's row. Its digest makes it one, however often it comes: by path and rev, or else by its bytes.
pub fn row<'a>(collections: &'a Collections, origin: &'a Origin, reject: &'a Reject) -> NewReject<'a> {
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
