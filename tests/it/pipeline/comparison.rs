//! The comparison of sources by itself: who is blind, who is not, and that it forgets in time.

use std::{collections::BTreeSet, time::Duration};

use plyr_likes::{
    ingest::failover::{
        Patience,
        comparison::{Comparison, Heard, Moment, Score},
    },
    model::Collection,
};
use proptest::prelude::*;

const START_US: i64 = 1_790_000_000_000_000;
const SECOND_US: i64 = 1_000_000;

/// A comparison, and the time in it.
struct Table {
    comparison: Comparison,
    now_us: i64,
    sources: usize,
}

impl Table {
    /// So many sources, all connected and up to date.
    fn of(sources: usize) -> Self {
        Self::with(vec![true; sources])
    }

    fn with(is_whole: Vec<bool>) -> Self {
        let sources = is_whole.len();
        let mut table = Self { comparison: Comparison::new(is_whole, Patience::default()), now_us: 0, sources };
        for source in 0..sources {
            table.live(source);
        }
        table.pass(1);
        table
    }

    fn now(&self) -> Moment {
        Moment { awake: Duration::from_micros(self.now_us.unsigned_abs()), wall_us: START_US + self.now_us }
    }

    /// A source tells of something that happens now.
    fn live(&mut self, source: usize) {
        let now = self.now();
        self.comparison.delivery(source, Some(now.wall_us), now);
    }

    /// A source tells of a commit that was written so many seconds ago.
    fn tell(&mut self, source: usize, (key, age_s): (u64, i64)) {
        let now = self.now();
        let written_us = now.wall_us - age_s * SECOND_US;
        self.comparison.hear(Heard { source, key, collection: Collection::Like, written_us }, now);
    }

    /// Seconds go by, in each of which all is settled and all connected sources tell of something.
    fn pass(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.now_us += SECOND_US;
            self.comparison.settle(self.now());
        }
    }

    fn score(&self, source: usize) -> Score {
        self.comparison.scores()[source]
    }

    fn is_blind(&self, source: usize) -> bool {
        self.score(source).blind_since_us().is_some()
    }

    fn is_anybody_blind(&self) -> bool {
        (0..self.sources).any(|source| self.is_blind(source))
    }
}

#[test]
fn t12_three_misses_are_blindness_and_one_delivery_ends_it() {
    let mut table = Table::of(2);
    for key in 0..3 {
        assert!(!table.is_anybody_blind());
        table.tell(0, (key, 0));
        table.pass(5);
    }
    table.pass(54);
    assert!(!table.is_blind(1), "the grace of the third is not over");
    table.pass(1);
    assert!(table.is_blind(1) && !table.is_blind(0));
    assert_eq!(table.score(1).blind_to().collect::<Vec<_>>(), [Collection::Like]);
    assert_eq!((table.score(1).missed, table.score(1).sights[0].debt), (3, 3));
    table.tell(0, (3, 0));
    table.tell(1, (3, 0));
    table.pass(60);
    assert!(!table.is_blind(1));
    assert_eq!((table.score(0).first, table.score(1).delivered), (4, 1));
    assert_eq!(table.score(1).sights[0].debt, 3, "what it missed it still owes");
}

#[test]
fn t12_misses_with_deliveries_between_them_are_no_row() {
    let mut table = Table::of(2);
    for key in 0..10 {
        table.tell(0, (2 * key, 0));
        table.pass(61);
        assert!(!table.is_anybody_blind(), "after {} misses", table.score(1).missed);
        table.tell(0, (2 * key + 1, 0));
        table.tell(1, (2 * key + 1, 0));
        table.pass(61);
    }
    assert_eq!((table.score(1).missed, table.score(1).delivered), (10, 10));
}

#[test]
fn t12_what_comes_late_pays_the_debt() {
    let mut table = Table::of(2);
    for key in 0..4 {
        table.tell(0, (key, 0));
        table.pass(1);
    }
    table.pass(70);
    assert!(table.is_blind(1));
    let row = table.score(1).sights[0].row;
    for key in 0..4 {
        assert_eq!(table.score(1).sights[0].debt, 4 - u32::try_from(key).unwrap());
        table.tell(1, (key, 74));
        assert!(!table.is_blind(1));
    }
    let score = table.score(1);
    assert_eq!((score.late, score.missed, score.sights[0].debt, score.sights[0].row), (4, 4, 0, row));
    assert!(score.late_max >= Duration::from_secs(70), "{:?}", score.late_max);
    // Told once more it is nothing new, neither for the one nor for the other.
    table.tell(1, (0, 80));
    table.tell(0, (0, 80));
    table.pass(100);
    assert_eq!((table.score(1).late, table.score(0).missed), (4, 0));
}

#[test]
fn t13_silence_is_not_blindness() {
    let mut table = Table::of(3);
    table.tell(0, (1, 0));
    table.tell(1, (1, 0));
    table.tell(2, (1, 0));
    for _ in 0..11 {
        table.pass(3_600);
        table.live(0);
    }
    assert!(!table.is_anybody_blind());
    assert_eq!((table.score(0).missed, table.score(1).missed, table.score(2).missed), (0, 0, 0));
    assert_eq!(table.comparison.remembered(), (0, 0));
}

#[test]
fn t12_only_who_had_caught_up_before_it_was_written_owes_it() {
    let mut table = Table::of(2);
    // In a backlog.
    let now = table.now();
    table.comparison.delivery(1, Some(now.wall_us - 3_600 * SECOND_US), now);
    for key in 0..5 {
        table.tell(0, (key, 0));
    }
    table.pass(30);
    table.live(1);
    // Written while it was behind, told now.
    for key in 5..10 {
        table.tell(0, (key, 20));
    }
    table.pass(100);
    // Connected anew.
    table.comparison.reconnected(1, table.now());
    for key in 10..15 {
        table.tell(0, (key, 0));
    }
    table.pass(100);
    // Not connected at all.
    table.comparison.connection(1, false, table.now());
    for key in 15..20 {
        table.tell(0, (key, 0));
    }
    table.pass(100);
    assert_eq!(table.score(1).missed, 0);
    // Without a word for a minute there is no backlog: it has caught up.
    table.comparison.connection(1, true, table.now());
    table.pass(61);
    for key in 20..23 {
        table.tell(0, (key, 0));
    }
    table.pass(61);
    assert!(table.is_blind(1));
}

#[test]
fn t12_a_source_that_breaks_off_is_judged_when_it_is_back() {
    let mut table = Table::of(2);
    for key in 0..3 {
        table.tell(0, (key, 0));
    }
    table.comparison.connection(1, false, table.now());
    table.pass(90);
    assert_eq!(table.score(1).missed, 0);
    table.comparison.reconnected(1, table.now());
    table.tell(1, (0, 90));
    table.live(1);
    table.pass(1);
    // It brought one of them with its backlog, and not the others.
    assert_eq!((table.score(1).delivered, table.score(1).missed), (1, 2));
    // One that stays away is not waited for.
    for key in 10..13 {
        table.tell(0, (key, 0));
    }
    table.comparison.connection(1, false, table.now());
    table.pass(700);
    table.live(1);
    table.pass(5);
    assert_eq!((table.score(1).missed, table.comparison.remembered().0), (2, 0));
}

#[test]
fn t12_who_carries_a_part_is_a_witness_only() {
    let mut table = Table::with(vec![false, true]);
    for key in 0..5 {
        table.tell(1, (key, 0));
    }
    table.pass(1);
    for key in 5..10 {
        table.tell(0, (key, 0));
    }
    table.pass(61);
    assert_eq!((table.score(0).missed, table.score(1).missed), (0, 5));
    assert!(table.is_blind(1) && !table.is_blind(0));
}

#[test]
fn t15_a_burst_that_comes_source_by_source_blinds_nobody() {
    // By clocks that are ahead of ours, and what was written while we could not read.
    for oldest_s in [0, 60] {
        let mut table = Table::of(2);
        table.pass(100);
        let ages = |key: i64| (key.unsigned_abs(), oldest_s - key);
        for key in (0..60).filter(|key| key % 3 != 0) {
            table.tell(0, ages(key));
        }
        for key in (0..60).filter(|key| key % 3 != 1) {
            table.tell(1, ages(key));
        }
        table.pass(120);
        assert!(!table.is_anybody_blind(), "written up to {oldest_s} s ago");
        assert_eq!((table.score(0).missed, table.score(1).missed), (20, 20));
    }
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut table = Table::of(2);
    let mut most = (0, 0);
    for round in 0..300 {
        for key in 0..2_000 {
            table.tell(0, (round * 2_000 + key, 0));
        }
        table.pass(1);
        let (commits, misses) = table.comparison.remembered();
        most = (most.0.max(commits), most.1.max(misses));
    }
    assert!(most.0 <= 65_536 && most.1 <= 16_384, "{most:?}");
    assert!(most.0 > 60_000, "the bound was never reached: {most:?}");
    // Where not all can be compared, some are: the one that tells of nothing is blind, and its debt unknown.
    assert!(table.is_blind(1) && !table.is_blind(0));
    assert!(table.score(1).sights[0].unknown);
}

#[derive(Debug, Clone)]
enum Step {
    Tell { source: usize, key: u64, age_s: i64 },
    Live { source: usize },
    Behind { source: usize },
    Leave { source: usize },
    Return { source: usize },
    Pass { seconds: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let source = 0..4_usize;
    prop_oneof![
        8 => (source.clone(), 0..60_u64, 0..100_i64).prop_map(|(source, key, age_s)| Step::Tell { source, key, age_s }),
        2 => source.clone().prop_map(|source| Step::Live { source }),
        1 => source.clone().prop_map(|source| Step::Behind { source }),
        1 => source.clone().prop_map(|source| Step::Leave { source }),
        1 => source.prop_map(|source| Step::Return { source }),
        3 => (1..40_i64).prop_map(|seconds| Step::Pass { seconds }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever happens, the figures agree with each other, and a source that is alone is never blind.
    #[test]
    fn any_order_of_anything_keeps_the_figures_sound(steps in proptest::collection::vec(step(), 0..300), alone: bool) {
        let mut table = Table::of(if alone { 1 } else { 3 });
        for step in steps {
            let now = table.now();
            match step {
                Step::Tell { source, key, age_s } => table.tell(source, (key, age_s)),
                Step::Live { source } => table.live(source),
                Step::Behind { source } => table.comparison.delivery(source, Some(0), now),
                Step::Leave { source } => table.comparison.connection(source, false, now),
                Step::Return { source } => table.comparison.reconnected(source, now),
                Step::Pass { seconds } => table.pass(seconds),
            }
            for score in table.comparison.scores() {
                prop_assert!(score.first <= score.delivered);
                prop_assert!(score.late <= score.missed);
                let debt: u64 = score.sights.iter().map(|sight| u64::from(sight.debt)).sum();
                prop_assert!(debt <= score.missed - score.late);
                prop_assert!(score.blind_since_us().is_none() || score.missed >= 3);
            }
        }
        prop_assert!(!alone || !table.is_anybody_blind());
        table.pass(1_300);
        prop_assert_eq!(table.comparison.remembered().0, 0);
    }

    /// Among sources that are there all the time: missed is what others told and it did not within the grace, in whatever
    /// order it came.
    #[test]
    fn who_misses_what_is_counted_exactly(
        told in proptest::collection::vec((0..3_usize, 0..40_u64, 0..50_i64), 1..200),
    ) {
        let mut table = Table::of(3);
        let mut by_delay = told.clone();
        by_delay.sort_by_key(|(_, _, delay_s)| *delay_s);
        let mut heard = vec![BTreeSet::new(); 3];
        for (source, key, delay_s) in by_delay {
            let gone_s = table.now_us / SECOND_US - 1;
            table.pass(delay_s - gone_s);
            for source in 0..3 {
                table.live(source);
            }
            table.tell(source, (key, delay_s - 1));
            heard[source].insert(key);
        }
        table.pass(200);
        let all: BTreeSet<u64> = heard.iter().flatten().copied().collect();
        for (source, heard) in heard.iter().enumerate() {
            let score = table.score(source);
            prop_assert_eq!(usize::try_from(score.delivered).unwrap(), heard.len());
            prop_assert_eq!(usize::try_from(score.missed).unwrap(), all.len() - heard.len());
        }
    }
}
