use super::words::words;

words! {
    /// Why something may have been missed.
    pub enum GapReason {
        /// The upstream says that it no longer keeps what follows our position.
        TooOld = "too_old",
        /// The upstream began later than where we asked it to, without a notice.
        Clamped = "clamped",
        /// Our position lay in the upstream's future, so that it was not a place to go on from.
        Future = "future",
        /// The upstream began to count again from a lower number.
        Reset = "reset",
        /// The stored position was of another number space or host.
        Mismatch = "mismatch",
        /// The upstreams were exchanged for others that do not reach back to where the old ones ended.
        HostChange = "host_change",
        /// A repo diverged from what its events said.
        Sync = "sync",
        /// A commit of a repo does not follow on the last one that we received.
        Chain = "chain",
        /// A commit of a repo failed verification.
        Proof = "proof",
        /// What a commit of a repo says of our collections did not come as its owner wrote it.
        Undelivered = "undelivered",
        /// The upstream delivered, but not what others delivered of our collections.
        Incomplete = "incomplete",
    }
}
