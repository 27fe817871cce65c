//! Failover: a source that does not deliver what others deliver of our collections is noticed, read again, and replaced.
//!
//! Contract: sources are a union, so what one of them missed and another delivered is indexed already; what is done here is for
//! what all of them may have missed. `Detector` knows which source is incomplete, by comparison alone: silence is no fault, and a
//! night without an event of ours blames no source. `Manager` then opens a gap at the last event of the collection that
//! the source delivered and rewinds it there, once. If it delivers all that was missing, the gap is closed; if it stays incomplete
//! and as many complete sources are followed as the settings name, by a standby in its place if need be, it is paused and tried
//! again later, after pauses that grow. Nothing here decodes, or knows how a source connects.

pub mod detect;
mod manage;
mod monitor;
mod runner;

use std::time::Duration;

pub(super) use manage::{ManagedSource, Manager};
pub(super) use monitor::{Monitor, Monitored};
pub(super) use runner::Runner;

/// How patient we are with a source that does not deliver what others do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patience {
    /// How long a source may take for what another has delivered.
    pub grace: Duration,
    /// Comparable commits that are missed in a row until a source counts as incomplete.
    pub misses: u32,
    /// How long a source that was rewound may take to deliver what it missed.
    pub trial: Duration,
    /// The shortest pause of a source that stayed incomplete; each is twice as long as the one before.
    pub pause_min: Duration,
    /// The longest.
    pub pause_max: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            grace: Duration::from_mins(1),
            misses: 3,
            trial: Duration::from_mins(3),
            pause_min: Duration::from_mins(10),
            pause_max: Duration::from_hours(12),
        }
    }
}

impl Patience {
    /// Between two ticks of the detector.
    fn pace(&self) -> Duration {
        (self.grace / 4).min(Duration::from_secs(1))
    }
}
