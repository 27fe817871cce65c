use std::{future::pending, pin::pin, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, stream};
use sqlx::PgPool;
use tokio::{
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};
use tokio_tungstenite::tungstenite::Bytes;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::outcome::{VerifyOutcome, commit_of_ours, count, verify};
use crate::{
    atproto::{Did, PublicKey},
    decode::{self, Item, RawFormat, Reject, firehose},
    identity::{Identities, IdentityError},
    ingest::{
        IngestError,
        received::{DecodedMessage, Received},
    },
    model::Collections,
    retry,
    source::{Delivery, Dialect},
    store::is_unavailable,
};

/// Verifies commits of ours before they are applied.
///
/// One that fails becomes a reject with the whole message: nothing of it is applied. So does one whose key can't be fetched
/// in time, since the stream stands still for no host; in both cases the repo is to be read.
#[derive(Debug)]
pub struct CommitVerifier {
    options: CommitVerifierOptions,
    places: Semaphore,
    lookups: TaskTracker,
    /// A statement of ours that the database refused: no key can be had.
    refusal: watch::Sender<Option<IdentityError>>,
}

/// What a [`CommitVerifier`] works with.
#[derive(Debug)]
pub struct CommitVerifierOptions {
    /// Gives the keys.
    pub identities: Identities,
    /// Asked whether the database is there, when a key is late.
    pub pool: PgPool,
    /// Which collections are ours.
    pub collections: Collections,
    /// When cancelled, what has not been verified stays so.
    pub cancel: CancellationToken,
}

/// Commits that are verified at once in all, and of one delivery.
const PLACES: usize = 64;
const PER_DELIVERY: usize = 16;
/// How long a commit waits for a key. The look-up may take longer: what it finds is kept for the next commit.
const KEY_MAX: Duration = Duration::from_secs(5);
/// Keys that are being looked up at most.
const LOOKUPS_MAX: usize = 1_000;

impl CommitVerifier {
    /// A verifier at rest.
    pub fn new(options: CommitVerifierOptions) -> Arc<Self> {
        let (places, refusal) = (Semaphore::new(PLACES), watch::Sender::default());
        Arc::new(Self { options, places, lookups: TaskTracker::new(), refusal })
    }

    /// Waits, after cancellation, for look-ups that outlast the commits that asked for them. An error says that no key can be
    /// looked up.
    pub async fn drain(&self) -> Result<(), IngestError> {
        let mut refusal = self.refusal.subscribe();
        let refused = async { refusal.wait_for(Option::is_some).await.ok().and_then(|refusal| refusal.clone()) };
        if let Some(Some(error)) = self.options.cancel.run_until_cancelled(refused).await {
            return Err(error.into());
        }
        self.lookups.close();
        self.lookups.wait().await;
        Ok(())
    }

    /// Decodes a delivery, and verifies the commits of ours in it.
    pub async fn verify(&self, delivery: Delivery) -> Received {
        if delivery.dialect != Dialect::Firehose {
            return delivery.into();
        }
        let messages = delivery.messages.iter();
        let decoded = messages.map(|message| firehose::decode_message(&self.options.collections, message));
        let mut decoded: Vec<_> = decoded.map(|message| DecodedMessage { message, unverified: None }).collect();
        let ours = decoded.iter().zip(&delivery.messages).enumerate().filter_map(|(at, (decoded, message))| {
            let decode::Message::Frame(frame) = &decoded.message else { return None };
            Some((at, commit_of_ours(frame)?, message.clone()))
        });
        let ours: Vec<_> = ours.collect();
        let verified = stream::iter(ours).map(|(at, commit, message)| async move {
            let outcome = self.verify_commit(&commit.0, &message).await;
            (at, commit, outcome)
        });
        let mut verified = pin!(verified.buffer_unordered(PER_DELIVERY));
        while let Some((at, commit, outcome)) = verified.next().await {
            count(outcome.as_str());
            let Some((reason, detail)) = outcome.refusal() else { continue };
            let (did, rev) = (&commit.0, commit.1);
            tracing::warn!(%did, %rev, reason = reason.as_str(), detail, "a commit is rejected: resync of its repo");
            decoded[at].reject(Reject::of_message(reason, detail, RawFormat::Firehose, &delivery.messages[at]));
            decoded[at].unverified = Some(commit);
        }
        Received { delivery, decoded }
    }

    async fn verify_commit(&self, did: &Did, message: &Bytes) -> VerifyOutcome {
        let Ok(_place) = self.places.acquire().await else { return pending().await };
        let known = self.fetch_key(did, Freshness::Cached).boxed();
        verify(message, known, || self.fetch_key(did, Freshness::Refreshed).boxed()).await
    }

    /// The key, if it can be had in time. A database that is away is waited for.
    async fn fetch_key(&self, did: &Did, freshness: Freshness) -> Option<PublicKey> {
        let mut failures = 0;
        while self.lookups.len() < LOOKUPS_MAX {
            match timeout(KEY_MAX, self.lookups.spawn(self.look_up(did, freshness))).await {
                Ok(Ok(Some(Err(IdentityError::Database(error))))) => {
                    if !is_unavailable(&error) {
                        self.refusal.send_replace(Some(IdentityError::Database(error)));
                        return pending().await;
                    }
                    tracing::debug!(%error, %did, "a key waits for the database");
                }
                Ok(Ok(Some(found))) => return found.ok()?.signing_key,
                // Told to stop: nothing is said of the commit.
                Ok(Ok(None) | Err(_)) => return pending().await,
                Err(_) if self.options.pool.acquire().await.is_ok() => return None,
                Err(_) => tracing::debug!(%did, "a key waits for the database"),
            }
            sleep(retry::DATABASE.pause(failures, rand::random())).await;
            failures = failures.saturating_add(1);
        }
        None
    }

    /// A look-up that goes on when the commit no longer waits for it.
    fn look_up(
        &self,
        did: &Did,
        freshness: Freshness,
    ) -> impl Future<Output = Option<Result<crate::identity::Identity, IdentityError>>> + Send + 'static {
        let (identities, cancel, did) = (self.options.identities.clone(), self.options.cancel.clone(), did.clone());
        async move {
            let lookup = async {
                match freshness {
                    Freshness::Cached => identities.find(&did).await,
                    Freshness::Refreshed => identities.refresh(&did).await,
                }
            };
            cancel.run_until_cancelled(lookup).await
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Freshness {
    Cached,
    Refreshed,
}

impl DecodedMessage {
    /// Leaves of a frame only its position in the stream, and the reject.
    fn reject(&mut self, reject: Reject) {
        if let decode::Message::Frame(frame) = &mut self.message {
            // A reject of the whole message, and of no record: what is not verified hides nothing.
            (frame.items, frame.link, frame.undelivered) = (vec![Item::Reject(Box::new(reject))], None, None);
        }
    }
}
