//! Commits of ours on the raw firehose are held against their proofs, beside the stream: the network that knows whose key is
//! whose may be slow or away, and the stream waits for neither.
//!
//! A commit is applied whether it is proven or not. One that is not, though everybody needed could be asked, is counted and
//! logged, and its repo is marked for reading anew: the repo is the truth. What waits when the pump stops is not proven.
//! Where commits must be proven before they are applied, [`Judge`](super::before::Judge) does it instead.

use std::sync::Arc;

use futures_util::{FutureExt as _, future::BoxFuture};
use metrics::counter;
use sqlx::PgPool;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_tungstenite::tungstenite::Bytes;
use tokio_util::sync::CancellationToken;

use crate::{
    atproto::{Did, PublicKey, Tid},
    clock::Clock,
    decode::{
        firehose,
        repo::{VerifyError, verify_commit},
    },
    identity::{Identities, Identity, IdentityError},
    model::{GapReason, RejectReason},
    store::gaps::{self, NewBreak},
};

/// Commits that wait at most; the rest is not proven, and counted as such. A message has 5 kB in the mean.
const WAITING_MAX: usize = 2_000;
/// Commits that are looked at at once: nearly all of that time is waiting for a host or for the table.
const PARALLEL: usize = 8;

/// Whether commits of the raw firehose are held against their proofs, and who is asked for the keys.
#[derive(Debug, Clone, Default)]
pub enum Proofs {
    /// They are applied as they come.
    #[default]
    Off,
    /// They are applied as they come, and proven beside the stream.
    Beside(Identities),
    /// They are applied when they are proven, and refused otherwise.
    Before(Identities),
}

/// A commit that somebody sent.
#[derive(Debug)]
pub struct Claim {
    /// The source's name.
    pub source: Arc<str>,
    /// Whose repo.
    pub did: Did,
    /// Of the commit.
    pub rev: Tid,
    /// The message of the firehose.
    pub message: Bytes,
}

/// Where commits are left to be proven, if they are.
#[derive(Debug, Clone, Default)]
pub struct Claims(Option<mpsc::Sender<Claim>>);

/// Proves commits.
#[derive(Debug)]
pub struct Prover {
    claims: mpsc::Receiver<Claim>,
    case: Case,
}

/// What a proof needs besides the commit.
#[derive(Debug, Clone)]
struct Case {
    identities: Identities,
    pool: PgPool,
    clock: Clock,
}

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is its owner's.
    Proven,
    /// It is not, or not as it was sent.
    Refuted(VerifyError),
    /// Nobody could be asked for the key, or there is none.
    NoKey,
}

impl Claims {
    /// Leaves a commit to be proven. Never waits.
    pub fn leave(&self, claim: impl FnOnce() -> Claim) {
        let Some(sender) = &self.0 else { return };
        if sender.try_send(claim()).is_err() {
            count("skipped");
        }
    }
}

impl Prover {
    /// A prover that asks `identities` for keys, and where to leave commits for it.
    pub fn new(identities: Identities, pool: PgPool, clock: Clock) -> (Claims, Self) {
        let (sender, claims) = mpsc::channel(WAITING_MAX);
        (Claims(Some(sender)), Self { claims, case: Case { identities, pool, clock } })
    }

    /// Runs until cancelled, or until nobody can leave a commit any more.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
                claim = self.claims.recv(), if tasks.len() < PARALLEL => {
                    let Some(claim) = claim else { break };
                    let case = self.case.clone();
                    tasks.spawn(async move { case.settle(&claim).await });
                }
            }
        }
        while tasks.join_next().await.is_some() {}
    }
}

impl Case {
    async fn settle(&self, claim: &Claim) {
        let (identities, did) = (&self.identities, &claim.did);
        let verdict = judge(&claim.message, key(identities.find(did)), || key(identities.refresh(did))).await;
        count(verdict.as_str());
        if let Verdict::Refuted(error) = verdict {
            tracing::warn!(
                source = %claim.source, did = %claim.did, rev = %claim.rev, %error,
                "a commit is not proven: its repo is to be read anew"
            );
            if let Err(error) = self.mark(claim).await {
                tracing::error!(%error, did = %claim.did, "a repo to be read anew could not be marked");
            }
        }
    }

    async fn mark(&self, claim: &Claim) -> sqlx::Result<()> {
        let broken = NewBreak { source: &claim.source, did: &claim.did, from: None, to: claim.rev };
        let mut connection = self.pool.acquire().await?;
        let opened = gaps::open_repos(&mut connection, GapReason::Proof, &[broken], self.clock.now().utc()).await?;
        counter!("plyr_gaps_opened_total", "reason" => GapReason::Proof.as_str()).increment(opened.into());
        Ok(())
    }
}

impl Verdict {
    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Refuted(error) => error.as_str(),
            Self::NoKey => "no_key",
        }
    }

    /// Why the commit is not to be applied, with one sentence; none where it is proven.
    pub fn refusal(self) -> Option<(RejectReason, String)> {
        match self {
            Self::Proven => None,
            Self::Refuted(error @ VerifyError::Signature) => Some((RejectReason::Signature, error.to_string())),
            Self::Refuted(error) => Some((RejectReason::Unproven, error.to_string())),
            Self::NoKey => {
                let sentence = "the key of the owner's DID document is not to be had".to_owned();
                Some((RejectReason::KeyUnknown, sentence))
            }
        }
    }
}

/// Holds a message against the key that is known; where it is the key that does not fit, against the one that the owner may
/// have by now. Neither is asked for before it is needed.
pub async fn judge<'k>(message: &[u8], known: Key<'k>, anew: impl FnOnce() -> Key<'k>) -> Verdict {
    let Some(key) = known.await else { return Verdict::NoKey };
    match hold(message, &key) {
        Verdict::Refuted(VerifyError::Signature) => anew().await.map_or(Verdict::NoKey, |key| hold(message, &key)),
        verdict => verdict,
    }
}

/// What may become of a commit, in words, to register their counters at the start.
pub fn proof_outcomes() -> impl Iterator<Item = &'static str> {
    ["proven", "no_key", "skipped"].into_iter().chain(VerifyError::WORDS)
}

/// Counts what became of a commit.
pub fn count(outcome: &'static str) {
    counter!("plyr_proofs_total", "outcome" => outcome).increment(1);
}

/// A key that is being looked up; none where it is not to be had.
pub type Key<'k> = BoxFuture<'k, Option<PublicKey>>;

/// The key of an identity that is being looked up.
pub fn key<'k>(asked: impl Future<Output = Result<Identity, IdentityError>> + Send + 'k) -> Key<'k> {
    async move { asked.await.ok()?.signing_key }.boxed()
}

fn hold(message: &[u8], key: &PublicKey) -> Verdict {
    let Ok(message) = firehose::read_message(message) else { return Verdict::Refuted(VerifyError::Blocks("none")) };
    let Some(commit) = message.commit() else { return Verdict::Refuted(VerifyError::Commit("there is none")) };
    match verify_commit(commit, key) {
        Ok(_) => Verdict::Proven,
        Err(error) => Verdict::Refuted(error),
    }
}
