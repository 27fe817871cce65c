use std::{future::pending, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, stream};
use sqlx::PgPool;
use tokio::{sync::Semaphore, time::timeout};
use tokio_tungstenite::tungstenite::Bytes;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    beside::{Verdict, count, judge},
    queue::{Heard, Read},
};
use crate::{
    atproto::{Did, PublicKey, Tid},
    decode::{self, Frame, Item, RawFormat, Reject, firehose},
    identity::{Identities, IdentityError},
    model::{Collections, EventBody, RejectReason},
    source::{Delivery, Dialect},
};

/// Holds commits of ours against their proofs before they are applied.
///
/// One that is not proven becomes a reject with the whole message: nothing of it is applied. So does one whose key cannot be had
/// in time, since the stream does not stand still for a host; in both cases the repo is to be read.
#[derive(Debug)]
pub struct Judge {
    identities: Identities,
    pool: PgPool,
    collections: Collections,
    places: Arc<Semaphore>,
    lookups: TaskTracker,
    cancel: CancellationToken,
}

/// Commits that are judged at once in all, and of one delivery.
const PLACES: usize = 64;
const PER_DELIVERY: usize = 16;
/// How long a commit waits for a key. Whoever is asked may take longer: what it says is kept for the next commit.
const KEY_MAX: Duration = Duration::from_secs(5);
/// Keys that are being looked up at most.
const LOOKUPS_MAX: usize = 1_000;
/// Between two attempts to reach a database that is away.
const DATABASE_RETRY: Duration = Duration::from_secs(1);

impl Judge {
    /// One that asks `identities` for keys. When cancelled, what it has not judged stays so.
    pub fn new(identities: Identities, (pool, collections): (PgPool, Collections), cancel: CancellationToken) -> Self {
        let (places, lookups) = (Arc::new(Semaphore::new(PLACES)), TaskTracker::new());
        Self { identities, pool, collections, places, lookups, cancel }
    }

    /// Look-ups that outlast the commits that asked for them: they end soon when cancelled, and are to be waited for.
    pub fn lookups(&self) -> TaskTracker {
        self.lookups.clone()
    }

    /// Reads a delivery, and judges the commits of ours in it.
    pub async fn hear(&self, delivery: Delivery) -> Heard {
        if delivery.dialect != Dialect::Firehose {
            return delivery.into();
        }
        let decoded = delivery.messages.iter().map(|message| firehose::decode_message(&self.collections, message));
        let mut read: Vec<Read> = decoded.map(|message| Read { message, unproven: None }).collect();
        let ours = read.iter().zip(&delivery.messages).enumerate().filter_map(|(at, (read, message))| {
            let decode::Message::Frame(frame) = &read.message else { return None };
            Some((at, commit_of(frame)?, message.clone()))
        });
        let ours: Vec<_> = ours.collect();
        let judged = stream::iter(ours).map(|(at, commit, message)| async move {
            let verdict = self.judge(&commit.0, &message).await;
            (at, commit, verdict)
        });
        let mut judged = std::pin::pin!(judged.buffer_unordered(PER_DELIVERY));
        while let Some((at, commit, verdict)) = judged.next().await {
            count(verdict.as_str());
            let Some((reason, detail)) = verdict.refusal() else { continue };
            let (did, rev) = (&commit.0, commit.1);
            tracing::warn!(%did, %rev, reason = reason.as_str(), detail, "a commit is refused: its repo is to be read");
            read[at].refuse(refused(&delivery.messages[at], reason, detail), commit);
        }
        Heard { delivery, read }
    }

    async fn judge(&self, did: &Did, message: &Bytes) -> Verdict {
        let Ok(_place) = self.places.acquire().await else { return pending().await };
        judge(message, self.key(did, false).boxed(), || self.key(did, true).boxed()).await
    }

    /// The key, if it is to be had in time. A database that is away is waited for.
    async fn key(&self, did: &Did, is_doubted: bool) -> Option<PublicKey> {
        while self.lookups.len() < LOOKUPS_MAX {
            let (identities, cancel, asked) = (self.identities.clone(), self.cancel.clone(), did.clone());
            let lookup = self.lookups.spawn(async move {
                let ask =
                    async { if is_doubted { identities.refresh(&asked).await } else { identities.find(&asked).await } };
                cancel.run_until_cancelled(ask).await
            });
            match timeout(KEY_MAX, lookup).await {
                Ok(Ok(Some(Err(IdentityError::Database(error))))) => {
                    tracing::debug!(%error, %did, "a key waits for the database");
                }
                Ok(Ok(Some(found))) => return found.ok()?.signing_key,
                // Told to stop: then it is nobody's fault, and nothing is said of the commit.
                Ok(Ok(None) | Err(_)) => return pending().await,
                Err(_) if self.pool.acquire().await.is_ok() => return None,
                Err(_) => tracing::debug!(%did, "a key waits for the database"),
            }
            tokio::time::sleep(DATABASE_RETRY).await;
        }
        None
    }
}

impl Read {
    /// Leaves of a frame only where it was in the stream, and the reject.
    fn refuse(&mut self, reject: Reject, unproven: (Did, Tid)) {
        if let decode::Message::Frame(frame) = &mut self.message {
            (frame.items, frame.link) = (vec![Item::Reject(Box::new(reject))], None);
        }
        self.unproven = Some(unproven);
    }
}

/// Whose commit a frame is, and which, if applying it would change anything of ours.
pub fn commit_of(frame: &Frame) -> Option<(Did, Tid)> {
    frame.items.iter().find_map(|item| match item {
        Item::Event(event) => match &event.body {
            EventBody::Commit(commit) => Some((event.did.clone(), commit.rev)),
            _ => None,
        },
        // What is refused for its form still hides what its path held before.
        Item::Reject(reject) => reject.path.as_ref().map(|path| (path.did.clone(), path.rev)),
    })
}

/// The whole message, and of no record: what is not proven hides nothing.
fn refused(message: &Bytes, reason: RejectReason, detail: String) -> Reject {
    Reject {
        reason,
        field: None,
        detail,
        path: None,
        raw_format: RawFormat::Firehose,
        raw: message[..message.len().min(Reject::RAW_MAX)].to_vec(),
        raw_length: message.len(),
    }
}
