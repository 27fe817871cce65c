use std::time::Duration;

use tokio::time::Instant;

use crate::store::repos;

/// How fast the audit walks: all repos in one period, evenly.
pub(super) struct Pace {
    since: Instant,
    allowance: f64,
    repos: f64,
    counted_at: Option<Instant>,
}

impl Pace {
    /// A pace that begins with one repo.
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), allowance: 1.0, repos: 0.0, counted_at: None }
    }

    /// How many may be taken now.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a pace need not be exact")]
    pub(super) async fn allowed(&mut self, connection: &mut sqlx::PgConnection, every: Duration) -> sqlx::Result<i64> {
        let now = Instant::now();
        if self.counted_at.is_none_or(|at| now - at > Duration::from_mins(1)) {
            self.repos = repos::count(connection).await?.done as f64;
            self.counted_at = Some(now);
        }
        let rate = self.repos / every.as_secs_f64().max(0.001);
        // What was not used does not gather: a pause is not made up for by a storm.
        let most = rate.max(1.0) * 2.0;
        self.allowance = (self.allowance + rate * (now - self.since).as_secs_f64()).min(most);
        self.since = now;
        Ok(self.allowance as i64)
    }

    /// So many were taken.
    #[expect(clippy::cast_precision_loss, reason = "few are taken at a time")]
    pub(super) fn spend(&mut self, count: usize) {
        self.allowance -= count as f64;
    }
}
