//! Who delivered what: each commit of ours that one source delivers is remembered for a while, and who brought it too.
//!
//! Pure and bounded: no clock, no socket, no table. Silence alone says nothing: without a commit that another source
//! delivered nobody has missed anything, however quiet the night.
//!
//! A source *missed* a commit that another delivered if it was connected and had caught up since before the commit was
//! written, and has been given a grace time. It is *blind* to a collection when the last few comparable commits of it were
//! all missed; a single one that it delivers ends that. What it missed and delivers later is *late*, and is its debt paid.

use std::{
    collections::{HashMap, VecDeque},
    hash::BuildHasher as _,
    time::Duration,
};

use foldhash::fast::RandomState;

use super::patience::Patience;
use crate::{
    atproto::{Did, RecordKey, Tid},
    model::Collection,
};

/// Commits remembered at most. While so many wait to be judged, others are not compared.
const COMMITS_MAX: usize = 65_536;
/// Misses remembered at most, to know a late delivery by.
const MISSES_MAX: usize = 16_384;
/// Sources compared at most: one bit each.
pub const SOURCES_MAX: usize = 64;
/// A commit written longer ago is not compared: it came from a backlog.
const AGE_MAX_US: i64 = 10 * 60 * 1_000_000;
/// A commit that claims to be from further ahead is not compared either: its writer's clock can't be held against ours.
const AHEAD_MAX_US: i64 = 60 * 1_000_000;
/// How many times the grace a judgement waits for a source that is away just then.
const WAIT_FACTOR: u32 = 10;

/// The present, twice: `awake` is how long we have been reading, without the time in which we could not; `wall_us` is what
/// the clock says, in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Time spent reading.
    pub awake: Duration,
    /// Wall clock.
    pub wall_us: i64,
}

/// A commit of ours, as the comparison knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// Which source delivered it.
    pub source: usize,
    /// What stands for path and rev.
    pub key: u64,
    /// Of which collection.
    pub collection: Collection,
    /// When it was written, by its rev.
    pub written_us: i64,
}

/// How one source does in one collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sight {
    /// When the first commit came that it missed, in microseconds since 1970, while it is blind.
    pub blind_since_us: Option<i64>,
    /// Commits missed in the latest row of misses and not delivered since.
    pub debt: u32,
    /// Which row of misses that is.
    pub row: u32,
    /// More was missed than is remembered: that the debt is paid can't be told any more.
    pub unknown: bool,
}

/// How one source does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Score {
    /// Compared commits that it delivered in time..
    pub delivered: u64,
    /// ..of these before all others.
    pub first: u64,
    /// Compared commits that it did not deliver in time.
    pub missed: u64,
    /// Of the missed those that it delivered later.
    pub late: u64,
    /// How much later than the first, at worst.
    pub late_max: Duration,
    /// Connections that have brought something.
    pub connections: u64,
    /// By collection, in the order of [`Collection::ALL`].
    pub sights: [Sight; 4],
}

impl Score {
    /// The collections that it is blind to.
    pub fn blind_to(&self) -> impl Iterator<Item = Collection> {
        Collection::ALL
            .into_iter()
            .zip(self.sights)
            .filter(|(_, sight)| sight.blind_since_us.is_some())
            .map(|(collection, _)| collection)
    }

    /// Since when it has been blind to anything.
    pub fn blind_since_us(&self) -> Option<i64> {
        self.sights.iter().filter_map(|sight| sight.blind_since_us).min()
    }
}

/// See the module.
#[derive(Debug)]
pub struct Comparison {
    patience: Patience,
    hasher: RandomState,
    sides: Vec<Side>,
    /// In the order in which they were first heard.
    commits: VecDeque<Compared>,
    /// The number of the first of them; numbers go up by one.
    first_number: u64,
    numbers: HashMap<u64, u64, RandomState>,
    misses: HashMap<(u64, usize), Miss, RandomState>,
    missed: VecDeque<(u64, usize)>,
    /// What was written before this may have been heard and forgotten, and can't be compared any more.
    forgotten_us: i64,
    is_full: bool,
}

/// One source.
#[derive(Debug, Default)]
struct Side {
    is_whole: bool,
    score: Score,
    streaks: [Streak; 4],
    /// When the latest commit of each collection was written that it has delivered in time.
    proven_us: [i64; 4],
    /// Judged up to the commit of this number.
    judged: u64,
    /// What holds of the connection; none while there is none.
    line: Option<Line>,
}

/// A connection.
#[derive(Debug, Clone, Copy)]
struct Line {
    /// When it last brought something, or was made.
    heard: Duration,
    /// Since when it has brought what happens now.
    live_since_us: Option<i64>,
}

/// Misses in a row.
#[derive(Debug, Default, Clone, Copy)]
struct Streak {
    length: u32,
    since_us: i64,
}

#[derive(Debug)]
struct Compared {
    key: u64,
    written_us: i64,
    awake: Duration,
    wall_us: i64,
    collection: Collection,
    heard_by: u64,
    expected_of: u64,
}

#[derive(Debug, Clone, Copy)]
struct Miss {
    collection: Collection,
    awake: Duration,
    row: u32,
}

impl Comparison {
    /// Compares sources, of each of which it is said whether it carries the whole network. What a source delivers that does
    /// not is held against the others, but nothing is asked of it. Those beyond [`SOURCES_MAX`] are left out.
    pub fn new(is_whole: Vec<bool>, patience: Patience) -> Self {
        Self {
            patience,
            hasher: RandomState::default(),
            sides: is_whole.into_iter().take(SOURCES_MAX).map(Side::new).collect(),
            commits: VecDeque::new(),
            first_number: 0,
            numbers: HashMap::default(),
            misses: HashMap::default(),
            missed: VecDeque::new(),
            forgotten_us: i64::MIN,
            is_full: false,
        }
    }

    /// What stands for a path at a rev.
    pub fn key(&self, did: &Did, collection: Collection, (rkey, rev): (&RecordKey, Tid)) -> u64 {
        self.hasher.hash_one((did.as_str(), collection, rkey.as_str(), rev.number()))
    }

    /// Tells whether a source is connected now; again and again is fine.
    pub fn connection(&mut self, source: usize, is_connected: bool, now: Moment) {
        let Some(side) = self.sides.get_mut(source) else { return };
        let fresh = Line { heard: now.awake, live_since_us: None };
        side.line = is_connected.then(|| side.line.unwrap_or(fresh));
    }

    /// Tells that a source has begun another connection, which has to catch up first.
    pub fn reconnected(&mut self, source: usize, now: Moment) {
        let Some(side) = self.sides.get_mut(source) else { return };
        side.line = Some(Line { heard: now.awake, live_since_us: None });
        side.score.connections += 1;
    }

    /// Tells that a source has brought messages, and when its upstream saw the last of them.
    pub fn delivery(&mut self, source: usize, told_us: Option<i64>, now: Moment) {
        let Some(side) = self.sides.get_mut(source) else { return };
        let grace_us = i64::try_from(self.patience.grace.as_micros()).unwrap_or(i64::MAX);
        let is_live = told_us.is_some_and(|told_us| told_us >= now.wall_us - grace_us);
        let line = side.line.get_or_insert(Line { heard: now.awake, live_since_us: None });
        line.heard = now.awake;
        line.live_since_us = if is_live { line.live_since_us.or(Some(now.wall_us)) } else { None };
    }

    /// Takes a commit that a source has delivered.
    pub fn hear(&mut self, heard: Heard, now: Moment) {
        if heard.source >= self.sides.len() {
            return;
        }
        let bit = 1_u64 << heard.source;
        if let Some(number) = self.numbers.get(&heard.key) {
            let place = usize::try_from(number - self.first_number).unwrap_or(usize::MAX);
            let Some(commit) = self.commits.get_mut(place) else { return };
            if commit.heard_by & bit == 0 {
                commit.heard_by |= bit;
                self.deliver(heard, now);
            }
        } else if self.misses.contains_key(&(heard.key, heard.source)) {
            self.deliver(heard, now);
        } else if self.is_comparable(heard.written_us, now) {
            let expected_of = self.expected_of(heard.written_us) & !bit;
            let number = self.first_number + self.commits.len() as u64;
            self.numbers.insert(heard.key, number);
            self.commits.push_back(Compared {
                key: heard.key,
                written_us: heard.written_us,
                awake: now.awake,
                wall_us: now.wall_us,
                collection: heard.collection,
                heard_by: bit,
                expected_of,
            });
            self.sides[heard.source].score.first += 1;
            self.deliver(heard, now);
        }
    }

    /// Judges what is due. To be called about once in a second, when nothing that was delivered waits to be heard.
    pub fn settle(&mut self, now: Moment) {
        let grace = self.patience.grace;
        for line in self.sides.iter_mut().filter_map(|side| side.line.as_mut()) {
            // A backlog would go on: after so long a pause the source has told all that it has.
            if line.live_since_us.is_none() && line.heard + grace <= now.awake {
                line.live_since_us = Some(now.wall_us);
            }
        }
        for source in 0..self.sides.len() {
            self.judge(source, now);
        }
        self.forget();
    }

    /// How each source does.
    pub fn scores(&self) -> Vec<Score> {
        self.sides.iter().map(|side| side.score).collect()
    }

    /// Commits and misses that are remembered now.
    pub fn remembered(&self) -> (usize, usize) {
        (self.commits.len(), self.missed.len())
    }

    /// Whether it can be told who delivered a commit: it is recent, and if it had been heard before, it would be known.
    fn is_comparable(&mut self, written_us: i64, now: Moment) -> bool {
        self.is_full |= self.commits.len() >= COMMITS_MAX;
        if self.is_full {
            // What comes while there is no room is heard and forgotten at once, so that nobody is asked for it later.
            self.forgotten_us = self.forgotten_us.max(now.wall_us);
        }
        let is_recent = written_us >= now.wall_us - AGE_MAX_US && written_us <= now.wall_us + AHEAD_MAX_US;
        is_recent && written_us > self.forgotten_us && !self.is_full
    }

    /// Who ought to deliver a commit: who had caught up before it was written.
    fn expected_of(&self, written_us: i64) -> u64 {
        let places = self.sides.iter().enumerate();
        let caught_up = places
            .filter(|(_, side)| side.is_whole && side.live_since_us().is_some_and(|since_us| since_us <= written_us));
        caught_up.fold(0, |bits, (place, _)| bits | 1 << place)
    }

    /// Counts a delivery. One in time is judged with its neighbours; a late one has been judged, and shows that the source
    /// sees.
    fn deliver(&mut self, heard: Heard, now: Moment) {
        let side = &mut self.sides[heard.source];
        let Some(miss) = self.misses.remove(&(heard.key, heard.source)) else {
            side.score.delivered += 1;
            let proven_us = &mut side.proven_us[heard.collection as usize];
            *proven_us = heard.written_us.max(*proven_us);
            return;
        };
        side.score.late += 1;
        side.score.late_max = side.score.late_max.max(now.awake.saturating_sub(miss.awake));
        let sight = &mut side.score.sights[heard.collection as usize];
        if miss.row == sight.row {
            sight.debt = sight.debt.saturating_sub(1);
        }
        side.sees(heard.collection);
    }

    /// Judges one source on all that is due.
    fn judge(&mut self, source: usize, now: Moment) {
        let (grace, bit) = (self.patience.grace, 1_u64 << source);
        let is_there = self.sides[source].live_since_us().is_some();
        loop {
            let number = self.sides[source].judged.max(self.first_number);
            let place = usize::try_from(number - self.first_number).unwrap_or(usize::MAX);
            let Some(commit) = self.commits.get(place).filter(|commit| commit.awake + grace <= now.awake) else {
                break;
            };
            let is_heard = commit.heard_by & bit != 0;
            let is_owed = commit.expected_of & bit != 0 && !is_heard;
            if is_heard {
                let collection = commit.collection;
                self.sides[source].sees(collection);
            } else if is_owed && is_there {
                let miss = Miss { collection: commit.collection, awake: commit.awake, row: 0 };
                let (key, times) = (commit.key, (commit.written_us, commit.wall_us));
                self.miss(source, (key, miss), times);
            } else if is_owed && commit.awake + grace * WAIT_FACTOR > now.awake {
                break;
            }
            self.sides[source].judged = number + 1;
        }
    }

    /// A miss belongs to a row unless the source has delivered something that was written later: then it has a hole, but
    /// sees. Arrival would not do to tell, since a burst arrives source by source.
    fn miss(&mut self, source: usize, (key, miss): (u64, Miss), (written_us, wall_us): (i64, i64)) {
        let side = &mut self.sides[source];
        let at = miss.collection as usize;
        let (streak, sight) = (&mut side.streaks[at], &mut side.score.sights[at]);
        side.score.missed += 1;
        if written_us > side.proven_us[at] {
            if streak.length == 0 {
                *streak = Streak { length: 0, since_us: wall_us };
                *sight = Sight { row: sight.row.wrapping_add(1), ..Sight::default() };
            }
            streak.length = streak.length.saturating_add(1);
            if streak.length >= self.patience.misses {
                sight.blind_since_us = Some(streak.since_us);
            }
        }
        sight.debt = sight.debt.saturating_add(1);
        self.misses.insert((key, source), Miss { row: sight.row, ..miss });
        self.missed.push_back((key, source));
        while self.missed.len() > MISSES_MAX {
            let Some(oldest) = self.missed.pop_front() else { break };
            let Some(miss) = self.misses.remove(&oldest) else { continue };
            let sight = &mut self.sides[oldest.1].score.sights[miss.collection as usize];
            sight.unknown |= sight.row == miss.row;
        }
    }

    /// Forgets what all have been judged on, oldest first.
    fn forget(&mut self) {
        let first_open = self.sides.iter().map(|side| side.judged).min().unwrap_or(u64::MAX);
        while self.first_number < first_open {
            let Some(commit) = self.commits.pop_front() else { break };
            self.first_number += 1;
            self.numbers.remove(&commit.key);
            self.forgotten_us = self.forgotten_us.max(commit.wall_us);
        }
        self.is_full = self.commits.len() >= if self.is_full { COMMITS_MAX / 2 } else { COMMITS_MAX };
    }
}

impl Side {
    fn new(is_whole: bool) -> Self {
        Self { is_whole, proven_us: [i64::MIN; 4], ..Self::default() }
    }

    /// What it delivers it is not blind to.
    fn sees(&mut self, collection: Collection) {
        self.streaks[collection as usize] = Streak::default();
        self.score.sights[collection as usize].blind_since_us = None;
    }

    fn live_since_us(&self) -> Option<i64> {
        self.line.and_then(|line| line.live_since_us)
    }
}
