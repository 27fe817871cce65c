//! What a connection is doing, and since when: the clocks of one connection, without the connection.

use tokio::time::Instant;

use super::limits::Limits;

/// Why a connection was closed, as a label of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// The head of a request was not there in time.
    Head,
    /// No request came.
    Idle,
    /// Its client took nothing of an answer.
    Stalled,
    /// Its client took too long over an answer.
    Answer,
    /// It was idle, and another wanted to connect.
    Evicted,
    /// All others work.
    Refused,
}

impl Closed {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Head, Self::Idle, Self::Stalled, Self::Answer, Self::Evicted, Self::Refused];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Idle => "idle",
            Self::Stalled => "stalled",
            Self::Answer => "answer",
            Self::Evicted => "evicted",
            Self::Refused => "refused",
        }
    }
}

/// What a connection is doing.
#[derive(Debug)]
pub struct Activity {
    /// Since the connect or the last answer.
    quiet_since: Instant,
    /// A head is awaited, and not complete.
    head_since: Option<Instant>,
    /// A request has been taken, and its client does not have the whole answer.
    answer_since: Option<Instant>,
    /// The answer is still being made.
    is_made: bool,
    /// The client takes nothing.
    stalled_since: Option<Instant>,
}

impl Activity {
    /// A new connection, whose first request is due.
    pub fn new(now: Instant) -> Self {
        Self { quiet_since: now, head_since: Some(now), answer_since: None, is_made: false, stalled_since: None }
    }

    /// Bytes came.
    pub fn received(&mut self, now: Instant) {
        if self.answer_since.is_none() {
            self.head_since.get_or_insert(now);
        }
    }

    /// The head of a request is complete.
    pub fn begin(&mut self, now: Instant) {
        (self.head_since, self.answer_since, self.is_made) = (None, Some(now), true);
    }

    /// The last byte of the answer has been handed over.
    pub fn end(&mut self) {
        self.is_made = false;
    }

    /// The client took bytes.
    pub fn wrote(&mut self) {
        self.stalled_since = None;
    }

    /// The client takes nothing for now.
    pub fn stalled(&mut self, now: Instant) {
        self.stalled_since.get_or_insert(now);
    }

    /// The client took all that was handed over.
    pub fn flushed(&mut self, now: Instant) {
        self.stalled_since = None;
        if self.answer_since.is_some() && !self.is_made {
            (self.answer_since, self.quiet_since) = (None, now);
        }
    }

    /// Since when nothing has been asked; none while an answer is made or taken.
    pub fn idle_since(&self) -> Option<Instant> {
        self.answer_since.is_none().then_some(self.quiet_since)
    }

    /// Which clock has run out, if one has.
    pub fn overdue(&self, limits: &Limits, now: Instant) -> Option<Closed> {
        let clocks = [
            (self.stalled_since, limits.stall, Closed::Stalled),
            (self.answer_since, limits.answer, Closed::Answer),
            (self.head_since, limits.head, Closed::Head),
            (self.idle_since(), limits.idle, Closed::Idle),
        ];
        let ran_out = clocks.into_iter().find(|(since, limit, _)| since.is_some_and(|since| now >= since + *limit));
        ran_out.map(|(_, _, why)| why)
    }
}
