//! Which source delivered which commit of our collections, and which did not. Pure and bounded: no clock, no socket, no table.
//!
//! Time is counted in ticks, of which there are none while we do not read: a source is not blamed for what we did not take from
//! it. A commit that one source delivers is expected of all others that had caught up before it was written; what one of them
//! has not delivered after the grace it has *missed*. It is *incomplete* in a collection after some misses in a row, each
//! written later than all that it delivered: an older one is a hole, and a burst arrives source by source. Any delivery ends
//! the row. What is missing until then stays known, so that it shows when the source has caught up.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

use super::Patience;
use crate::model::{Collection, CollectionMap};

/// Commits remembered at most. While all of them are recent, others are not compared.
const COMMITS_MAX: usize = 65_536;
/// So many times the grace a commit is known again when it comes again, and a source that is away may take to bring it.
const GRACES_KNOWN: u32 = 10;
/// Sources compared at most, one bit each; those beyond are left out.
const SOURCES_MAX: usize = 64;

/// A commit of ours that a source delivered.
#[derive(Debug, Clone, Copy)]
pub struct Delivered {
    /// Which source.
    pub source: usize,
    /// What stands for path and rev.
    pub key: u64,
    /// Of which collection.
    pub collection: Collection,
    /// When it was written, by its rev.
    pub written_us: i64,
}

/// How one source does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Score {
    /// Compared commits that it delivered in time.
    pub delivered: u64,
    /// Of these before all others.
    pub first: u64,
    /// Compared commits that it did not deliver in time.
    pub missed: u64,
    /// Of the missed those that it delivered later.
    pub late: u64,
    /// By collection: when the first commit of the present row of misses came, while the source is incomplete.
    pub incomplete_since_us: CollectionMap<Option<i64>>,
    /// When the last commit came that it still lacks, or that may be one.
    pub missing_until_us: Option<i64>,
}

impl Score {
    /// The collections in which it is incomplete.
    pub fn incomplete(&self) -> impl Iterator<Item = Collection> {
        self.incomplete_since_us.iter().filter(|(_, since_us)| since_us.is_some()).map(|(collection, _)| collection)
    }

    /// Since when it has been incomplete.
    pub fn since_us(&self) -> Option<i64> {
        self.incomplete_since_us.iter().filter_map(|(_, since_us)| *since_us).min()
    }
}

/// See the module.
#[derive(Debug)]
pub struct Detector {
    /// Ticks that a source may take for what another has delivered..
    grace: u32,
    /// ..and the same in microseconds: how far behind us the events of a source may be that has caught up.
    grace_us: i64,
    misses: u32,
    sources: Vec<Source>,
    commits: HashMap<u64, Commit, RandomState>,
    /// In which order they arrived.
    order: VecDeque<u64>,
    ticks: u32,
    /// What came until then is no longer known, or never was, in full.
    unknown_until_us: Option<i64>,
}

#[derive(Debug)]
struct Source {
    carries_all: bool,
    score: Score,
    rows: CollectionMap<Row>,
    /// The tick of its last delivery, or of the last moment without a connection.
    quiet_since: u32,
    caught_up_since_us: Option<i64>,
}

/// Misses in a row of one collection.
#[derive(Debug, Clone, Copy)]
struct Row {
    missed: u32,
    since_us: i64,
    /// When the latest commit was written that the source delivered.
    delivered_us: i64,
}

#[derive(Debug)]
struct Commit {
    collection: Collection,
    written_us: i64,
    arrived_us: i64,
    arrived: u32,
    delivered_by: u64,
    expected_of: u64,
    missed_by: u64,
}

impl Detector {
    /// Compares sources, of each of which it is said whether it carries all repos. Of one that does not, nothing is expected.
    pub fn new(carries_all: &[bool], patience: &Patience) -> Self {
        let row = Row { missed: 0, since_us: 0, delivered_us: i64::MIN };
        let source = |carries_all: &bool| Source {
            carries_all: *carries_all,
            score: Score::default(),
            rows: CollectionMap::from_fn(|_| row),
            quiet_since: 0,
            caught_up_since_us: None,
        };
        let ticks = patience.grace.as_nanos().div_ceil(patience.pace().as_nanos().max(1));
        Self {
            grace: u32::try_from(ticks).unwrap_or(u32::MAX),
            grace_us: i64::try_from(patience.grace.as_micros()).unwrap_or(i64::MAX),
            misses: patience.misses,
            sources: carries_all.iter().take(SOURCES_MAX).map(source).collect(),
            commits: HashMap::default(),
            order: VecDeque::new(),
            ticks: 0,
            unknown_until_us: None,
        }
    }

    /// A source has another connection, or none: it has to catch up.
    pub fn begin(&mut self, source: usize) {
        let Some(source) = self.sources.get_mut(source) else { return };
        source.quiet_since = self.ticks;
        source.caught_up_since_us = None;
    }

    /// A source has delivered messages, the last of which its upstream saw at that time.
    pub fn end(&mut self, source: usize, event_us: Option<i64>, now_us: i64) {
        let Some(source) = self.sources.get_mut(source) else { return };
        source.quiet_since = self.ticks;
        let is_recent = event_us.is_some_and(|event_us| event_us >= now_us - self.grace_us);
        source.caught_up_since_us = source.caught_up_since_us.or(Some(now_us)).filter(|_| is_recent);
    }

    /// A source has delivered a commit of ours.
    pub fn delivered(&mut self, delivered: Delivered, now_us: i64) {
        let Delivered { source, key, collection, written_us } = delivered;
        let is_new = !self.commits.contains_key(&key);
        if source >= self.sources.len() || is_new && !self.is_comparable(written_us, now_us) {
            return;
        }
        // A writer's clock may be ahead of ours, but not without bound.
        let ahead_max_us = now_us + self.grace_us;
        let expected = self.sources.iter().enumerate();
        let expected = expected.filter(|(_, source)| written_us <= ahead_max_us && source.is_expected(written_us));
        let expected_of = expected.fold(0, |places, (place, _)| places | 1 << place);
        let commit = self.commits.entry(key).or_insert(Commit {
            collection,
            written_us,
            arrived_us: now_us,
            arrived: self.ticks,
            delivered_by: 0,
            expected_of,
            missed_by: 0,
        });
        let (bit, source) = (1 << source, &mut self.sources[source]);
        if is_new {
            self.order.push_back(key);
            source.score.first += 1;
        }
        if commit.delivered_by & bit != 0 {
            return;
        }
        if commit.missed_by & bit == 0 {
            source.score.delivered += 1;
        } else {
            source.score.late += 1;
        }
        commit.delivered_by |= bit;
        commit.expected_of &= !bit;
        commit.missed_by &= !bit;
        let row = &mut source.rows[collection];
        row.missed = 0;
        row.delivered_us = row.delivered_us.max(written_us.min(ahead_max_us));
    }

    /// Time goes by. To be called about once in a second, when nothing that was delivered waits to be taken in.
    pub fn tick(&mut self, connected: &[bool], now_us: i64) {
        self.ticks += 1;
        let (grace, misses) = (self.grace, self.misses);
        for (place, is_connected) in connected.iter().enumerate() {
            if !is_connected {
                self.begin(place);
            } else if let Some(source) = self.sources.get_mut(place)
                && self.ticks - source.quiet_since >= grace
            {
                // A backlog would go on: after so long a pause the source has delivered all that it has.
                source.caught_up_since_us.get_or_insert(now_us);
            }
        }
        self.sources.iter_mut().for_each(|source| source.score.missing_until_us = self.unknown_until_us);
        let (sources, commits, ticks) = (&mut self.sources, &mut self.commits, self.ticks);
        self.order.retain(|key| {
            let Some(commit) = commits.get_mut(key) else { return false };
            let age = ticks - commit.arrived;
            if age >= grace {
                sources.iter_mut().enumerate().for_each(|(place, source)| source.judge(commit, 1 << place));
            }
            if age < grace * GRACES_KNOWN {
                return true;
            }
            commit.expected_of = 0;
            let is_kept = commit.missed_by != 0;
            if !is_kept {
                commits.remove(key);
            }
            is_kept
        });
        for source in sources {
            for (collection, row) in source.rows.iter() {
                source.score.incomplete_since_us[collection] = (row.missed >= misses).then_some(row.since_us);
            }
        }
    }

    /// How each source does, as of the last tick.
    pub fn scores(&self) -> Vec<Score> {
        self.sources.iter().map(|source| source.score).collect()
    }

    /// How many commits are remembered.
    pub fn remembered(&self) -> usize {
        self.commits.len()
    }

    /// Whether a commit that is not known has not been known before either, and there is room for it.
    fn is_comparable(&mut self, written_us: i64, now_us: i64) -> bool {
        // One grace less than it would be known, since it may have been written ahead of our clock.
        let known_us = i64::from(GRACES_KNOWN - 1) * self.grace_us;
        if written_us <= now_us - known_us || Some(written_us) <= self.unknown_until_us {
            return false;
        }
        if self.commits.len() < COMMITS_MAX {
            return true;
        }
        let oldest = self.order.front().and_then(|key| self.commits.get(key));
        let Some(oldest) = oldest.filter(|commit| self.ticks - commit.arrived >= self.grace * GRACES_KNOWN) else {
            self.unknown_until_us = Some(now_us);
            return false;
        };
        self.unknown_until_us = self.unknown_until_us.max(Some(oldest.arrived_us));
        self.order.pop_front().map(|key| self.commits.remove(&key));
        true
    }
}

impl Source {
    fn is_expected(&self, written_us: i64) -> bool {
        self.carries_all && self.caught_up_since_us.is_some_and(|since_us| since_us <= written_us)
    }

    /// After the grace: what was expected and has not come is missed, as soon as the source is there to deliver it.
    fn judge(&mut self, commit: &mut Commit, bit: u64) {
        if commit.expected_of & bit != 0 && self.caught_up_since_us.is_some() {
            commit.expected_of &= !bit;
            commit.missed_by |= bit;
            self.score.missed += 1;
            let row = &mut self.rows[commit.collection];
            if commit.written_us > row.delivered_us {
                row.since_us = if row.missed == 0 { commit.arrived_us } else { row.since_us.min(commit.arrived_us) };
                row.missed = row.missed.saturating_add(1);
            }
        }
        if commit.missed_by & bit != 0 {
            self.score.missing_until_us = self.score.missing_until_us.max(Some(commit.arrived_us));
        }
    }
}
