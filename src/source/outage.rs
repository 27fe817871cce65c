use std::time::Duration;

use tokio::time::Instant;

/// Decides what of a bad connection is worth a line: at most one warning in each interval, and a line for the connection
/// that ends what was warned about.
#[derive(Debug)]
pub(super) struct Outage {
    interval: Duration,
    failures: u64,
    warned_at: Option<Instant>,
    tell_connected: bool,
}

impl Outage {
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, failures: 0, warned_at: None, tell_connected: true }
    }

    /// Counts a failure. Gives the count since the last warning if it is time for another.
    pub(super) fn failed(&mut self, now: Instant) -> Option<u64> {
        self.failures += 1;
        if self.warned_at.is_some_and(|warned_at| now.duration_since(warned_at) < self.interval) {
            return None;
        }
        self.warned_at = Some(now);
        self.tell_connected = true;
        Some(std::mem::take(&mut self.failures))
    }

    /// Whether this connection is worth a line: the first, and the first after a warning.
    pub(super) fn connected(&mut self) -> bool {
        std::mem::take(&mut self.tell_connected)
    }
}
