use std::time::Duration;

/// How long to wait before the next attempt: twice as long each time, with jitter, so that many clients of one upstream
/// do not come back together.
#[derive(Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    ceiling: Duration,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, ceiling: min }
    }

    /// Begins anew: the upstream works.
    pub(super) fn reset(&mut self) {
        self.ceiling = self.min;
    }

    /// The next delay, between the smallest and the present ceiling. `jitter` is from 0 to 1.
    pub(super) fn next(&mut self, jitter: f64) -> Duration {
        self.ceiling = self.ceiling.saturating_mul(2).clamp(self.min, self.max);
        self.min + self.ceiling.saturating_sub(self.min).mul_f64(jitter.clamp(0.0, 1.0))
    }

    /// A delay near the greatest, for an upstream that will hardly change its mind soon.
    pub(super) fn longest(&mut self, jitter: f64) -> Duration {
        self.ceiling = self.max;
        self.max.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
    }
}
