//! Whether what comes follows on what is there: the state machine alone, without a socket or a database.

use std::time::Duration;

use plyr_likes::{
    apply::{Gap, GapChange},
    atproto::Timestamp,
    ingest::gaps::continuity::{Continuity, Finding, Stored},
    model::{GapReason, PositionKind},
    source::{Asked, Lost, Opening, SourceSpec},
    store::gaps::End,
};

use crate::support::history::{Random, START_US};

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const MARGIN: i64 = 5 * SECOND;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).expect("a time")
}

fn spec(kind: PositionKind) -> SourceSpec {
    let dialect = if kind == PositionKind::FirehoseSeq { "firehose" } else { "jetstream" };
    SourceSpec::parse(&format!("{dialect}+ws://127.0.0.1:9")).expect("a source")
}

/// A source as it is after a restart, with its last event and until when it was quiet after that.
fn stored(kind: PositionKind, last: Option<(i64, i64)>, quiet_until: Option<i64>) -> Continuity {
    let (value, event_at) = (last.map(|(value, _)| value), last.map(|(_, event_at)| at(event_at)));
    let margin = Duration::from_micros(MARGIN.try_into().expect("positive"));
    Continuity::new(spec(kind).name(), kind, margin, Stored { value, event_at, quiet_until: quiet_until.map(at) })
}

fn opening(kind: PositionKind, committed: Option<i64>, lost: Option<Lost>) -> Opening {
    let asked = match (committed, &lost) {
        (Some(committed), None) if kind == PositionKind::JetstreamV1Micros => Asked::From(committed - MARGIN),
        (Some(committed), None) => Asked::From(committed),
        _ => Asked::Oldest,
    };
    Opening { committed: committed.map(|committed| spec(kind).position(committed)), asked, lost }
}

/// What is found when these come first after a restart.
fn first(mut source: Continuity, committed: i64, firsts: &[(i64, i64)], now: i64) -> Vec<Finding> {
    assert_eq!(source.on_open(&opening(source.kind(), Some(committed), None), at(START_US)), None);
    firsts
        .iter()
        .map(|(value, event_at)| source.on_message(End { value: Some(*value), at: Some(at(*event_at)) }, at(now)))
        .collect()
}

fn micros_after(last: i64, quiet_until: Option<i64>, came: &[i64], now: i64) -> Vec<Finding> {
    let source = stored(PositionKind::JetstreamV1Micros, Some((last, last)), quiet_until);
    first(source, last, &came.iter().map(|came| (*came, *came)).collect::<Vec<_>>(), now)
}

/// The reason and the ends of the only gap among these.
fn only_gap(found: &[Finding]) -> (GapReason, End, End) {
    let gaps: Vec<&Gap> = found.iter().filter_map(|finding| finding.gap.as_ref()).collect();
    match gaps.as_slice() {
        [Gap { change: GapChange::Opens { reason, from, to, .. }, .. }] => (*reason, *from, *to),
        _ => panic!("not one gap: {found:?}"),
    }
}

fn no_gap(found: &[Finding]) {
    assert!(found.iter().all(|finding| *finding == Finding::default()), "{found:?}");
}

#[test]
fn t6_a_jetstream_that_begins_after_the_margin_has_dropped_what_we_had() {
    let last = START_US;
    for follows in [last - MARGIN, last - 1, last, last + MARGIN] {
        no_gap(&micros_after(last, None, &[follows, last + HOUR], last + HOUR));
    }
    let found = micros_after(last, None, &[last + MARGIN + 1, last + HOUR], last + HOUR);
    let end = |micros| End { value: Some(micros), at: Some(at(micros)) };
    assert_eq!(only_gap(&found), (GapReason::Clamped, end(last), end(last + MARGIN + 1)));
    let found = micros_after(last, None, &[last + 12 * HOUR], last + 36 * HOUR);
    assert_eq!(only_gap(&found), (GapReason::Clamped, end(last), end(last + 12 * HOUR)));
}

#[test]
fn t6_without_a_position_nothing_is_missing() {
    for kind in [PositionKind::JetstreamV1Micros, PositionKind::JetstreamV2Seq, PositionKind::FirehoseSeq] {
        let mut source = stored(kind, None, None);
        assert_eq!(source.on_open(&opening(kind, None, None), at(START_US)), None);
        assert_eq!(
            source.on_notice("OutdatedCursor"),
            Finding::default(),
            "all was asked for, and all is what one gets"
        );
        no_gap(&[source.on_message(End { value: Some(START_US), at: Some(at(START_US)) }, at(START_US + HOUR))]);
    }
}

#[test]
fn t13_a_quiet_night_is_distinguished_from_an_absence() {
    let (last, now) = (START_US, START_US + 30 * HOUR);
    // The upstream no longer keeps the last event, but nothing came after it until an hour ago.
    no_gap(&micros_after(last, Some(now - HOUR), &[now - MINUTE], now));
    // It is unknown what came in those thirty hours.
    only_gap(&micros_after(last, None, &[now - MINUTE], now));
    // We were away for longer than an upstream keeps.
    let (_, from, _) = only_gap(&micros_after(last, Some(now - 25 * HOUR), &[now - MINUTE], now));
    assert_eq!(from.at, Some(at(now - 25 * HOUR)), "it begins where the quiet ended");
    // The last event is young: an upstream that does not keep it has lost its memory, however quiet it was.
    let (_, from, _) = only_gap(&micros_after(now - 2 * HOUR, Some(now - HOUR), &[now - MINUTE], now));
    assert_eq!(from, End { value: Some(now - 2 * HOUR), at: Some(at(now - HOUR)) });
    // A clock that was put back afterwards does not hide it.
    only_gap(&micros_after(last, Some(now + HOUR), &[now - MINUTE], now));
}

#[test]
fn t13_quiet_is_certain_only_after_something_that_had_just_happened() {
    let kind = PositionKind::JetstreamV1Micros;
    let (last, now) = (START_US, START_US + HOUR);
    let mut source = stored(kind, Some((last, last)), None);
    source.on_open(&opening(kind, Some(last), None), at(START_US));
    source.on_message(End { value: Some(last), at: Some(at(last)) }, at(now));
    assert_eq!(source.on_quiet(at(now)), None, "it may still be looking through what it keeps");
    source.on_message(End { value: Some(now), at: Some(at(now)) }, at(now + SECOND));
    assert_eq!(source.on_quiet(at(now + HOUR)), Some(at(now + HOUR - MINUTE)));
    source.on_open(&opening(kind, Some(now), None), at(START_US));
    assert_eq!(source.on_quiet(at(now + 2 * HOUR)), None, "another connection begins from before");
    // A firehose does not filter, so it does not search either; but of a source without a position nothing can be said.
    let mut firehose = stored(PositionKind::FirehoseSeq, Some((7, last)), None);
    firehose.on_open(&opening(PositionKind::FirehoseSeq, Some(7), None), at(START_US));
    assert_eq!(firehose.on_quiet(at(now)), Some(at(now - MINUTE)));
    assert_eq!(stored(PositionKind::FirehoseSeq, None, None).on_quiet(at(now)), None);
}

#[test]
fn t13_what_an_upstream_dropped_before_the_quiet_is_not_missed() {
    let kind = PositionKind::JetstreamV2Seq;
    let now = START_US + 40 * HOUR;
    let begin = |quiet_until, lost, asked| {
        let mut source = stored(kind, Some((100, START_US)), quiet_until);
        source.on_open(&Opening { asked, ..opening(kind, Some(100), Some(lost)) }, at(now)).is_some()
    };
    assert!(!begin(Some(now - HOUR), Lost::TooOld, Asked::Oldest));
    assert!(begin(None, Lost::TooOld, Asked::Oldest), "no connection was open");
    assert!(begin(Some(now - 30 * HOUR), Lost::TooOld, Asked::Oldest), "too long ago");
    assert!(begin(Some(now - HOUR), Lost::TooOld, Asked::Live), "what came in the last hour is not asked for");
    assert!(begin(Some(now - HOUR), Lost::Reset, Asked::Oldest));
}

#[test]
fn t6_where_the_operator_has_put_a_position_there_need_not_be_an_event() {
    let kind = PositionKind::JetstreamV1Micros;
    let source = Continuity::new(
        spec(kind).name(),
        kind,
        Duration::from_secs(5),
        Stored { value: Some(START_US), event_at: None, quiet_until: None },
    );
    no_gap(&first(source, START_US, &[(START_US + HOUR, START_US + HOUR)], START_US + 2 * HOUR));
}

#[test]
fn t7_stamps_far_below_what_was_asked_for_are_a_repetition_or_a_future_position() {
    let (last, now) = (START_US, START_US + HOUR);
    // A host that does not care what it is asked for runs through what it keeps.
    let repeated: Vec<i64> = (0..200).map(|step| last - 40 * HOUR + step * 15 * MINUTE).collect();
    let found = micros_after(last, None, &repeated, now);
    no_gap(&found);
    // A host that takes the position for its future sends what happens now, by its own clock.
    let kind = PositionKind::JetstreamV1Micros;
    let mut source = stored(kind, Some((last, last)), None);
    source.on_open(&opening(kind, Some(last), None), at(START_US));
    let found: Vec<Finding> = (0..10)
        .map(|step| {
            let (stamp, now) = (last - 5 * HOUR + step * 20 * SECOND, now + step * 20 * SECOND);
            source.on_message(End { value: Some(stamp), at: Some(at(stamp)) }, at(now))
        })
        .collect();
    let (reason, from, _) = only_gap(&found);
    assert_eq!((reason, from), (GapReason::Future, End { value: Some(last), at: None }));
    let restarts: Vec<bool> = found.iter().map(|finding| finding.restarts).collect();
    assert_eq!(restarts.iter().filter(|restarts| **restarts).count(), 1, "the position goes back, once: {restarts:?}");
}

#[test]
fn t8_a_firehose_that_resets_its_numbers() {
    let kind = PositionKind::FirehoseSeq;
    let now = START_US + HOUR;
    for number in [1, 99, 100] {
        let source = stored(kind, Some((100, START_US)), None);
        let found = first(source, 100, &[(number, now), (number + 1, now)], now);
        let from = End { value: Some(100), at: Some(at(START_US)) };
        assert_eq!(only_gap(&found), (GapReason::Reset, from, End { value: Some(number), at: Some(at(now)) }));
        assert!(found[0].restarts && !found[1].restarts, "{found:?}");
    }
    // Within one connection.
    let source = stored(kind, Some((100, START_US)), None);
    let found = first(source, 100, &[(101, START_US), (102, START_US + 1), (3, now), (4, now)], now);
    let (reason, from, _) = only_gap(&found);
    assert_eq!((reason, from.value, found[2].restarts), (GapReason::Reset, Some(102), true));
}

#[test]
fn t8_a_jetstream_that_begins_below_the_number_it_was_asked_for() {
    let kind = PositionKind::JetstreamV2Seq;
    let source = || stored(kind, Some((100, START_US)), None);
    no_gap(&first(source(), 100, &[(100, START_US), (250, START_US + HOUR)], START_US + HOUR));
    no_gap(&first(source(), 100, &[(180, START_US + HOUR)], START_US + HOUR));
    let found = first(source(), 100, &[(99, START_US + HOUR)], START_US + HOUR);
    assert_eq!(only_gap(&found).0, GapReason::Reset);
}

#[test]
fn t6_a_relay_that_begins_later_than_asked_without_a_word() {
    let kind = PositionKind::FirehoseSeq;
    let now = START_US + 10 * HOUR;
    let after = |quiet_until, number, came_at| {
        first(stored(kind, Some((100, START_US)), quiet_until), 100, &[(number, came_at)], now)
    };
    let (reason, from, to) = only_gap(&after(None, 5_000, START_US + HOUR));
    assert_eq!((reason, from.value, to.value), (GapReason::Clamped, Some(100), Some(5_000)));
    no_gap(&after(None, 101, START_US + HOUR));
    no_gap(&after(None, 105, START_US + 10 * MINUTE));
    no_gap(&after(Some(START_US + HOUR - MINUTE), 105, START_US + HOUR));
}

#[test]
fn t6_what_an_upstream_says_of_a_cursor() {
    let kind = PositionKind::FirehoseSeq;
    let mut source = stored(kind, Some((100, START_US)), None);
    source.on_open(&opening(kind, Some(100), None), at(START_US));
    assert_eq!(source.on_notice("ConsumerTooSlow"), Finding::default());
    let finding = source.on_notice("OutdatedCursor");
    let from = End { value: Some(100), at: Some(at(START_US)) };
    assert_eq!(only_gap(std::slice::from_ref(&finding)), (GapReason::TooOld, from, End::default()));
    assert_eq!(source.on_notice("OutdatedCursor"), Finding::default(), "once for each connection");
    let to = End { value: Some(900), at: Some(at(START_US + HOUR)) };
    let ended = source.on_message(End { value: Some(900), at: to.at }, at(START_US + HOUR)).gap.expect("it ends here");
    assert_eq!(ended.change, GapChange::Ends { reason: GapReason::TooOld, to });
    no_gap(&[source.on_message(End { value: Some(901), at: to.at }, at(START_US + HOUR))]);

    source.on_open(&opening(kind, Some(901), None), at(START_US));
    let finding = source.on_notice("FutureCursor");
    assert!(finding.restarts, "the oldest takes the position's place");
    let (reason, from, _) = only_gap(&[finding]);
    assert_eq!((reason, from), (GapReason::Future, End { value: Some(901), at: None }));
}

#[test]
fn t6_a_loss_that_the_source_tells_of_ends_with_the_first_that_comes() {
    let lost = [
        (Lost::TooOld, GapReason::TooOld),
        (Lost::Future, GapReason::Future),
        (Lost::Mismatch, GapReason::Mismatch),
        (Lost::Reset, GapReason::Reset),
    ];
    for (lost, reason) in lost {
        let kind = PositionKind::JetstreamV2Seq;
        let mut source = stored(kind, Some((100, START_US)), None);
        let opened = source.on_open(&opening(kind, Some(100), Some(lost.clone())), at(START_US)).expect("a gap");
        let GapChange::Opens { reason: found, to, .. } = opened.change else { panic!("{opened:?}") };
        assert_eq!((found, to), (reason, End::default()));
        // The process dies before anything comes, and the next one receives the same.
        let mut source = stored(kind, Some((100, START_US)), None);
        assert!(source.on_open(&opening(kind, Some(100), Some(lost)), at(START_US)).is_some());
        let finding = source.on_message(End { value: Some(7), at: Some(at(START_US + HOUR)) }, at(START_US + HOUR));
        let to = End { value: Some(7), at: Some(at(START_US + HOUR)) };
        assert_eq!(finding.gap.expect("it ends").change, GapChange::Ends { reason, to });
        assert!(finding.restarts);
    }
}

#[test]
fn t5_a_position_of_another_space_is_no_loss_where_what_comes_begins_before_it() {
    let kind = PositionKind::JetstreamV1Micros;
    let mut source = stored(kind, Some((100, START_US)), None);
    assert!(source.on_open(&opening(kind, Some(100), Some(Lost::Mismatch)), at(START_US)).is_some());
    let finding =
        source.on_message(End { value: Some(START_US - HOUR), at: Some(at(START_US - HOUR)) }, at(START_US + HOUR));
    let change = finding.gap.expect("the gap closes").change;
    assert!(matches!(change, GapChange::Proves { reason: GapReason::Mismatch, .. }), "{change:?}");
}

/// A Jetstream that keeps some hours, and what one of its clients has of it.
struct Simulation {
    random: Random,
    /// By stamp, as it keeps them.
    kept: Vec<i64>,
    now: i64,
    committed: Option<i64>,
    source: Continuity,
    found: usize,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let source = stored(PositionKind::JetstreamV1Micros, None, None);
        Self { random: Random::new(seed), kept: Vec::new(), now: START_US, committed: None, source, found: 0 }
    }

    /// Something happens on the network; its stamp may lie before that of the one before, or be the same.
    fn happen(&mut self) -> i64 {
        self.now += self.random.between(0, MINUTE);
        let stamp = match self.random.below(4) {
            0 => self.kept.last().copied().unwrap_or(self.now),
            1 => self.now - self.random.between(0, 3 * SECOND),
            _ => self.now,
        };
        let place = self.kept.partition_point(|kept| *kept <= stamp);
        self.kept.insert(place, stamp);
        stamp
    }

    fn pass(&mut self, stamp: i64) {
        let finding = self.source.on_message(End { value: Some(stamp), at: Some(at(stamp)) }, at(self.now));
        self.found += usize::from(finding.gap.is_some());
        self.committed = self.committed.max(Some(stamp));
    }

    /// Connects, gets what the host keeps from the cursor on, and then what happens, in the order of happening.
    fn connect(&mut self, live: usize) {
        let kind = PositionKind::JetstreamV1Micros;
        self.found += usize::from(self.source.on_open(&opening(kind, self.committed, None), at(START_US)).is_some());
        let cursor = self.committed.map_or(0, |committed| committed - MARGIN);
        for stamp in self.kept.clone().into_iter().filter(|stamp| *stamp >= cursor) {
            self.pass(stamp);
        }
        for _ in 0..live {
            let stamp = self.happen();
            self.pass(stamp);
        }
    }

    fn restart(&mut self) {
        let last = self.committed.map(|committed| (committed, committed));
        self.source = stored(PositionKind::JetstreamV1Micros, last, None);
    }
}

#[test]
fn t4_ordinary_life_has_no_gap_and_a_loss_of_memory_has_one() {
    for seed in 0..200 {
        let mut simulation = Simulation::new(seed);
        for _ in 0..20 {
            let live = simulation.random.below(8);
            simulation.connect(live);
            for _ in 0..simulation.random.below(5) {
                simulation.happen();
            }
            if simulation.random.percent(30) {
                simulation.restart();
            }
        }
        assert_eq!(simulation.found, 0, "seed {seed}");
        // An hour that the host does not keep.
        simulation.now += HOUR;
        simulation.kept.clear();
        simulation.happen();
        simulation.connect(3);
        simulation.connect(3);
        let had_something = simulation.committed.is_some();
        assert_eq!(simulation.found, usize::from(had_something), "seed {seed}");
    }
}
