use std::sync::Arc;

use crate::{
    atproto::{Did, Tid, Timestamp},
    decode::{Reject, firehose::Link},
    model::{CollectionMap, Event, GapReason, PositionKind},
    store::gaps::End,
};

/// What goes into one transaction.
#[derive(Debug, Default)]
pub struct Batch {
    /// In the order of arrival; the order does not matter.
    pub events: Vec<Event>,
    /// What was refused, and where it came from.
    pub rejects: Vec<(Origin, Reject)>,
    /// What is held at revs that the repo has not reached; written first.
    pub lowered: Vec<Lowered>,
    /// What is known by now of gaps, in the order of finding: written before the positions, so that none stands past a gap
    /// that is not recorded.
    pub gaps: Vec<Gap>,
    /// How commits follow on those before them in their repos, each with the name of its source; of whatever collections.
    pub links: Vec<(Arc<str>, Link)>,
    /// How far each source has been read once this batch is in; each source at most once.
    pub positions: Vec<Reached>,
    /// Sources that were quiet.
    pub quiet: Vec<Quiet>,
}

/// Revs above a repo's head, at which the index holds rows: what wrote them was not the repo as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lowered {
    /// Whose repo.
    pub did: Did,
    /// The revs.
    pub revs: Vec<Tid>,
    /// What the rows get in their place.
    pub to: Tid,
}

/// Until when a source was quiet: its upstream answered, and nothing more had come.
#[derive(Debug, Clone)]
pub struct Quiet {
    /// The source's name.
    pub source: Arc<str>,
    /// When the upstream answered.
    pub until: Timestamp,
}

/// Something that was found out about gaps of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The source's name.
    pub source: Arc<str>,
    /// What was found out.
    pub change: GapChange,
}

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GapChange {
    /// Something may be missing.
    Opens {
        /// Why.
        reason: GapReason,
        /// The number space of the two ends.
        kind: Option<PositionKind>,
        /// The last that we have.
        from: End,
        /// The first that came after, if it has come.
        to: End,
        /// In words for an operator.
        detail: String,
    },
    /// What was opened before ends here.
    Ends {
        /// Why it was opened.
        reason: GapReason,
        /// The first that came after.
        to: End,
    },
    /// What was opened before was none.
    Proves {
        /// Why it was opened.
        reason: GapReason,
        /// How that is known.
        note: &'static str,
    },
    /// Likewise, of whatever source.
    ProvesAll {
        /// Why it was opened.
        reason: GapReason,
        /// How that is known.
        note: &'static str,
    },
    /// A repo diverged from what its events said.
    Syncs {
        /// Whose.
        did: Did,
        /// Its head.
        rev: Tid,
        /// When, by the upstream.
        at: Option<Timestamp>,
    },
    /// Something of a commit was not applied: the repo is to be read.
    Repo {
        /// Why.
        reason: GapReason,
        /// Whose repo.
        did: Did,
        /// Of the commit, where that is known.
        rev: Option<Tid>,
        /// Whether our collections are concerned. Otherwise the repo is read only if it is known to hold records of ours.
        is_ours: bool,
    },
}

/// Where a reject came from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The source's name.
    pub source: Arc<str>,
    /// The number space of `position`.
    pub kind: Option<PositionKind>,
    /// The number of the message.
    pub position: Option<i64>,
}

/// How far a source has been read.
#[derive(Debug, Clone)]
pub struct Reached {
    /// The source's name.
    pub source: Arc<str>,
    /// The number space.
    pub kind: PositionKind,
    /// The number of the last message that was read.
    pub value: i64,
    /// When the upstream saw that message.
    pub event_at: Option<Timestamp>,
    /// When the upstream saw the last message of our collections, if this batch holds one.
    pub ours_at: Option<Timestamp>,
    /// The last message of each of our collections that this batch holds.
    pub delivered: CollectionMap<Option<Delivered>>,
    /// The number takes the place of what is stored, even if that is greater.
    pub restarts: bool,
}

impl Reached {
    /// A source has been read up to this number.
    pub fn to(source: Arc<str>, kind: PositionKind, value: i64) -> Self {
        let delivered = CollectionMap::default();
        Self { source, kind, value, event_at: None, ours_at: None, delivered, restarts: false }
    }
}

/// A message by which a source delivered a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// The number of the message.
    pub value: i64,
    /// When the upstream saw it.
    pub event_at: Option<Timestamp>,
}
