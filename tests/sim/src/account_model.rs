//! The referee's model of accounts, one event at a time: who is hidden, and what a deletion has made void. Shares no code with the
//! library.
//!
//! What it knows: of the `#account` events the latest decides whether an account is visible, in whatever order they come, and what
//! the account's own PDS answers counts as one, at the time of the request. Throttled and desynchronized do not change
//! visibility. Events about unknown accounts are remembered for as long as the program runs. A deletion that the PDS has confirmed
//! makes void what was written until the request, whenever it comes; a restored account is indexed from its head on.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    account_history::{AccountEvent, AccountEventKind},
    model::{Model, Record, What, Write},
};

/// What an account's own PDS answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// Active, with its head at this rev, if it says so.
    Active(Option<i64>),
    /// Not active.
    Inactive,
    /// Gone for good.
    Deleted,
}

/// The status of all accounts, as far as events and answers say.
#[derive(Debug, Clone, Default)]
pub struct AccountModel {
    /// Those that have written, or whose track was named.
    seen: BTreeSet<String>,
    /// Those of them that have written.
    authors: BTreeSet<String>,
    /// By DID: when, whether it is active, and whether it is reported as deleted.
    statuses: BTreeMap<String, (i64, bool, bool)>,
    /// Unknown accounts of which an event came and was forgotten.
    forgotten: BTreeSet<String>,
    floors: BTreeMap<String, i64>,
    purging: BTreeSet<String>,
    syncs: BTreeMap<String, i64>,
}

impl AccountModel {
    /// An account has written, or its track was named.
    pub fn take_write(&mut self, write: &Write) {
        if !write.kind.takes_key(&write.rkey) {
            return;
        }
        self.seen.insert(write.did.clone());
        self.authors.insert(write.did.clone());
        if let What::Valid { record: Record::Like(like), .. } = &write.what {
            self.seen.insert(artist_of(&like.subject).to_owned());
        }
    }

    /// Whether a write comes too late, its account having been deleted.
    pub fn voids(&self, write: &Write) -> bool {
        self.floors.get(&write.did).is_some_and(|floor| write.rev <= *floor)
    }

    /// An event about an account. What was written together with it has been taken.
    pub fn take_event(&mut self, event: &AccountEvent) {
        match event.kind {
            AccountEventKind::Account(false, Some("throttled" | "desynchronized")) | AccountEventKind::Identity => {}
            AccountEventKind::Account(active, status) => {
                let status = (event.at_us, active, status == Some("deleted"));
                let held = self.statuses.entry(event.did.clone()).or_insert(status);
                if held.0 < event.at_us {
                    *held = status;
                }
            }
            AccountEventKind::Sync(rev) if self.authors.contains(&event.did) => {
                let held = self.syncs.entry(event.did.clone()).or_insert(rev);
                *held = rev.max(*held);
            }
            AccountEventKind::Sync(_) => {}
        }
    }

    /// The program starts again: what it remembered of unknown accounts is lost.
    pub fn forget_unknown(&mut self) {
        let Self { seen, statuses, forgotten, .. } = self;
        forgotten.extend(statuses.keys().filter(|did| !seen.contains(*did)).cloned());
        statuses.retain(|did, _| seen.contains(did));
    }

    /// Whether the latest event about an account reports it as deleted.
    pub fn is_reported_deleted(&self, did: &str) -> bool {
        self.statuses.get(did).is_some_and(|(_, _, is_deleted)| *is_deleted)
    }

    /// Its own PDS has answered a request made at that time.
    pub fn answer(&mut self, model: &Model, (did, asked_us): (&str, i64), answered: Answered) {
        if self.statuses.get(did).is_some_and(|(at_us, ..)| *at_us > asked_us) {
            return;
        }
        let is_active = matches!(answered, Answered::Active(_));
        self.statuses.insert(did.to_owned(), (asked_us, is_active, answered == Answered::Deleted));
        match answered {
            Answered::Active(head) => {
                self.purging.remove(did);
                if let Some(floor) = self.floors.get_mut(did) {
                    *floor = head.map_or(0, |head| head - 1);
                }
            }
            Answered::Deleted => {
                let last = (asked_us << 10 | 1023).max(model.last_rev(did));
                let floor = self.floors.entry(did.to_owned()).or_insert(last);
                *floor = last.max(*floor);
                self.purging.insert(did.to_owned());
            }
            Answered::Inactive => {}
        }
    }

    /// What deletions have made void is removed, of the accounts that are not reported as restored.
    pub fn purge(&mut self, model: &mut Model) {
        let hidden = self.hidden();
        for did in self.purging.extract_if(.., |did| hidden.contains(did)) {
            model.forget(&did, self.floors[&did]);
        }
    }

    /// The hidden accounts.
    pub fn hidden(&self) -> BTreeSet<String> {
        let inactive = self.statuses.iter().filter(|(did, (_, is_active, _))| !is_active && self.seen.contains(*did));
        inactive.map(|(did, _)| did.clone()).collect()
    }

    /// Those that have written, or whose tracks were named, and of which no event was forgotten.
    pub fn known(&self) -> impl Iterator<Item = &str> {
        self.seen.difference(&self.forgotten).map(String::as_str)
    }

    /// The last head of each repo of an author that a `#sync` named.
    pub fn syncs(&self) -> &BTreeMap<String, i64> {
        &self.syncs
    }
}

/// The DID in a URI.
pub fn artist_of(uri: &str) -> &str {
    uri.trim_start_matches("at://").split('/').next().expect("a split has a first part")
}
