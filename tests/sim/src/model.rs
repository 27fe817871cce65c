//! The naive referee: a fold of writes into maps, one rule at a time. Shares no code with the library.
//!
//! What it knows: per path (actor, collection, key) the write with the greatest rev stands, and of two with the same rev the
//! first; a delete stands like any other write; a record that breaks its lexicon leaves the path without a record at that
//! rev; a like counts by its subject's URI, once per actor, whether the track is known or not.

#![expect(missing_docs, reason = "the fields of records are those of their lexicons")]

use std::collections::{BTreeMap, BTreeSet};

/// Our four collections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Like,
    List,
    Track,
    Profile,
}

impl Kind {
    /// The collection in the namespace `fm.plyr`.
    pub fn of_nsid(nsid: &str) -> Option<Self> {
        match nsid {
            "fm.plyr.like" => Some(Self::Like),
            "fm.plyr.list" => Some(Self::List),
            "fm.plyr.track" => Some(Self::Track),
            "fm.plyr.actor.profile" => Some(Self::Profile),
            _ => None,
        }
    }

    /// Whether a record of this collection may have this key.
    pub(crate) fn takes_key(self, rkey: &str) -> bool {
        match self {
            Self::Profile => rkey == "self",
            Self::Like | Self::List | Self::Track => tid_number(rkey).is_some(),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Like {
    pub subject: String,
    pub subject_cid: String,
    pub created_at: i64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct List {
    pub items: Vec<(String, String)>,
    pub name: Option<String>,
    pub list_type: Option<String>,
    pub created_at: i64,
    pub updated_at: Option<i64>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    pub title: String,
    pub artist: String,
    pub file_type: String,
    pub album: Option<String>,
    pub duration: Option<i64>,
    pub description: Option<String>,
    pub audio_url: Option<String>,
    pub audio_cid: Option<String>,
    pub image_url: Option<String>,
    pub features: Vec<String>,
    pub labels: Vec<String>,
    pub support_gate: Option<serde_json::Value>,
    pub created_at: i64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    pub avatar: Option<String>,
    pub bio: Option<String>,
    pub created_at: i64,
    pub updated_at: Option<i64>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    Like(Like),
    List(List),
    Track(Box<Track>),
    Profile(Profile),
}

/// What a write leaves at its path.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A record that satisfies its lexicon, with its binary CID.
    Valid { cid: Vec<u8>, record: Record },
    /// A record that does not.
    Invalid,
    /// Nothing.
    Deleted,
}

/// One operation on one of our collections. Times are microseconds since 1970, revs the numbers of their TIDs.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    pub did: String,
    pub kind: Kind,
    pub rkey: String,
    pub rev: i64,
    pub what: What,
}

/// All that the index should hold.
#[derive(Debug, Clone, Default)]
pub struct Model {
    paths: BTreeMap<(Kind, String, String), (i64, What)>,
    refused: BTreeSet<(String, String, i64)>,
}

/// What can be compared: one line per thing that is there.
pub type State = BTreeMap<String, String>;

impl Model {
    /// The state after these writes.
    pub fn of<'a>(writes: impl IntoIterator<Item = &'a Write>) -> Self {
        let mut model = Self::default();
        for write in writes {
            model.take(write);
        }
        model
    }

    /// Applies one write.
    pub fn take(&mut self, write: &Write) {
        if write.what == What::Invalid {
            self.refused.insert((write.did.clone(), write.rkey.clone(), write.rev));
        }
        if !write.kind.takes_key(&write.rkey) {
            return;
        }
        let path = (write.kind, write.did.clone(), write.rkey.clone());
        match self.paths.get(&path) {
            Some((rev, _)) if *rev >= write.rev => {}
            _ => {
                self.paths.insert(path, (write.rev, write.what.clone()));
            }
        }
    }

    /// Every record that was ever refused: (DID, key, rev).
    pub fn refused(&self) -> &BTreeSet<(String, String, i64)> {
        &self.refused
    }

    /// Every record that there is: whose, its collection, key and binary CID, and what it says.
    pub fn records(&self) -> impl Iterator<Item = (&str, Kind, &str, &[u8], &Record)> {
        self.paths.iter().filter_map(|((kind, did, rkey), (_, what))| match what {
            What::Valid { cid, record } => Some((did.as_str(), *kind, rkey.as_str(), cid.as_slice(), record)),
            What::Invalid | What::Deleted => None,
        })
    }

    /// Distinct actors with a live like, by subject.
    pub fn counts(&self) -> BTreeMap<String, i64> {
        self.counts_without(&BTreeSet::new())
    }

    /// Likewise, without those who are hidden.
    fn counts_without(&self, hidden: &BTreeSet<String>) -> BTreeMap<String, i64> {
        let mut likers: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for ((_, did, _), (_, what)) in &self.paths {
            if let What::Valid { record: Record::Like(like), .. } = what
                && !hidden.contains(did)
            {
                likers.entry(like.subject.clone()).or_default().insert(did);
            }
        }
        likers.into_iter().map(|(subject, dids)| (subject, i64::try_from(dids.len()).expect("few actors"))).collect()
    }

    /// The greatest rev of an actor's paths, zero without any.
    pub fn last_rev(&self, did: &str) -> i64 {
        let own = self.paths.iter().filter(|((_, of, _), _)| of == did);
        own.map(|(_, (rev, _))| *rev).max().unwrap_or_default()
    }

    /// Nothing up to this rev is left of an actor.
    pub fn forget(&mut self, did: &str, rev: i64) {
        self.paths.retain(|(_, of, _), (at, _)| of != did || *at > rev);
        self.refused.retain(|(of, _, at)| of != did || *at > rev);
    }

    /// Everything, to compare.
    pub fn state(&self) -> State {
        self.state_without(&BTreeSet::new())
    }

    /// Everything, with counts that leave out those who are hidden.
    pub fn state_without(&self, hidden: &BTreeSet<String>) -> State {
        let mut state = State::new();
        for ((kind, did, rkey), (rev, what)) in &self.paths {
            match what {
                What::Valid { cid, record } => live(&mut state, (did, rkey), *rev, cid, record),
                What::Invalid => gone(&mut state, *kind, (did, rkey), "refused", *rev),
                What::Deleted => gone(&mut state, *kind, (did, rkey), "deleted", *rev),
            }
        }
        for (subject, count) in self.counts_without(hidden) {
            state.insert(format!("count {subject}"), count.to_string());
        }
        state
    }
}

/// The line of a live record. `sort_at` is the earlier of what the owner's clock said and the time in the rev.
pub fn live(state: &mut State, (did, rkey): (&str, &str), rev: i64, cid: &[u8], record: &Record) {
    let rev_time = rev >> 10;
    let (name, sort_at) = match record {
        Record::Like(like) => ("like", like.created_at.min(rev_time)),
        Record::List(list) => ("list", list.created_at.min(rev_time)),
        Record::Track(track) => ("track", track.created_at.min(rev_time)),
        Record::Profile(_) => ("profile", 0),
    };
    // A like's row keeps the first eight bytes of the digest; the four bytes before it say what kind of CID it is.
    let cid = if name == "like" { &cid[4..12] } else { cid };
    let line = format!("rev {} sort_at {sort_at} cid {} {record:?}", tid_text(rev), hex(cid));
    state.insert(format!("{name} {did} {rkey}"), line);
}

/// The line of a path that is known to hold nothing.
pub fn gone(state: &mut State, kind: Kind, (did, rkey): (&str, &str), how: &str, rev: i64) {
    state.insert(format!("gone {kind:?} {did} {rkey}"), format!("{how} {}", tid_text(rev)));
}

/// Whether a state shows that this write is the last on its path.
pub fn shows(state: &State, write: &Write) -> bool {
    let path = format!("{:?} {} {}", write.kind, write.did, write.rkey);
    let rev = tid_text(write.rev);
    match &write.what {
        What::Valid { .. } => {
            let name = format!("{:?}", write.kind).to_lowercase();
            let line = state.get(&format!("{name} {} {}", write.did, write.rkey));
            line.is_some_and(|line| line.starts_with(&format!("rev {rev} ")))
        }
        What::Invalid => state.get(&format!("gone {path}")).is_some_and(|line| same(&format!("refused {rev}"), line)),
        What::Deleted => state.get(&format!("gone {path}")).is_some_and(|line| *line == format!("deleted {rev}")),
    }
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

const TID_ALPHABET: &str = "234567abcdefghijklmnopqrstuvwxyz";

/// The text of a TID's number.
pub fn tid_text(number: i64) -> String {
    let mut text = String::new();
    let mut rest = u64::try_from(number).expect("TIDs are not negative");
    for _ in 0..13 {
        let digit = TID_ALPHABET.chars().nth(usize::try_from(rest % 32).expect("below 32")).expect("32 letters");
        text.insert(0, digit);
        rest /= 32;
    }
    text
}

/// The number of a TID's text; none for text that is no TID.
pub fn tid_number(text: &str) -> Option<i64> {
    if text.chars().count() != 13 {
        return None;
    }
    let mut number = 0_u64;
    for (place, letter) in text.chars().enumerate() {
        let digit = u64::try_from(TID_ALPHABET.find(letter)?).ok()?;
        if place == 0 && digit > 7 {
            return None;
        }
        number = number * 32 + digit;
    }
    i64::try_from(number).ok()
}

/// What two states disagree about, in lines; empty when they agree.
///
/// A path whose last record was refused must be known as gone, but which rev just below the refused one its row keeps is
/// left to the index: a corrected reading of that very record must still be able to take its place.
pub fn differences(expected: &State, found: &State) -> Vec<String> {
    let keys: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    keys.into_iter()
        .filter_map(|key| match (expected.get(key), found.get(key)) {
            (Some(wanted), Some(got)) if same(wanted, got) => None,
            (wanted, got) => Some(format!(
                "{key}\n    expected {}\n    found    {}",
                wanted.map_or("nothing", String::as_str),
                got.map_or("nothing", String::as_str)
            )),
        })
        .collect()
}

fn same(expected: &str, found: &str) -> bool {
    let rev_of = |text: &str, how: &str| text.strip_prefix(how).and_then(|rest| tid_number(rest.trim()));
    match (rev_of(expected, "refused "), rev_of(found, "deleted ")) {
        (Some(refused), Some(kept)) => kept == refused || kept == refused - 1,
        _ => expected == found,
    }
}
