use metrics::gauge;

use super::Drift;
use crate::{model::ResyncCause, store::repos::RepoCounts};

/// Sets the gauges of how many repos are in each state.
pub(super) fn measure(counts: &RepoCounts) {
    for (state, count) in [("pending", counts.pending), ("failed", counts.failed), ("done", counts.done)] {
        gauge!("plyr_repos", "state" => state).set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
    }
}

/// The labels of the counter of differences: every cause with every kind, to register them at the start.
pub fn drift_labels() -> impl Iterator<Item = (&'static str, &'static str)> {
    ResyncCause::ALL.into_iter().flat_map(|cause| Drift::ALL.map(|kind| (cause.as_str(), kind.as_str())))
}
