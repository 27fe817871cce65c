//! A host: which events it carries, in which order, under which stamps and numbers, and how far back.

use std::collections::VecDeque;

use crate::{random::Random, world::World};

/// How a host orders and stamps what it carries.
#[derive(Debug, Clone)]
pub struct Habits {
    /// Its stamps are this far from the truth, in microseconds.
    pub skew_us: i64,
    /// Percent of the events whose stamp is up to a second off, so that stamps run backwards.
    pub inverted_percent: usize,
    /// Percent of the events that share the stamp of the one before.
    pub shared_percent: usize,
    /// Percent of the events that are sent a few places later, also within one repo.
    pub swapped_percent: usize,
    /// Percent of the events that it never carries. At most one host of a world should lose anything, or the truth is lost.
    pub lost_percent: usize,
    /// At this event, the stamps jump by so many microseconds, for good.
    pub jump: Option<(u64, i64)>,
    /// How many events it keeps; none: all.
    pub window: Option<usize>,
    /// The first sequence number.
    pub first_seq: i64,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            skew_us: 0,
            inverted_percent: 0,
            shared_percent: 0,
            swapped_percent: 0,
            lost_percent: 0,
            jump: None,
            window: None,
            first_seq: 1,
        }
    }
}

impl Habits {
    /// The habits of a host of a real network: nothing is lost, but nothing is tidy.
    pub fn untidy(host: usize) -> Self {
        let host = i64::try_from(host).expect("few hosts");
        Self {
            skew_us: host * 70_000,
            inverted_percent: 20,
            shared_percent: 10,
            swapped_percent: 5,
            first_seq: 1 + host * 5_000_000,
            ..Self::default()
        }
    }
}

/// One event in a host's log.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Which event of the world.
    pub event: u32,
    /// The number of its first row in a Jetstream v2; each operation of a commit has one more.
    pub row: i64,
    /// Its number in a firehose.
    pub seq: i64,
    /// Its stamp.
    pub time_us: i64,
    /// The greatest stamp until here.
    pub reached_us: i64,
}

/// What a host keeps.
pub struct Log {
    /// How it orders and stamps.
    pub habits: Habits,
    random: Random,
    entries: VecDeque<Entry>,
    /// How many entries have fallen out of the window.
    dropped: u64,
    /// Events that come a little later.
    held: Vec<u32>,
    /// How many events of the world it has seen.
    seen: usize,
    next_row: i64,
    next_seq: i64,
    shift_us: i64,
    /// How many events were never carried.
    pub lost: u64,
}

impl Log {
    /// An empty log.
    pub fn new(habits: Habits, seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            entries: VecDeque::new(),
            dropped: 0,
            held: Vec::new(),
            seen: 0,
            next_row: habits.first_seq,
            next_seq: habits.first_seq,
            shift_us: habits.skew_us,
            habits,
            lost: 0,
        }
    }

    /// Takes over what has happened since the last time.
    pub fn follow(&mut self, world: &World) {
        let events = world.events();
        self.entries.reserve(events.len() - self.seen);
        for at in self.seen..events.len() {
            let event = u32::try_from(at).expect("fewer than 2^32 events");
            if self.random.percent(self.habits.lost_percent) {
                self.lost += 1;
            } else if self.random.percent(self.habits.swapped_percent) {
                self.held.push(event);
            } else {
                self.push(world, event);
                if !self.held.is_empty() && self.random.percent(30) {
                    self.release(world);
                }
            }
        }
        self.seen = events.len();
        // It is unknown when the next comes.
        self.release(world);
        while self.habits.window.is_some_and(|window| self.entries.len() > window) {
            self.entries.pop_front();
            self.dropped += 1;
        }
    }

    fn release(&mut self, world: &World) {
        let mut held = std::mem::take(&mut self.held);
        self.random.shuffle(&mut held);
        for event in held {
            self.push(world, event);
        }
    }

    fn push(&mut self, world: &World, event: u32) {
        let happened = &world.events()[crate::world::index(event)];
        if let Some((at, by_us)) = self.habits.jump
            && at == self.end()
        {
            self.shift_us += by_us;
        }
        let last = self.entries.back().copied();
        let mut time_us = happened.time_us() + self.shift_us;
        if self.random.percent(self.habits.inverted_percent) {
            time_us -= self.random.between(0, 1_000_000);
        }
        if self.random.percent(self.habits.shared_percent) {
            time_us = last.map_or(time_us, |last| last.time_us);
        }
        let reached_us = last.map_or(time_us, |last| last.reached_us.max(time_us));
        self.entries.push_back(Entry { event, row: self.next_row, seq: self.next_seq, time_us, reached_us });
        self.next_row += i64::try_from(happened.rows()).expect("few rows");
        // Gaps in the numbers are normal.
        self.next_seq += self.random.between(1, 2);
    }

    /// The place of the oldest entry that is kept.
    pub fn begin(&self) -> u64 {
        self.dropped
    }

    /// The place after the newest.
    pub fn end(&self) -> u64 {
        self.dropped + u64::try_from(self.entries.len()).expect("64 bits")
    }

    /// Entries from a place on, as far as they are kept.
    pub fn from(&self, place: u64) -> impl Iterator<Item = &Entry> {
        let skipped = usize::try_from(place.saturating_sub(self.dropped)).expect("64 bits").min(self.entries.len());
        self.entries.range(skipped..)
    }

    fn place(&self, within: usize) -> u64 {
        self.dropped + u64::try_from(within).expect("64 bits")
    }

    /// Where a microsecond cursor begins: at the first entry at or after it.
    pub fn place_of_time(&self, cursor: i64) -> u64 {
        self.place(self.entries.partition_point(|entry| entry.reached_us < cursor))
    }

    /// Where a row's number begins: at the entry that holds it.
    pub fn place_of_row(&self, cursor: i64) -> u64 {
        let after = self.entries.partition_point(|entry| entry.row <= cursor);
        self.place(after.saturating_sub(1))
    }

    /// Where a firehose goes on: after its number.
    pub fn place_after_seq(&self, cursor: i64) -> u64 {
        self.place(self.entries.partition_point(|entry| entry.seq <= cursor))
    }

    /// The oldest entry that is kept.
    pub fn oldest(&self) -> Option<&Entry> {
        self.entries.front()
    }

    /// The number that the next row gets.
    pub fn next_row(&self) -> i64 {
        self.next_row
    }

    /// The number that the next firehose message gets.
    pub fn next_seq(&self) -> i64 {
        self.next_seq
    }

    /// The host crashes and has forgotten the numbers of its last events: they come again, in another order, and numbers
    /// that were handed out already name other events now. Says how many.
    pub fn crash(&mut self, world: &World, events: usize) -> usize {
        let kept = self.entries.len().saturating_sub(events);
        let mut again: Vec<u32> = self.entries.split_off(kept).iter().map(|entry| entry.event).collect();
        self.random.shuffle(&mut again);
        let count = again.len();
        (self.next_row, self.next_seq) = (self.habits.first_seq, self.habits.first_seq);
        if let Some(last) = self.entries.back() {
            let rows = world.events()[crate::world::index(last.event)].rows();
            self.next_row = last.row + i64::try_from(rows).expect("few rows");
            self.next_seq = last.seq + 1;
        }
        for event in again {
            self.push(world, event);
        }
        count
    }

    /// The host begins to count again at one, and keeps all it has.
    pub fn reset(&mut self, world: &World) {
        (self.next_row, self.next_seq) = (1, 1);
        let all: Vec<u32> = std::mem::take(&mut self.entries).iter().map(|entry| entry.event).collect();
        for event in all {
            self.push(world, event);
        }
    }
}
