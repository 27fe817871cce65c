use chrono::{DateTime, Utc};

use crate::atproto::Timestamp;

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
    /// The source itself: it turned out that nothing was missed.
    Source,
}

impl By {
    /// The word in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Repair => "repair",
            Self::Source => "source",
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
