use std::{
    collections::BTreeMap,
    ops::{AddAssign, Index, IndexMut},
};

use crate::{
    model::{Collection, CollectionMap, Event, EventKind, GapReason},
    store::Written,
};

/// What a batch did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Events that changed a row.
    pub applied: u64,
    /// Events that changed nothing: seen before, overtaken by a later rev, or of accounts that have no record of ours.
    pub ignored: u64,
    /// Rejects in the batch, new or not.
    pub rejected: u64,
    /// Paths whose record was replaced by one that was refused, so that a tombstone stands there.
    pub tombstoned: u64,
    /// Operations with the rev of the stored row and another CID: the first stays.
    pub anomalies: u64,
    kinds: KindCounts,
    gaps: BTreeMap<GapReason, u64>,
}

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

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct KindCounts {
    records: CollectionMap<Counts>,
    account: Counts,
    identity: Counts,
    sync: Counts,
}

impl Index<EventKind> for KindCounts {
    type Output = Counts;

    fn index(&self, kind: EventKind) -> &Counts {
        match kind {
            EventKind::Record(collection) => &self.records[collection],
            EventKind::Account => &self.account,
            EventKind::Identity => &self.identity,
            EventKind::Sync => &self.sync,
        }
    }
}

impl IndexMut<EventKind> for KindCounts {
    fn index_mut(&mut self, kind: EventKind) -> &mut Counts {
        match kind {
            EventKind::Record(collection) => &mut self.records[collection],
            EventKind::Account => &mut self.account,
            EventKind::Identity => &mut self.identity,
            EventKind::Sync => &mut self.sync,
        }
    }
}

impl Applied {
    /// What was done with each kind of event.
    pub fn by_kind(&self) -> impl Iterator<Item = (EventKind, Counts)> {
        EventKind::all().map(|kind| (kind, self.kinds[kind]))
    }

    /// How many gaps were opened, by reason.
    pub fn gaps(&self) -> impl Iterator<Item = (GapReason, u64)> {
        self.gaps.iter().map(|(reason, opened)| (*reason, *opened))
    }

    /// Adds gaps that were opened.
    pub(super) fn add_gaps(&mut self, reason: GapReason, opened: u32) {
        if opened > 0 {
            *self.gaps.entry(reason).or_default() += u64::from(opened);
        }
    }

    /// Adds what was written of one collection, and the anomalies that were found before writing.
    pub(super) fn add_written(&mut self, collection: Collection, written: Written, anomalies: u64) {
        let counts = &mut self.kinds.records[collection];
        counts.applied += written.applied;
        counts.anomalies += written.anomalies + anomalies;
        self.applied += written.applied;
        self.anomalies += written.anomalies + anomalies;
    }

    /// Adds how many actors took a hint from an account or an identity event.
    pub(super) fn add_hints(&mut self, accounts: u64, identities: u64) {
        self.kinds.account.applied += accounts;
        self.kinds.identity.applied += identities;
        self.applied += accounts + identities;
    }

    /// Counts as ignored those of the events that have not been counted as applied.
    pub(super) fn count_ignored(&mut self, events: &[Event]) {
        for event in events {
            self.kinds[event.kind()].ignored += 1;
        }
        for kind in EventKind::all() {
            let counts = &mut self.kinds[kind];
            counts.ignored = counts.ignored.saturating_sub(counts.applied);
            self.ignored += counts.ignored;
        }
    }
}

impl AddAssign for Applied {
    fn add_assign(&mut self, more: Self) {
        self.applied += more.applied;
        self.ignored += more.ignored;
        self.rejected += more.rejected;
        self.tombstoned += more.tombstoned;
        self.anomalies += more.anomalies;
        for (kind, more) in more.by_kind() {
            let counts = &mut self.kinds[kind];
            counts.applied += more.applied;
            counts.ignored += more.ignored;
            counts.anomalies += more.anomalies;
        }
        for (reason, opened) in more.gaps {
            *self.gaps.entry(reason).or_default() += opened;
        }
    }
}
