//! What a repo holds and what the index holds of it, compared.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::{
    atproto::{Cid, RecordKey, Tid},
    decode::RawFormat,
    model::Collection,
};

/// A record's place in its repo.
pub type Path = (Collection, RecordKey);

/// What a repo held at one rev, of our collections, completely.
#[derive(Debug)]
pub struct Theirs {
    /// The rev of the repo while it was read. Nothing of ours with a greater one is touched.
    pub rev: Tid,
    /// All of them.
    pub records: BTreeMap<Path, Record>,
}

/// A record of a repo.
#[derive(Debug)]
pub struct Record {
    /// Its version.
    pub cid: Cid,
    /// How to read its bytes.
    pub format: RawFormat,
    /// The record; may be left out where the index holds this version.
    pub bytes: Vec<u8>,
}

/// What the index holds at one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Live or tombstone, the rev that stands there.
    pub rev: Tid,
    /// The first eight bytes of the record's digest; none for a tombstone.
    pub head: Option<i64>,
}

/// What the index holds of one repo.
#[derive(Debug, Default)]
pub struct Ours {
    /// Rows and tombstones.
    pub paths: BTreeMap<Path, Held>,
    /// Records that were refused and are kept as rejects.
    pub refused: HashSet<(Path, Cid)>,
}

/// What is compared, and what the index held before the repo was read: what it held then at a rev that the repo has not reached
/// did not come from the repo as it is now.
#[derive(Debug, Clone, Copy)]
pub struct Both<'a> {
    /// What the repo holds.
    pub theirs: &'a Theirs,
    /// What the index holds.
    pub ours: &'a Ours,
    /// What the index held before the repo's head was asked for.
    pub earlier: &'a Ours,
}

impl Both<'_> {
    /// Where the index holds a rev that the repo has not reached: one of a time that has not come, or of a state of the repo from which its
    /// host went back.
    pub fn above_head(&self) -> BTreeSet<&Path> {
        let is_above = |path: &Path, held: &Held| {
            held.rev > self.theirs.rev && self.earlier.paths.get(path).is_some_and(|earlier| earlier.rev == held.rev)
        };
        self.ours.paths.iter().filter(|(path, held)| is_above(path, held)).map(|(path, _)| path).collect()
    }
}

/// How a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Drift {
    /// The repo has a record, the index none.
    Missing,
    /// The index has a record, the repo none.
    Extra,
    /// Both have one, and not the same.
    Differing,
}

impl Drift {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Missing, Self::Extra, Self::Differing];

    /// The word in tables, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Differing => "differing",
        }
    }
}

/// The paths that differ, in order. What the index received after the repo was read is no difference.
pub fn compare(both: Both<'_>) -> Vec<(Path, Drift)> {
    let (Both { theirs, ours, .. }, above_head) = (both, both.above_head());
    let mut found = Vec::new();
    for (path, Record { cid, .. }) in &theirs.records {
        let drift = match ours.paths.get(path) {
            Some(_) if above_head.contains(path) => Drift::Differing,
            Some(held) if held.rev > theirs.rev => continue,
            Some(Held { head: Some(head), .. }) if *head == cid.head() => continue,
            Some(Held { head: Some(_), .. }) => Drift::Differing,
            Some(Held { head: None, .. }) | None if ours.refused.contains(&(path.clone(), *cid)) => continue,
            Some(Held { head: None, .. }) | None => Drift::Missing,
        };
        found.push((path.clone(), drift));
    }
    for (path, held) in &ours.paths {
        if theirs.records.contains_key(path) {
            continue;
        }
        if above_head.contains(path) || (held.head.is_some() && held.rev <= theirs.rev) {
            found.push((path.clone(), Drift::Extra));
        }
    }
    found.sort();
    found
}
