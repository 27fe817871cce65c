//! The detector of incomplete sources by itself: who is incomplete, who is not, and that it forgets in time.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use plyr_likes::{
    ingest::failover::{
        Patience,
        detect::{Delivered, Detector, Score},
    },
    model::Collection,
};
use proptest::prelude::*;

const START_US: i64 = 1_790_000_000_000_000;
const SECOND_US: i64 = 1_000_000;

/// A detector, and the time in it.
struct Bench {
    detector: Detector,
    connected: Vec<bool>,
    now_us: i64,
}

impl Bench {
    /// So many sources, all connected and caught up.
    fn of(sources: usize) -> Self {
        Self::with(&vec![true; sources], &Patience::default())
    }

    fn with(carries_all: &[bool], patience: &Patience) -> Self {
        let detector = Detector::new(carries_all, patience);
        let mut bench = Self { detector, connected: vec![true; carries_all.len()], now_us: START_US };
        for source in 0..carries_all.len() {
            bench.live(source);
        }
        bench.pass(1);
        bench
    }

    /// A source delivers something that happens now.
    fn live(&mut self, source: usize) {
        self.detector.end(source, Some(self.now_us), self.now_us);
    }

    /// A source delivers a commit that was written so many seconds ago.
    fn deliver(&mut self, source: usize, key: u64, age_s: i64) {
        let written_us = self.now_us - age_s * SECOND_US;
        self.detector.delivered(Delivered { source, key, collection: Collection::Like, written_us }, self.now_us);
    }

    fn pass(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.now_us += SECOND_US;
            self.detector.tick(&self.connected, self.now_us);
        }
    }

    fn score(&self, source: usize) -> Score {
        self.detector.scores()[source]
    }

    fn is_incomplete(&self, source: usize) -> bool {
        self.score(source).since_us().is_some()
    }

    fn is_any_incomplete(&self) -> bool {
        (0..self.connected.len()).any(|source| self.is_incomplete(source))
    }
}

#[test]
fn t12_three_misses_are_incompleteness_and_one_delivery_ends_it() {
    let mut bench = Bench::of(2);
    for key in 0..3 {
        assert!(!bench.is_any_incomplete());
        bench.deliver(0, key, 0);
        bench.pass(5);
    }
    let first_us = bench.now_us - 15 * SECOND_US;
    bench.pass(54);
    assert!(!bench.is_incomplete(1), "the grace of the third is not over");
    bench.pass(1);
    assert!(bench.is_incomplete(1) && !bench.is_incomplete(0));
    assert_eq!(bench.score(1).incomplete().collect::<Vec<_>>(), [Collection::Like]);
    assert_eq!((bench.score(1).missed, bench.score(1).since_us()), (3, Some(first_us)));
    assert_eq!(bench.score(1).missing_until_us, Some(first_us + 10 * SECOND_US));
    bench.deliver(0, 3, 0);
    bench.deliver(1, 3, 0);
    bench.pass(60);
    assert!(!bench.is_incomplete(1));
    assert_eq!((bench.score(0).first, bench.score(1).delivered), (4, 1));
    assert_eq!(bench.score(1).missing_until_us, Some(first_us + 10 * SECOND_US), "what it missed it still lacks");
}

#[test]
fn t12_misses_with_deliveries_between_them_are_no_row() {
    let mut bench = Bench::of(2);
    for key in 0..10 {
        bench.deliver(0, 2 * key, 0);
        bench.pass(61);
        assert!(!bench.is_any_incomplete(), "after {} misses", bench.score(1).missed);
        bench.deliver(0, 2 * key + 1, 0);
        bench.deliver(1, 2 * key + 1, 0);
        bench.pass(61);
    }
    assert_eq!((bench.score(1).missed, bench.score(1).delivered), (10, 10));
}

#[test]
fn t12_what_comes_late_is_no_longer_missing() {
    let mut bench = Bench::of(2);
    for key in 0..4 {
        bench.deliver(0, key, 0);
        bench.pass(1);
    }
    let last_us = bench.now_us - SECOND_US;
    bench.pass(70);
    assert!(bench.is_incomplete(1));
    for key in 0..4 {
        assert_eq!(bench.score(1).missing_until_us, Some(last_us));
        bench.deliver(1, key, 74);
        bench.pass(1);
        assert!(!bench.is_incomplete(1));
    }
    let score = bench.score(1);
    assert_eq!((score.late, score.missed, score.missing_until_us), (4, 4, None));
    // Delivered once more it is nothing new, neither for the one nor for the other.
    bench.deliver(1, 0, 80);
    bench.deliver(0, 0, 80);
    bench.pass(1_000);
    assert_eq!((bench.score(1).late, bench.score(0).missed, bench.detector.remembered()), (4, 0, 0));
}

#[test]
fn t13_silence_is_not_incompleteness() {
    let mut bench = Bench::of(3);
    for source in 0..3 {
        bench.deliver(source, 1, 0);
    }
    for _ in 0..11 {
        bench.pass(3_600);
        bench.live(0);
    }
    assert!(!bench.is_any_incomplete());
    assert_eq!((bench.score(0).missed, bench.score(1).missed, bench.score(2).missed), (0, 0, 0));
    assert_eq!(bench.detector.remembered(), 0);
}

#[test]
fn t12_a_commit_is_expected_of_those_that_had_caught_up_before_it_was_written() {
    let mut bench = Bench::of(2);
    // In a backlog.
    bench.detector.end(1, Some(bench.now_us - 3_600 * SECOND_US), bench.now_us);
    for key in 0..5 {
        bench.deliver(0, key, 0);
    }
    bench.pass(30);
    bench.live(1);
    // Written while it was behind, delivered now.
    for key in 5..10 {
        bench.deliver(0, key, 20);
    }
    bench.pass(100);
    // Connected again.
    bench.detector.begin(1);
    for key in 10..15 {
        bench.deliver(0, key, 0);
    }
    bench.pass(100);
    // Not connected at all.
    bench.connected[1] = false;
    bench.pass(1);
    for key in 15..20 {
        bench.deliver(0, key, 0);
    }
    bench.pass(100);
    assert_eq!(bench.score(1).missed, 0);
    // Without a message for a minute there is no backlog: it has caught up.
    bench.connected[1] = true;
    bench.pass(61);
    for key in 20..23 {
        bench.deliver(0, key, 0);
    }
    bench.pass(61);
    assert!(bench.is_incomplete(1));
}

#[test]
fn t12_a_source_that_disconnects_is_judged_when_it_is_back() {
    let mut bench = Bench::of(2);
    for key in 0..3 {
        bench.deliver(0, key, 0);
    }
    bench.connected[1] = false;
    bench.pass(90);
    assert_eq!(bench.score(1).missed, 0);
    bench.connected[1] = true;
    bench.detector.begin(1);
    bench.deliver(1, 0, 90);
    bench.live(1);
    bench.pass(1);
    // It brought one of them with its backlog, and not the others.
    assert_eq!((bench.score(1).delivered, bench.score(1).missed), (1, 2));
    // One that stays away is not waited for.
    for key in 10..13 {
        bench.deliver(0, key, 0);
    }
    bench.connected[1] = false;
    bench.pass(700);
    bench.connected[1] = true;
    bench.live(1);
    bench.pass(5);
    assert_eq!((bench.score(1).missed, bench.detector.remembered()), (2, 2));
}

#[test]
fn t12_a_source_that_carries_a_part_is_a_witness_only() {
    let mut bench = Bench::with(&[false, true], &Patience::default());
    for key in 0..5 {
        bench.deliver(1, key, 0);
    }
    bench.pass(1);
    for key in 5..10 {
        bench.deliver(0, key, 0);
    }
    bench.pass(61);
    assert_eq!((bench.score(0).missed, bench.score(1).missed), (0, 5));
    assert!(bench.is_incomplete(1) && !bench.is_incomplete(0));
}

#[test]
fn t15_a_burst_that_comes_source_by_source_makes_none_incomplete() {
    // By clocks that are ahead of ours, and what was written while we could not read.
    for oldest_s in [0, 60] {
        let mut bench = Bench::of(2);
        bench.pass(100);
        for key in (0..60_i64).filter(|key| key % 3 != 0) {
            bench.deliver(0, key.unsigned_abs(), oldest_s - key);
        }
        for key in (0..60_i64).filter(|key| key % 3 != 1) {
            bench.deliver(1, key.unsigned_abs(), oldest_s - key);
        }
        bench.pass(120);
        assert!(!bench.is_any_incomplete(), "written up to {oldest_s} s ago");
        assert_eq!((bench.score(0).missed, bench.score(1).missed), (20, 20));
    }
}

/// A host can write any rev: neither does the faster source miss what it delivered before others, nor does a rev from the
/// future hide what is missed from then on.
#[test]
fn t12_a_clock_ahead_of_ours_neither_blames_nor_hides() {
    let mut bench = Bench::of(2);
    for key in 0..5 {
        bench.deliver(0, key, -65);
        bench.pass(10);
        bench.deliver(1, key, -55);
    }
    // Read again by one of them, when what was read first is forgotten.
    for source in [0, 1, 1] {
        bench.deliver(source, 5, -365 * 86_400);
        bench.pass(700);
    }
    assert_eq!((bench.score(0).missed, bench.score(1).missed), (0, 0));
    for key in 10..13 {
        bench.deliver(0, key, 0);
    }
    bench.pass(61);
    assert!(bench.is_incomplete(1));
}

#[test]
fn what_is_remembered_is_bounded() {
    let patience = Patience { grace: Duration::from_secs(6), ..Patience::default() };
    let mut bench = Bench::with(&[true, true], &patience);
    let mut most = 0;
    for round in 0..80 {
        for key in 0..6_000 {
            bench.deliver(0, round * 6_000 + key, 0);
        }
        bench.pass(1);
        most = most.max(bench.detector.remembered());
    }
    assert_eq!(most, 65_536, "the bound was never reached, or passed");
    // Where not all can be compared, some are: the one that delivers nothing is incomplete, and lacks what is not known.
    assert!(bench.is_incomplete(1) && !bench.is_incomplete(0));
    assert!(bench.score(1).missed > 65_536, "nothing was compared any more: {}", bench.score(1).missed);
    let until_us = bench.score(1).missing_until_us.unwrap();
    assert!(until_us > bench.now_us - 6 * SECOND_US, "{until_us} {}", bench.now_us);
}

#[derive(Debug, Clone)]
enum Step {
    Deliver { source: usize, key: u64, age_s: i64 },
    Live { source: usize },
    Behind { source: usize },
    Leave { source: usize },
    Return { source: usize },
    Pass { seconds: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let source = 0..3_usize;
    prop_oneof![
        8 => (source.clone(), 0..40_u64, -4..20_i64).prop_map(|(source, key, age_s)| Step::Deliver { source, key, age_s }),
        3 => source.clone().prop_map(|source| Step::Live { source }),
        1 => source.clone().prop_map(|source| Step::Behind { source }),
        1 => source.clone().prop_map(|source| Step::Leave { source }),
        1 => source.prop_map(|source| Step::Return { source }),
        3 => (1..8_i64).prop_map(|seconds| Step::Pass { seconds }),
    ]
}

/// What happened, and when.
#[derive(Debug, Clone)]
struct Logged {
    at_s: i64,
    /// Ticks before it.
    tick: i64,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Begin { source: usize },
    End { source: usize, event_s: i64 },
    Delivered { source: usize, key: u64 },
    Tick { connected: Vec<bool> },
}

/// A naive model: it keeps all that ever happened, and derives everything from that.
#[derive(Default)]
struct Naive {
    log: Vec<Logged>,
    /// When each commit was written, and which collection it is of.
    commits: BTreeMap<u64, (i64, Collection)>,
}

const GRACE_S: i64 = 4;
const WITNESS: usize = 2;

impl Naive {
    /// Since when a source has caught up, as of so much of the log.
    fn caught_up(&self, source: usize, until: usize) -> Option<i64> {
        let mut since = None;
        let mut heard = 0;
        for logged in &self.log[..until] {
            match &logged.what {
                What::Begin { source: other } if *other == source => (since, heard) = (None, logged.tick),
                What::End { source: other, event_s } if *other == source => {
                    heard = logged.tick;
                    let first = since.unwrap_or(logged.at_s);
                    since = if *event_s + GRACE_S >= logged.at_s { Some(first) } else { None };
                }
                What::Tick { connected } if !connected[source] => (since, heard) = (None, logged.tick + 1),
                What::Tick { .. } if logged.tick + 1 >= heard + GRACE_S => since = since.or(Some(logged.at_s)),
                _ => {}
            }
        }
        since
    }

    /// Where in the log a source delivered a commit first, from some point on.
    fn delivery(&self, source: usize, key: u64, from: usize) -> Option<usize> {
        let is_it = |logged: &Logged| matches!(&logged.what, What::Delivered { source: other, key: that } if *other == source && *that == key);
        (from..self.log.len()).find(|place| is_it(&self.log[*place]))
    }

    /// Where in the log each commit came first when it could be compared.
    fn first(&self, key: u64) -> Option<usize> {
        let (written_s, _) = self.commits[&key];
        let firsts = (0..3).filter_map(|source| {
            (0..self.log.len()).find(|place| {
                self.delivery(source, key, *place) == Some(*place) && written_s > self.log[*place].at_s - 9 * GRACE_S
            })
        });
        firsts.min()
    }

    /// Where in the log it shows that a source has missed a commit.
    fn miss(&self, source: usize, key: u64) -> Option<usize> {
        let first = self.first(key)?;
        let is_expected =
            source != WITNESS && self.caught_up(source, first).is_some_and(|at_s| at_s <= self.commits[&key].0);
        let delivered = self.delivery(source, key, first).unwrap_or(usize::MAX);
        let is_miss = |place: &usize| {
            let Logged { tick, what, .. } = &self.log[*place];
            let age = tick + 1 - self.log[first].tick;
            let is_due = matches!(what, What::Tick { .. }) && (GRACE_S..=10 * GRACE_S).contains(&age);
            is_due && self.caught_up(source, place + 1).is_some()
        };
        (first..self.log.len().min(delivered)).find(is_miss).filter(|_| is_expected)
    }

    /// Whether a commit is still known: it is young, or some source lacked it ever since.
    fn is_known(&self, key: u64, until: usize) -> bool {
        let Some(first) = self.first(key) else { return false };
        let is_old = |place: &usize| {
            matches!(self.log[*place].what, What::Tick { .. })
                && self.log[*place].tick + 1 - self.log[first].tick >= 10 * GRACE_S
        };
        let lacks = |source: usize, place: usize| {
            let delivered = self.delivery(source, key, first).unwrap_or(usize::MAX);
            self.miss(source, key).is_some_and(|missed| missed <= place && place < delivered)
        };
        (first..until).filter(is_old).all(|place| (0..3).any(|source| lacks(source, place)))
    }

    fn score(&self, source: usize) -> Score {
        let mut score = Score::default();
        // What happened to the source, in order: a miss, or a delivery.
        let mut outcomes: BTreeMap<(usize, u64), bool> = BTreeMap::new();
        for key in self.commits.keys() {
            let Some(first) = self.first(*key) else { continue };
            let delivery = self.delivery(source, *key, first).filter(|place| self.is_known(*key, *place));
            let miss = self.miss(source, *key);
            outcomes.extend(miss.map(|place| ((place, *key), true)));
            outcomes.extend(delivery.map(|place| ((place, *key), false)));
            score.first += u64::from(delivery == Some(first));
            score.missed += u64::from(miss.is_some());
            score.late += u64::from(miss.is_some() && delivery.is_some());
            score.delivered += u64::from(miss.is_none() && delivery.is_some());
            if miss.is_some() && delivery.is_none() {
                score.missing_until_us = score.missing_until_us.max(Some(self.log[first].at_s * SECOND_US));
            }
        }
        for collection in Collection::ALL {
            let mine: Vec<(u64, bool)> = outcomes
                .iter()
                .map(|((_, key), is_miss)| (*key, *is_miss))
                .filter(|(key, _)| self.commits[key].1 == collection)
                .collect();
            let last = mine.iter().rposition(|(_, is_miss)| !is_miss).map_or(0, |place| place + 1);
            let newest_s =
                mine[..last].iter().filter(|(_, is_miss)| !is_miss).map(|(key, _)| self.commits[key].0).max();
            let row: Vec<i64> = mine[last..]
                .iter()
                .filter(|(key, _)| newest_s.is_none_or(|newest_s| self.commits[key].0 > newest_s))
                .map(|(key, _)| self.log[self.first(*key).unwrap()].at_s * SECOND_US)
                .collect();
            score.incomplete_since_us[collection] = row.iter().min().copied().filter(|_| row.len() >= 3);
        }
        score
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever happens, the detector says what a model says that keeps everything and shares no code with it.
    #[test]
    fn any_order_of_anything_is_scored_as_a_naive_model_scores_it(steps in proptest::collection::vec(step(), 0..80)) {
        let patience = Patience { grace: Duration::from_secs(GRACE_S.unsigned_abs()), ..Patience::default() };
        let mut detector = Detector::new(&[true, true, false], &patience);
        let mut naive = Naive::default();
        let (mut connected, mut at_s, mut tick) = (vec![true; 3], START_US / SECOND_US, 0);
        for step in steps.into_iter().chain([Step::Pass { seconds: 5 }]) {
            let now_us = at_s * SECOND_US;
            match step {
                Step::Deliver { source, key, age_s } => {
                    let collection = Collection::ALL[usize::try_from(key % 2).unwrap()];
                    let (written_s, _) = *naive.commits.entry(key).or_insert((at_s - age_s, collection));
                    naive.log.push(Logged { at_s, tick, what: What::Delivered { source, key } });
                    detector.delivered(Delivered { source, key, collection, written_us: written_s * SECOND_US }, now_us);
                }
                Step::Live { source } | Step::Behind { source } => {
                    let event_s = if matches!(step, Step::Live { .. }) { at_s } else { at_s - GRACE_S - 1 };
                    naive.log.push(Logged { at_s, tick, what: What::End { source, event_s } });
                    detector.end(source, Some(event_s * SECOND_US), now_us);
                }
                Step::Leave { source } => connected[source] = false,
                Step::Return { source } => {
                    connected[source] = true;
                    naive.log.push(Logged { at_s, tick, what: What::Begin { source } });
                    detector.begin(source);
                }
                Step::Pass { seconds } => {
                    for _ in 0..seconds {
                        at_s += 1;
                        naive.log.push(Logged { at_s, tick, what: What::Tick { connected: connected.clone() } });
                        detector.tick(&connected, at_s * SECOND_US);
                        tick += 1;
                    }
                }
            }
        }
        for source in 0..3 {
            prop_assert_eq!(detector.scores()[source], naive.score(source), "source {}", source);
        }
        let mut known: BTreeSet<u64> = naive.commits.keys().copied().collect();
        known.retain(|key| naive.is_known(*key, naive.log.len()));
        prop_assert_eq!(detector.remembered(), known.len());
    }
}
