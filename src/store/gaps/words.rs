use chrono::{DateTime, Utc};

use crate::atproto::Timestamp;

/// Why something may have been missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The upstream says that it no longer keeps what follows our position.
    TooOld,
    /// The upstream began later than where we asked it to, without a word.
    Clamped,
    /// Our position lay in the upstream's future, so that it was not a place to go on from.
    Future,
    /// The upstream began to count anew.
    Reset,
    /// The stored position was of another number space or host.
    Mismatch,
    /// The upstreams were exchanged for others that do not reach back to where the old ones ended.
    HostChange,
    /// A repo diverged from what its events told.
    Sync,
    /// A commit of a repo does not follow on the one before it that we were told of.
    Chain,
    /// What was told of a repo is not proven to be its owner's.
    Proof,
    /// The upstream delivered, but not what others delivered of our collections.
    Incomplete,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::TooOld,
        Self::Clamped,
        Self::Future,
        Self::Reset,
        Self::Mismatch,
        Self::HostChange,
        Self::Sync,
        Self::Chain,
        Self::Proof,
        Self::Incomplete,
    ];

    /// The word in the table and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooOld => "too_old",
            Self::Clamped => "clamped",
            Self::Future => "future",
            Self::Reset => "reset",
            Self::Mismatch => "mismatch",
            Self::HostChange => "host_change",
            Self::Sync => "sync",
            Self::Chain => "chain",
            Self::Proof => "proof",
            Self::Incomplete => "incomplete",
        }
    }

    /// Reads the word of the table.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

/// What is being done about a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing yet.
    Open,
    /// A repair has taken it up.
    Repairing,
    /// Nothing is missing any more, or the operator says so.
    Closed,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Open, Self::Repairing, Self::Closed];

    /// The word in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Repairing => "repairing",
            Self::Closed => "closed",
        }
    }

    /// Reads the word of the table.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// Who closed a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A person, by command.
    Operator,
    /// The repos that it may concern have been read and compared.
    Repair,
    /// It turned out that nothing was missed.
    Proof,
}

impl By {
    /// The word in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Repair => "repair",
            Self::Proof => "proof",
        }
    }
}

/// An end of a gap: a number, a time, either or neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct End {
    /// In the number space of the gap.
    pub value: Option<i64>,
    /// When that was.
    pub at: Option<Timestamp>,
}

impl End {
    pub(super) fn utc(self) -> Option<DateTime<Utc>> {
        self.at.map(Timestamp::utc)
    }
}
