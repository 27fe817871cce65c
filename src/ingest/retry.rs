use futures_util::FutureExt as _;
use sqlx::{PgConnection, PgPool};

use super::{
    IngestError,
    verify::{VerifyOutcome, commit_of_ours, signing_key, verify},
};
use crate::{
    apply::{Applier, Batch, Origin},
    atproto::{Cid, Did, RecordKey, Tid},
    clock::Clock,
    decode::{self, Frame, Item, Message, RawFormat, firehose},
    identity::Identities,
    model::{Collections, PositionKind, RecordPath, RejectReason},
    store::rejects::{self, StoredReject},
};

/// How rejects are tried again.
#[derive(Debug, Clone)]
pub struct Retry {
    /// Which collections are ours.
    pub collections: Collections,
    /// The time.
    pub clock: Clock,
    /// Who is asked for the keys of what must be proven; without them it stays refused.
    pub identities: Option<Identities>,
    /// Every commit of the raw firehose must be proven, not only those that were refused because they were not.
    pub is_strict: bool,
}

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
pub async fn retry_rejects(pool: PgPool, retry: Retry, ids: &[i64]) -> Result<Retried, IngestError> {
    let mut connection = pool.acquire().await?;
    let mut applier = Applier::new(retry.collections.clone(), retry.clock.clone());
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
            match retry.read(reject).await {
                Some(batch) if apply(&mut connection, &mut applier, reject.id, &batch).await? => retried.applied += 1,
                Some(_) => retried.ignored += 1,
                None => retried.refused += 1,
            }
        }
    }
}

/// Applies what a reject holds, and removes it. Whether that changed anything.
async fn apply(
    connection: &mut PgConnection,
    applier: &mut Applier,
    id: i64,
    batch: &Batch,
) -> Result<bool, IngestError> {
    let applied = applier.apply(connection, batch).await?;
    rejects::delete(connection, id).await?;
    Ok(applied.applied > 0)
}

impl Retry {
    /// What a reject holds, if it may be applied now.
    async fn read(&self, reject: &StoredReject) -> Option<Batch> {
        let format = RawFormat::parse(&reject.raw_format)?;
        let is_unverified = RejectReason::parse(&reject.reason).is_some_and(RejectReason::is_about_proof);
        if format == RawFormat::Firehose && (is_unverified || self.is_strict) {
            let Message::Frame(frame) = firehose::decode_message(&self.collections, &reject.raw) else { return None };
            if let Some((did, _)) = commit_of_ours(&frame) {
                if self.verify(&did, &reject.raw).await != VerifyOutcome::Verified {
                    return None;
                }
                if is_unverified && is_sound(&frame) {
                    return Some(whole(frame, reject));
                }
            }
        }
        let path = path(&self.collections, reject);
        let items = decode::decode_reject(&self.collections, format, path.as_ref(), &reject.raw);
        let now = self.clock.now();
        let events = items.into_iter().map(|item| match item {
            Item::Event(event) if event.rev().is_some_and(|rev| rev.is_from_future(now)) => None,
            Item::Event(event) => Some(event),
            Item::Reject(_) => None,
        });
        Some(Batch { events: events.collect::<Option<_>>()?, ..Batch::default() })
    }

    /// An operator waits for this: a host that could not be reached a moment ago is asked once more.
    async fn verify(&self, did: &Did, message: &[u8]) -> VerifyOutcome {
        let Some(identities) = &self.identities else { return VerifyOutcome::NoKey };
        let refreshed = || signing_key(identities.force_refresh(did));
        let known = async {
            match signing_key(identities.find(did)).await {
                Some(key) => Some(key),
                None => refreshed().await,
            }
        };
        verify(message, known.boxed(), refreshed).await
    }
}

/// Whether what is wrong with a frame, if anything is, is wrong with single records, so that it needs no reject as a whole.
fn is_sound(frame: &Frame) -> bool {
    frame.items.iter().all(|item| !matches!(item, Item::Reject(reject) if reject.path.is_none()))
}

/// All of a commit that was refused as a whole: what is wrong with one of its records becomes a reject of its own.
fn whole(frame: Frame, refused: &StoredReject) -> Batch {
    let origin = Origin {
        source: refused.source.as_str().into(),
        kind: refused.kind.as_deref().and_then(PositionKind::parse),
        position: refused.position,
    };
    let mut batch = Batch::default();
    for item in frame.items {
        match item {
            Item::Event(event) => batch.events.push(event),
            Item::Reject(reject) => batch.rejects.push((origin.clone(), *reject)),
        }
    }
    batch
}

fn path(collections: &Collections, reject: &StoredReject) -> Option<RecordPath> {
    Some(RecordPath {
        did: Did::parse(reject.did.as_deref()?).ok()?,
        collection: collections.find(reject.collection.as_deref()?)?,
        rkey: RecordKey::parse(reject.rkey.as_deref()?).ok()?,
        rev: Tid::from_number(reject.rev?),
        cid: reject.cid.as_deref().and_then(|cid| Cid::from_bytes(cid).ok()),
    })
}
