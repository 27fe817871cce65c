use tokio::sync::watch;

use super::{failover::Patience, verify::VerifyCommits};
use crate::{
    maintenance::Retention,
    model::Collections,
    source::{SourceSpec, Start, Tuning},
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
    /// Learns whether this indexer is the leader.
    pub leading: watch::Sender<bool>,
    /// How many tracks a minute are counted again, to see that the kept counts are right; 0 for none.
    pub recounts_per_minute: u32,
    /// How long and how many rejects are kept.
    pub retention: Retention,
    /// Whether commits of the raw firehose are verified.
    pub verify: VerifyCommits,
}
