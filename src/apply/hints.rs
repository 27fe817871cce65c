use quick_cache::unsync::Cache;

use crate::decode::{Body, Event};

/// Actors whose hints are remembered: the whole network says about that much in half a day.
const ACTORS_KEPT: usize = 10_000;

/// The last account and identity event of each of many actors, strangers among them.
///
/// On a firehose an account's `#identity` comes before its first record, when it is not ours to store. It is remembered here, and
/// written when the actor is met.
#[derive(Debug)]
pub struct Hints(Cache<Box<str>, Hint>);

#[derive(Debug, Clone, Default)]
struct Hint {
    account: Option<Event>,
    identity: Option<Event>,
}

impl Default for Hints {
    fn default() -> Self {
        Self(Cache::new(ACTORS_KEPT))
    }
}

impl Hints {
    /// The events that are remembered of these actors.
    pub fn recall<'d>(&self, dids: impl Iterator<Item = &'d str>) -> Vec<Event> {
        dids.filter_map(|did| self.0.peek(did))
            .flat_map(|hint| hint.account.iter().chain(&hint.identity))
            .cloned()
            .collect()
    }

    /// Remembers the account and identity events of a batch that has been committed.
    pub fn keep(&mut self, events: &[Event]) {
        for event in events {
            if matches!(event.body, Body::Account { .. } | Body::Identity { .. }) {
                self.keep_event(event);
            }
        }
    }

    fn keep_event(&mut self, event: &Event) {
        let mut hint = self.0.peek(event.did.as_str()).cloned().unwrap_or_default();
        let slot = if matches!(event.body, Body::Account { .. }) { &mut hint.account } else { &mut hint.identity };
        if slot.as_ref().and_then(time) <= time(event) {
            *slot = Some(event.clone());
            self.0.insert(event.did.as_str().into(), hint);
        }
    }
}

fn time(event: &Event) -> Option<crate::atproto::Timestamp> {
    match &event.body {
        Body::Account { at, .. } | Body::Identity { at, .. } => Some(*at),
        Body::Commit(_) | Body::Sync { .. } => None,
    }
}
