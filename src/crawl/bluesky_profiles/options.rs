use std::time::Duration;

use crate::retry::Backoff;

/// How many profiles are read at the same time, and how old they may become.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// A profile is read again when it is this old.
    pub age_max: Duration,
    /// One that is not there, or was refused, is read again after this long.
    pub absent_for: Duration,
    /// Profiles read at the same time.
    pub in_all: usize,
    /// Of those, from one host.
    pub per_host: usize,
    /// Pause between two requests that begin.
    pub pace: Duration,
    /// Pauses after failures.
    pub backoff: Backoff,
    /// How often the table is asked which are due.
    pub tick: Duration,
    /// How often it is asked whom `#identity` events have named.
    pub identity_events_every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            age_max: Duration::from_hours(7 * 24),
            absent_for: Duration::from_hours(24),
            in_all: 8,
            per_host: 2,
            pace: Duration::from_millis(50),
            backoff: Backoff::new(Duration::from_secs(4), Duration::from_hours(6)),
            tick: Duration::from_secs(1),
            identity_events_every: Duration::from_secs(15),
        }
    }
}
