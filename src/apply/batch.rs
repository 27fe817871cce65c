use std::sync::Arc;

use crate::{
    atproto::{Did, Tid, Timestamp},
    decode::{Reject, firehose::Link},
    model::{Collection, Event, EventBody, GapReason},
    store::{Written, gaps::End},
};

/// What goes into one transaction.
#[derive(Debug, Default)]
pub struct Batch {
    /// In the order of arrival; the order does not matter.
    pub events: Vec<Event>,
    /// What was refused, and where it came from.
    pub rejects: Vec<(Origin, Reject)>,
    /// What is known by now of gaps, in the order of finding: written before the positions, so that none stands past a gap
    /// that is not recorded.
    pub gaps: Vec<Gap>,
    /// How commits follow on those before them in their repos, each with the name of its source; of whatever collections.
    pub links: Vec<(Arc<str>, Link)>,
    /// How far each source has been read once this batch is in; each source at most once.
    pub positions: Vec<Reached>,
    /// Until when a source was quiet: its upstream answered, and nothing more had come.
    pub rests: Vec<(Arc<str>, Timestamp)>,
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
        kind: Option<&'static str>,
        /// The last that we have.
        from: End,
        /// The first that came after, if it has come.
        to: End,
        /// For people.
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
    /// A repo diverged from what its events told.
    Syncs {
        /// Whose.
        did: Did,
        /// Its head.
        rev: Tid,
        /// When, by the upstream.
        at: Option<Timestamp>,
    },
    /// A commit was not applied, because it is not proven to be the owner's: the repo is to be read.
    Unproven {
        /// Whose repo.
        did: Did,
        /// Of the commit.
        rev: Tid,
    },
}

/// Where a reject came from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The source's name.
    pub source: Arc<str>,
    /// The number space of `position`, as the positions table names it.
    pub kind: Option<&'static str>,
    /// The number of the message.
    pub position: Option<i64>,
}

/// How far a source has been read.
#[derive(Debug, Clone)]
pub struct Reached {
    /// The source's name.
    pub source: Arc<str>,
    /// The number space.
    pub kind: &'static str,
    /// The number of the last message that was read.
    pub value: i64,
    /// When the upstream saw that message.
    pub event_at: Option<Timestamp>,
    /// When the upstream saw the last message of our collections, if this batch holds one.
    pub ours_at: Option<Timestamp>,
    /// The last message of each of our collections that this batch holds, in the order of [`Collection::ALL`].
    pub proofs: [Option<Proof>; 4],
    /// The number takes the place of what is stored, even if that is greater.
    pub restarts: bool,
}

impl Reached {
    /// A source has been read up to this number.
    pub fn to(source: Arc<str>, kind: &'static str, value: i64) -> Self {
        Self { source, kind, value, event_at: None, ours_at: None, proofs: [None; 4], restarts: false }
    }
}

/// That a source delivers a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// The number of the message.
    pub value: i64,
    /// When the upstream saw it.
    pub event_at: Option<Timestamp>,
}

/// What a batch did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// Events that changed a row.
    pub applied: u64,
    /// Events that changed nothing: seen before, overtaken by a later rev, or of strangers.
    pub ignored: u64,
    /// Rejects in the batch, new or not.
    pub rejected: u64,
    /// Paths whose record was replaced by one that was refused, so that what stood there is gone.
    pub buried: u64,
    /// Operations with the rev of the stored row and another CID: the first stays.
    pub anomalies: u64,
    kinds: [Counts; KINDS.len()],
    gaps: [u32; GapReason::ALL.len()],
}

/// The kinds of events that are counted apart.
const KINDS: [&str; 7] = ["like", "list", "track", "profile", "account", "identity", "sync"];

/// What a batch did with the events of one kind.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Events that changed a row.
    pub applied: u64,
    /// Events that changed nothing.
    pub ignored: u64,
    /// Operations with the rev of the stored row and another CID.
    pub anomalies: u64,
}

/// The word for an event's kind, in metrics.
pub fn kind(event: &Event) -> &'static str {
    KINDS[kind_place(event)]
}

fn kind_place(event: &Event) -> usize {
    match &event.body {
        EventBody::Commit(commit) => collection_place(commit.collection),
        EventBody::Account { .. } => ACCOUNT,
        EventBody::Identity { .. } => IDENTITY,
        EventBody::Sync { .. } => 6,
    }
}

fn collection_place(collection: Collection) -> usize {
    match collection {
        Collection::Like => 0,
        Collection::List => 1,
        Collection::Track => 2,
        Collection::Profile => 3,
    }
}

const ACCOUNT: usize = 4;
const IDENTITY: usize = 5;

impl Applied {
    /// What was done with each kind of event.
    pub fn by_kind(&self) -> impl Iterator<Item = (&'static str, Counts)> {
        KINDS.into_iter().zip(self.kinds)
    }

    /// How many gaps were opened, by reason.
    pub fn gaps(&self) -> impl Iterator<Item = (GapReason, u64)> {
        GapReason::ALL.into_iter().zip(self.gaps.map(u64::from))
    }

    /// Adds gaps that were opened.
    pub(super) fn add_gaps(&mut self, reason: GapReason, opened: u32) {
        for (place, count) in GapReason::ALL.into_iter().zip(&mut self.gaps) {
            *count += if place == reason { opened } else { 0 };
        }
    }

    /// Adds what was written of one collection, and the anomalies that were found before writing.
    pub(super) fn add_written(&mut self, collection: Collection, written: Written, anomalies: u64) {
        let counts = &mut self.kinds[collection_place(collection)];
        counts.applied += written.applied;
        counts.anomalies += written.anomalies + anomalies;
        self.applied += written.applied;
        self.anomalies += written.anomalies + anomalies;
    }

    /// Adds how many actors took a hint from an account or an identity event.
    pub(super) fn add_hints(&mut self, accounts: u64, identities: u64) {
        self.kinds[ACCOUNT].applied += accounts;
        self.kinds[IDENTITY].applied += identities;
        self.applied += accounts + identities;
    }

    /// Counts as ignored what has not been counted as applied.
    pub(super) fn settle(&mut self, events: &[Event]) {
        let mut received = [0_u64; KINDS.len()];
        for event in events {
            received[kind_place(event)] += 1;
        }
        for (counts, received) in self.kinds.iter_mut().zip(received) {
            counts.ignored = received.saturating_sub(counts.applied);
            self.ignored += counts.ignored;
        }
    }
}

impl std::ops::AddAssign for Applied {
    fn add_assign(&mut self, more: Self) {
        self.applied += more.applied;
        self.ignored += more.ignored;
        self.rejected += more.rejected;
        self.buried += more.buried;
        self.anomalies += more.anomalies;
        for (counts, more) in self.kinds.iter_mut().zip(more.kinds) {
            counts.applied += more.applied;
            counts.ignored += more.ignored;
            counts.anomalies += more.anomalies;
        }
        for (count, more) in self.gaps.iter_mut().zip(more.gaps) {
            *count += more;
        }
    }
}
