use std::{sync::Arc, time::Duration};

use crate::{
    apply::{Gap, GapChange},
    atproto::Timestamp,
    model::{GapReason, PositionKind},
    store::gaps::End,
};

/// All sources with a position have left the settings; those that came must reach back to where the old ones ended.
#[derive(Debug)]
pub struct HostChange {
    until: Timestamp,
    margin: Duration,
    /// Whether the source at this place has delivered something.
    has_begun: Vec<bool>,
    is_gap_open: bool,
}

/// The first message of a new source.
#[derive(Debug)]
pub struct FirstMessage<'a> {
    /// The source's name.
    pub source: &'a Arc<str>,
    /// Its number space.
    pub kind: PositionKind,
    /// The message.
    pub at: End,
}

impl HostChange {
    /// The old sources are known until then; `margin` is how far behind its position a Jetstream is asked.
    pub fn new(until: Timestamp, margin: Duration, sources: usize) -> Self {
        Self { until, margin, has_begun: vec![false; sources], is_gap_open: false }
    }

    /// A message of the source at a place; only its first counts. Returns whether the change is over: every source has begun, or one
    /// reaches back far enough.
    pub fn on_message(&mut self, place: usize, first: &FirstMessage<'_>, found: &mut Vec<Gap>) -> bool {
        match self.has_begun.get_mut(place) {
            Some(has_begun) if !*has_begun => *has_begun = true,
            _ => return false,
        }
        let (FirstMessage { source, kind, at: to }, reason) = (first, GapReason::HostChange);
        let margin_us = i64::try_from(self.margin.as_micros()).unwrap_or(i64::MAX);
        let reaches_back = to.at.is_some_and(|at| at.micros() <= self.until.micros().saturating_add(margin_us));
        if reaches_back {
            let note = "another source reaches back to where the old ones ended";
            let gap = Gap { source: (*source).clone(), change: GapChange::ProvesAll { reason, note } };
            found.extend(self.is_gap_open.then_some(gap));
            return true;
        }
        self.is_gap_open = true;
        let from = End { value: None, at: Some(self.until) };
        tracing::warn!(%source, reason = reason.as_str(), ?from, ?to, "a gap: something may be missing");
        let detail = "the new sources do not reach back to where the old ones ended".to_owned();
        let change = GapChange::Opens { reason, kind: Some(kind.as_str()), from, to: *to, detail };
        found.push(Gap { source: (*source).clone(), change });
        self.has_begun.iter().all(|has_begun| *has_begun)
    }
}
