//! Gap detection: whether what the sources deliver follows on what is stored of them.
//!
//! Contract: pure state over openings, numbers and times; what it finds goes into the batch that holds the position, so that
//! no position is stored past a gap that is not. Does not know the database; only [`report_open`] asks it how many gaps are open.

pub mod continuity;
mod host_change;
mod open_count;

pub use open_count::report_open;

use std::{collections::HashMap, time::Duration};

use crate::{
    apply::Gap,
    atproto::Timestamp,
    source::{Delivery, SourceSpec},
    store::{gaps::End, sources::positions::StoredPosition},
};
use continuity::{Continuity, Finding, Stored};
use host_change::{FirstMessage, HostChange};

/// The continuity of each source, and of a change to other sources.
#[derive(Debug, Default)]
pub struct Continuities {
    /// By their place in the settings; a recorded log has none.
    sources: Vec<Continuity>,
    host_change: Option<HostChange>,
}

impl Continuities {
    /// Begins with all positions that are stored. `margin` is how far behind its position a Jetstream is asked.
    pub fn new(sources: &[SourceSpec], margin: Duration, stored: &[StoredPosition]) -> Self {
        let rows: HashMap<&str, &StoredPosition> = stored.iter().map(|row| (row.source.as_str(), row)).collect();
        let row = |source: &SourceSpec| rows.get(&*source.name()).copied();
        let until = stored.iter().filter_map(known_until).max();
        let is_new = sources.iter().all(|source| row(source).is_none());
        let host_change = until.filter(|_| is_new).map(|until| HostChange::new(until, margin, sources.len()));
        let sources = sources.iter().map(|source| {
            let kind = source.dialect.position_kind();
            Continuity::new(source.name(), kind, margin, row(source).map(Stored::from).unwrap_or_default())
        });
        Self { sources: sources.collect(), host_change }
    }

    /// A delivery has come, with how its connection began if it is the first. Returns until when the source was quiet, if the
    /// delivery says nothing else.
    pub fn on_delivery(&mut self, delivery: &Delivery, now: Timestamp, found: &mut Vec<Gap>) -> Option<Timestamp> {
        let source = self.sources.get_mut(delivery.source)?;
        if let Some(opening) = &delivery.opening {
            found.extend(source.on_open(opening, now));
        } else if delivery.messages.is_empty() {
            let waited_us = i64::try_from(delivery.received_at.elapsed().as_micros()).unwrap_or(i64::MAX);
            return source.on_quiet(Timestamp::from_micros(now.micros().saturating_sub(waited_us))?);
        }
        None
    }

    /// The upstream of the source at a place has sent an `#info` or an error. Returns whether the oldest that it keeps takes the
    /// place of the position.
    pub fn on_notice(&mut self, place: usize, name: &str, found: &mut Vec<Gap>) -> bool {
        let source = self.sources.get_mut(place);
        let Finding { restarts, gap } = source.map(|source| source.on_notice(name)).unwrap_or_default();
        found.extend(gap);
        restarts
    }

    /// A message of the source at a place has come. Returns whether its number takes the place of whatever is stored.
    pub fn on_message(&mut self, place: usize, to: End, now: Timestamp, found: &mut Vec<Gap>) -> bool {
        let Some(source) = self.sources.get_mut(place) else { return false };
        let Finding { restarts, gap } = source.on_message(to, now);
        found.extend(gap);
        if let (Some(host_change), Some(_)) = (&mut self.host_change, to.at) {
            let first = FirstMessage { source: source.name(), kind: source.kind(), at: to };
            if host_change.on_message(place, &first, found) {
                self.host_change = None;
            }
        }
        restarts
    }
}

impl From<&StoredPosition> for Stored {
    fn from(row: &StoredPosition) -> Self {
        Self {
            value: Some(row.value),
            event_at: row.event_at.map(Timestamp::from_utc),
            quiet_until: row.quiet_until.map(Timestamp::from_utc),
        }
    }
}

/// Until when a source has delivered everything, as far as is known.
fn known_until(row: &StoredPosition) -> Option<Timestamp> {
    row.event_at.max(row.quiet_until).map(Timestamp::from_utc)
}
