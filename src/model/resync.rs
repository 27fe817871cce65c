use super::words::words;

words! {
    /// Why a repo is to be read.
    pub enum ResyncCause {
        /// A relay named it.
        Discovered = "discovered",
        /// Its first record came by a stream.
        FirstSeen = "first_seen",
        /// The operator asked.
        Asked = "asked",
        /// A source may have missed something of it.
        Gap = "gap",
        /// The stream said that it diverged.
        Sync = "sync",
        /// Its commits do not follow one another.
        Chain = "chain",
        /// A commit of it did not come as its owner wrote it.
        Undelivered = "undelivered",
        /// Its account came back, or moved.
        Account = "account",
        /// It was its turn.
        Audit = "audit",
    }
}
