use quick_cache::unsync::Cache;

use super::accounts::rules_visibility;
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

    /// Remembers the account events of a batch that has been committed. The latest that says whether an account is to be seen
    /// stands; one that says nothing of that is remembered where there is no such.
    pub fn keep(&mut self, events: &[Event]) {
        for event in events {
            let Some(order) = order_of(event) else { continue };
            let held = self.0.peek(event.did.as_str()).and_then(order_of);
            if held.is_none_or(|held| held <= order) {
                self.0.insert(event.did.as_str().into(), event.clone());
            }
        }
    }
}

/// What orders account events: whether they say anything of visibility, and when.
fn order_of(event: &Event) -> Option<(bool, Timestamp)> {
    match &event.body {
        Body::Account { active, status, at } => Some((rules_visibility(*active, status.as_ref()), *at)),
        Body::Identity { .. } | Body::Commit(_) | Body::Sync { .. } => None,
    }
}
