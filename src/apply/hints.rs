use quick_cache::unsync::Cache;

use crate::{
    atproto::Timestamp,
    decode::{Body, Event},
};

/// Actors whose hints are remembered: the whole network says about that much in half a day.
const ACTORS_KEPT: usize = 10_000;

/// The last account event of each of many actors, strangers among them.
///
/// On a firehose an account's `#account` comes before its first record, when it is not ours to store. It is remembered here, and
/// written when the actor is met.
#[derive(Debug)]
pub struct Hints(Cache<Box<str>, Event>);

impl Default for Hints {
    fn default() -> Self {
        Self(Cache::new(ACTORS_KEPT))
    }
}

impl Hints {
    /// The events that are remembered of these actors.
    pub fn recall<'d>(&self, dids: impl Iterator<Item = &'d str>) -> Vec<Event> {
        dids.filter_map(|did| self.0.peek(did)).cloned().collect()
    }

    /// Remembers the account events of a batch that has been committed.
    pub fn keep(&mut self, events: &[Event]) {
        for event in events {
            let at = time(event);
            if at.is_some() && self.0.peek(event.did.as_str()).and_then(time) <= at {
                self.0.insert(event.did.as_str().into(), event.clone());
            }
        }
    }
}

fn time(event: &Event) -> Option<Timestamp> {
    match &event.body {
        Body::Account { at, .. } => Some(*at),
        Body::Identity { .. } | Body::Commit(_) | Body::Sync { .. } => None,
    }
}
