use quick_cache::unsync::Cache;

use super::account_hints::says_visibility;
use crate::model::{Event, EventBody, HostMoment};

/// Accounts whose hints are remembered: the whole network says about that much in half a day.
const ACTORS_KEPT: usize = 10_000;

/// The last account events of many accounts, also of those that have no record of ours.
///
/// On a firehose an account's `#account` comes before its first record, when it is not ours to store. It is remembered here, and
/// written with the first record.
#[derive(Debug)]
pub struct RememberedHints(Cache<Box<str>, Vec<Event>>);

impl Default for RememberedHints {
    fn default() -> Self {
        Self(Cache::new(ACTORS_KEPT))
    }
}

impl RememberedHints {
    /// The events that are remembered of these accounts.
    pub fn recall<'d>(&self, dids: impl Iterator<Item = &'d str>) -> Vec<Event> {
        dids.filter_map(|did| self.0.peek(did)).flatten().cloned().collect()
    }

    /// Remembers the account events of a batch that has been committed: of each account the latest that says that it is active, the
    /// latest that says that it is not, and the latest that says neither: with the first record it shows whether they agree.
    pub fn keep(&mut self, events: &[Event]) {
        for event in events {
            let Some((word, at)) = word_of(event) else { continue };
            let did = event.did.as_str();
            let mut held = self.0.peek(did).cloned().unwrap_or_default();
            match held.iter_mut().find(|held| word_of(held).is_some_and(|(held, _)| held == word)) {
                Some(held) if word_of(held).is_some_and(|(_, held_at)| held_at > at) => continue,
                Some(held) => *held = event.clone(),
                None => held.push(event.clone()),
            }
            self.0.insert(did.into(), held);
        }
    }
}

/// What an account event says of visibility, if anything, and when.
fn word_of(event: &Event) -> Option<(Option<bool>, HostMoment)> {
    match &event.body {
        EventBody::Account { active, status, at } => {
            Some((says_visibility(*active, status.as_ref()).then_some(*active), *at))
        }
        EventBody::Identity { .. } | EventBody::Commit(_) | EventBody::Sync { .. } => None,
    }
}
