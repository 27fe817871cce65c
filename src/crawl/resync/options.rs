use std::time::Duration;

use crate::{crawl::Until, model::Collections};

/// Which repos are read, and how many at the same time.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which collections are ours.
    pub collections: Collections,
    /// Between two readings of the same repo by the standing audit; none leaves it out.
    pub audit_every: Option<Duration>,
    /// Repos that are read at the same time.
    pub in_all: usize,
    /// Of those, from one host.
    pub per_host: usize,
    /// How long a repo is taken for. The lease is renewed while it waits and is read.
    pub lease: Duration,
    /// When to stop.
    pub until: Until,
}
