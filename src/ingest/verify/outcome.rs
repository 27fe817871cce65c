use futures_util::{FutureExt as _, future::BoxFuture};
use metrics::counter;

use crate::{
    atproto::{Did, PublicKey, Tid},
    decode::{
        Frame, Item, firehose,
        repo::{VerifyError, verify_commit},
    },
    identity::{Identity, IdentityError},
    model::{EventBody, RejectReason},
};

/// What verifying a commit came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyOutcome {
    /// It is signed by its owner's key, and is what happened to the tree.
    Verified,
    /// It is not.
    Failed(VerifyError),
    /// No host could be asked for the key, or there is none.
    NoKey,
}

impl VerifyOutcome {
    /// The label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Failed(error) => error.as_str(),
            Self::NoKey => "no_key",
        }
    }

    /// Why the commit is not to be applied, with one sentence; none where it is verified.
    pub fn refusal(self) -> Option<(RejectReason, String)> {
        match self {
            Self::Verified => None,
            Self::Failed(error @ VerifyError::Signature) => Some((RejectReason::Signature, error.to_string())),
            Self::Failed(error) => Some((RejectReason::Unproven, error.to_string())),
            Self::NoKey => {
                let sentence = "the key of the owner's DID document could not be fetched".to_owned();
                Some((RejectReason::KeyUnknown, sentence))
            }
        }
    }
}

/// A key that is being looked up; none where there is none to be had.
pub type KeyLookup<'k> = BoxFuture<'k, Option<PublicKey>>;

/// The signing key of an identity that is being looked up.
pub fn signing_key<'k>(identity: impl Future<Output = Result<Identity, IdentityError>> + Send + 'k) -> KeyLookup<'k> {
    async move { identity.await.ok()?.signing_key }.boxed()
}

/// Verifies a message of the firehose by the key that is known; where that key does not fit, by the one that a fresh look-up gives,
/// since the owner may have rotated it. No look-up starts before it is needed.
pub async fn verify<'k>(
    message: &[u8],
    known: KeyLookup<'k>,
    refreshed: impl FnOnce() -> KeyLookup<'k>,
) -> VerifyOutcome {
    let Some(key) = known.await else { return VerifyOutcome::NoKey };
    match verify_by(message, &key) {
        VerifyOutcome::Failed(VerifyError::Signature) => {
            refreshed().await.map_or(VerifyOutcome::NoKey, |key| verify_by(message, &key))
        }
        outcome => outcome,
    }
}

fn verify_by(message: &[u8], key: &PublicKey) -> VerifyOutcome {
    let Ok(message) = firehose::read_message(message) else {
        return VerifyOutcome::Failed(VerifyError::Blocks("none"));
    };
    let Some(commit) = message.commit() else {
        return VerifyOutcome::Failed(VerifyError::Commit("there is none"));
    };
    match verify_commit(commit, key) {
        Ok(_) => VerifyOutcome::Verified,
        Err(error) => VerifyOutcome::Failed(error),
    }
}

/// The repo and the rev of a commit that would change anything of ours.
pub fn commit_of_ours(frame: &Frame) -> Option<(Did, Tid)> {
    frame.items.iter().find_map(|item| match item {
        Item::Event(event) => match &event.body {
            EventBody::Commit(commit) => Some((event.did.clone(), commit.rev)),
            _ => None,
        },
        // What is refused for its form still hides what its path held before.
        Item::Reject(reject) => reject.path.as_ref().map(|path| (path.did.clone(), path.rev)),
    })
}

/// Not verified, because too many wait.
pub(super) const SKIPPED: &str = "skipped";

/// The label values of outcomes, to register their counters at the start.
pub fn verify_outcomes() -> impl Iterator<Item = &'static str> {
    [VerifyOutcome::Verified.as_str(), VerifyOutcome::NoKey.as_str(), SKIPPED].into_iter().chain(VerifyError::WORDS)
}

pub(super) fn count(outcome: &'static str) {
    counter!("plyr_commits_verified_total", "outcome" => outcome).increment(1);
}
