//! Name and picture of artists and likers, as `app.bsky.actor.profile` in their repos says.
//!
//! Contract: each actor's own PDS is asked for the one record, off every request's path, and again by age, after an `#identity`
//! event, and after a failure. What no host answers leaves what is shown as it is; a record that is not there, or that breaks its
//! lexicon, shows nothing. Nothing else depends on it: no stream carries these records, and they are not counted.

mod queue;
mod read;

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Context, Until};
use crate::{retry::Backoff, store::actors::bluesky_profiles::Outcome};

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

/// Keeps the profiles of artists and likers until cancelled.
pub async fn run(context: Context, options: Options, cancel: CancellationToken) -> sqlx::Result<()> {
    let clock = context.clock.clone();
    let mut profiles = queue::Profiles::new(context, options);
    super::run::run(&mut profiles, &clock, Until::Cancelled, &cancel).await
}

/// The outcomes that attempts are counted by.
pub fn outcomes() -> [&'static str; 4] {
    [Outcome::Found.as_str(), Outcome::Absent.as_str(), Outcome::Refused.as_str(), read::FAILED]
}
