//! When to try again, and what is logged until it works.
//!
//! Contract: pauses grow exponentially up to a bound and are spread by jitter, so that many clients of one host do not come back
//! together; jitter is a number from 0 to 1 that the caller draws. Does not know what is tried.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

/// The bounds of an exponential backoff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
}

/// Pauses of what waits for a database that is away: it is back in a moment, or after an operator has seen to it.
pub const DATABASE: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));

/// More doublings than this reach every bound that is ever given.
const DOUBLINGS_MAX: u32 = 30;

impl Backoff {
    /// The pause after the first failure is `min`, and doubles up to `max`.
    pub const fn new(min: Duration, max: Duration) -> Self {
        Self { min, max }
    }

    /// The pause after one more failure than `failures` in a row, with equal jitter: between half of it and all of it.
    pub fn pause(&self, failures: u32, jitter: f64) -> Duration {
        let whole = self.min.saturating_mul(1 << failures.min(DOUBLINGS_MAX)).min(self.max);
        whole.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
    }
}

/// Between four and five fifths of a period, so that what began together does not come back together for ever.
pub fn spread(period: Duration, jitter: f64) -> Duration {
    period.mul_f64(0.8 + 0.2 * jitter.clamp(0.0, 1.0))
}

/// A step that is tried until it works: logs the first failure in a row as a warning, the others for debugging, and once that it
/// works again.
#[derive(Debug)]
pub struct Retry {
    what: &'static str,
    backoff: Backoff,
    failures: u32,
    failing_since: Option<Instant>,
}

impl Retry {
    /// `what` is what the log says while it fails.
    pub const fn new(what: &'static str, backoff: Backoff) -> Self {
        Self { what, backoff, failures: 0, failing_since: None }
    }

    /// For a database that is away.
    pub const fn of_database(what: &'static str) -> Self {
        Self::new(what, DATABASE)
    }

    /// Notes a failure. Gives the pause before the next attempt.
    pub fn failed(&mut self, error: &dyn Display) -> Duration {
        let pause = self.backoff.pause(self.failures, rand::random());
        self.failures = self.failures.saturating_add(1);
        if self.failing_since.is_none() {
            self.failing_since = Some(Instant::now());
            tracing::warn!(%error, "{}: trying again", self.what);
        } else {
            tracing::debug!(%error, failures = self.failures, "{}", self.what);
        }
        pause
    }

    /// Notes that it works.
    pub fn succeeded(&mut self) {
        if let Some(since) = self.failing_since.take() {
            tracing::info!(after = self.what, seconds = since.elapsed().as_secs(), "it works again");
        }
        self.failures = 0;
    }
}
