//! Commits of the raw firehose are verified: signed by the key in their owner's DID document, and what happened to the repo's tree.
//!
//! Contract: in the background ([`BackgroundVerifier`]) a commit is applied whether it is verified or not, and the stream waits for
//! no host; a commit that fails is counted, and its repo is marked to be read. Before applying ([`CommitVerifier`]) a commit that
//! fails becomes a reject, in the order of the stream. In both, a host that does not answer never stops the stream. Does not know how
//! events are applied.

mod background;
mod blocking;
mod outcome;
mod received_queue;

pub use background::{BackgroundVerifier, VerifyJob, VerifyJobs};
pub use blocking::{CommitVerifier, CommitVerifierOptions};
pub use outcome::{VerifyOutcome, commit_of_ours, signing_key, verify, verify_outcomes};
pub use received_queue::ReceivedQueue;

use crate::identity::Identities;

/// Whether commits of the raw firehose are verified, and by whose identities.
#[derive(Debug, Clone, Default)]
pub enum VerifyCommits {
    /// They are applied as they come.
    #[default]
    Off,
    /// They are applied as they come, and verified in the background.
    Background(Identities),
    /// They are applied when they are verified, and rejected otherwise.
    BeforeApply(Identities),
}
