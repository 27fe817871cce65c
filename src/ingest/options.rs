use tokio::sync::watch;

use super::{failover::Patience, verify::VerifyCommits};
use crate::{
    model::Collections,
    source::{SourceSpec, Start, Tuning},
    store::sources::lease::Token,
};

/// What to follow.
#[derive(Debug, Clone)]
pub struct Options {
    /// The upstreams, each once.
    pub sources: Vec<SourceSpec>,
    /// Standby sources, followed in the place of incomplete ones; none of them among the others.
    pub standbys: Vec<SourceSpec>,
    /// What to ask an upstream for that has no position yet.
    pub start: Start,
    /// How patient the sources are.
    pub tuning: Tuning,
    /// How patient we are with a source that does not deliver what others do.
    pub patience: Patience,
    /// Which collections are ours.
    pub collections: Collections,
    /// Gets the token of the lease while this indexer is the leader.
    pub leading: watch::Sender<Option<Token>>,
    /// Whether commits of the raw firehose are verified.
    pub verify: VerifyCommits,
}
