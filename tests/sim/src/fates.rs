//! The referee's view of accounts, one word at a time: who is hidden, and what a deletion has made void. Shares no code with the
//! library.
//!
//! What it knows: of the words that say whether an account is to be seen the latest stands, in whatever order they come, and what
//! the account's own server answers is such a word, of the moment of the question. Throttled and desynchronized say nothing of
//! it. Words on strangers are remembered for as long as the program runs. A deletion that the server has confirmed makes void
//! what was written until the question, whenever it comes; an account that is back is taken from its head on.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    lives::{Said, Word},
    model::{Model, Record, What, Write},
};

/// What an account's own server answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// Active, with its head at this rev, if it says so.
    Active(Option<i64>),
    /// Not active.
    Inactive,
    /// Gone for good.
    Deleted,
}

/// How all accounts stand, as far as anybody has told.
#[derive(Debug, Clone, Default)]
pub struct Fates {
    met: BTreeSet<String>,
    /// By DID: when, whether it is active, and whether it is said to be deleted.
    said: BTreeMap<String, (i64, bool, bool)>,
    /// Strangers of whom something was said and forgotten.
    forgotten: BTreeSet<String>,
    floors: BTreeMap<String, i64>,
    purging: BTreeSet<String>,
    syncs: BTreeMap<String, i64>,
}

impl Fates {
    /// Somebody has written, or somebody's track was named.
    pub fn meet(&mut self, write: &Write) {
        if !write.kind.takes_key(&write.rkey) {
            return;
        }
        self.met.insert(write.did.clone());
        if let What::Valid { record: Record::Like(like), .. } = &write.what {
            self.met.insert(artist_of(&like.subject).to_owned());
        }
    }

    /// Whether a write comes too late, its account having been deleted.
    pub fn voids(&self, write: &Write) -> bool {
        self.floors.get(&write.did).is_some_and(|floor| write.rev <= *floor)
    }

    /// Something is said of an account. What was written together with it has been met.
    pub fn hear(&mut self, said: &Said) {
        match said.word {
            Word::Account(false, Some("throttled" | "desynchronized")) | Word::Identity => {}
            Word::Account(active, status) => {
                let word = (said.at_us, active, status == Some("deleted"));
                let held = self.said.entry(said.did.clone()).or_insert(word);
                if held.0 < said.at_us {
                    *held = word;
                }
            }
            Word::Sync(rev) if self.met.contains(&said.did) => {
                let held = self.syncs.entry(said.did.clone()).or_insert(rev);
                *held = rev.max(*held);
            }
            Word::Sync(_) => {}
        }
    }

    /// The program starts anew: what it remembered of strangers is lost.
    pub fn forget_strangers(&mut self) {
        let Self { met, said, forgotten, .. } = self;
        forgotten.extend(said.keys().filter(|did| !met.contains(*did)).cloned());
        said.retain(|did, _| met.contains(did));
    }

    /// Whether the last that was said of an account is that it is deleted.
    pub fn is_said_deleted(&self, did: &str) -> bool {
        self.said.get(did).is_some_and(|(_, _, is_deleted)| *is_deleted)
    }

    /// Its own server has answered a question of that moment.
    pub fn answer(&mut self, model: &Model, (did, asked_us): (&str, i64), answered: Answered) {
        if self.said.get(did).is_some_and(|(at_us, ..)| *at_us > asked_us) {
            return;
        }
        let is_active = matches!(answered, Answered::Active(_));
        self.said.insert(did.to_owned(), (asked_us, is_active, answered == Answered::Deleted));
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

    /// What deletions have made void is removed, of those who are not said to be back.
    pub fn purge(&mut self, model: &mut Model) {
        let hidden = self.hidden();
        for did in self.purging.extract_if(.., |did| hidden.contains(did)) {
            model.forget(&did, self.floors[&did]);
        }
    }

    /// Of whom nothing is to be seen.
    pub fn hidden(&self) -> BTreeSet<String> {
        let inactive = self.said.iter().filter(|(did, (_, is_active, _))| !is_active && self.met.contains(*did));
        inactive.map(|(did, _)| did.clone()).collect()
    }

    /// Those who have written, or whose tracks were named, and of whom nothing was said and forgotten.
    pub fn known(&self) -> impl Iterator<Item = &str> {
        self.met.difference(&self.forgotten).map(String::as_str)
    }

    /// The last head of each repo that a `#sync` told of.
    pub fn syncs(&self) -> &BTreeMap<String, i64> {
        &self.syncs
    }
}

/// The DID in a URI.
pub fn artist_of(uri: &str) -> &str {
    uri.trim_start_matches("at://").split('/').next().expect("a split has a first part")
}
