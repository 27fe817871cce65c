//! Whether what a source delivers follows on what we have of it. Pure: openings and numbers in, gaps out.
//!
//! Microseconds: we ask from a margin before the last event that was delivered, by the filter that it passed. So a server
//! that still has that event begins no later than with it, and one that begins later has dropped it. Sequence numbers: a
//! server goes on above the number that it is asked for, or starts again from its first. A quiet source has no gap: while its
//! upstream answers, what has come is all that there was.

use std::{ops::Range, sync::Arc, time::Duration};

use crate::{
    apply::{Gap, GapChange},
    atproto::Timestamp,
    model::{GapReason, PositionKind},
    source::{Asked, Lost, Opening},
    store::gaps::End,
};

const SECOND_US: i64 = 1_000_000;
const HOUR_US: i64 = 3_600 * SECOND_US;
/// What upstreams keep at the least: known ones keep a day and more.
const KEPT_US: i64 = 20 * HOUR_US;
/// A host that keeps by time may repeat up to an hour more than it was asked for; what is older comes for another reason.
const REPEATED_US: i64 = HOUR_US;
/// How long stamps must keep the pace of the clock to be taken for live.
const LIVE_US: i64 = 60 * SECOND_US;
/// A relay says nothing when it begins later than asked: numbers that are missing and so much time that is missing with them.
const JUMP_US: i64 = 600 * SECOND_US;
/// How late an answer to a ping may overtake a message that was sent before it.
const OVERTAKEN_US: i64 = 60 * SECOND_US;

/// What is stored of a source when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stored {
    /// The number of its position.
    pub value: Option<i64>,
    /// When the upstream saw that message.
    pub event_at: Option<Timestamp>,
    /// Until when nothing more had come, although the upstream answered.
    pub quiet_until: Option<Timestamp>,
}

/// Follows one source.
#[derive(Debug)]
pub struct Continuity {
    source: Arc<str>,
    kind: PositionKind,
    margin_us: i64,
    /// The greatest that was delivered, here or before.
    reached: End,
    quiet_until: Option<Timestamp>,
    expected: Expected,
    /// The reason of a gap whose end has not come yet.
    unended: Option<GapReason>,
    /// The last sequence number of this connection.
    last: Option<i64>,
    /// Whether this connection has brought what had only just happened.
    is_live: bool,
}

/// What the next message is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// It has been found to follow on, or there is nothing that it must follow on.
    Anything,
    /// What follows on the number that was asked for.
    After { asked: i64, committed: i64 },
    /// Likewise; the first that came was older than even a generous host repeats.
    Older { asked: i64, committed: i64, first: i64, since: Timestamp },
}

/// What was asked for, and what had been committed then.
#[derive(Debug, Clone, Copy)]
struct Asking {
    asked: i64,
    committed: i64,
}

impl Continuity {
    /// Begins with what is stored. `margin` is how far behind its position a Jetstream is asked.
    pub fn new(source: Arc<str>, kind: PositionKind, margin: Duration, stored: Stored) -> Self {
        // The oldest took the place of a position in the future, and nothing has come since.
        let unended = (stored.value == Some(0)).then_some(GapReason::Future);
        Self {
            source,
            kind,
            margin_us: i64::try_from(margin.as_micros()).unwrap_or(i64::MAX),
            reached: End { value: stored.value, at: stored.event_at },
            quiet_until: stored.quiet_until,
            expected: Expected::Anything,
            unended,
            last: None,
            is_live: false,
        }
    }

    /// The source's name.
    pub fn name(&self) -> &Arc<str> {
        &self.source
    }

    /// The number space of its positions.
    pub fn kind(&self) -> PositionKind {
        self.kind
    }

    /// A connection has begun.
    pub fn on_open(&mut self, opening: &Opening, now: Timestamp) -> Option<Gap> {
        self.last = None;
        self.is_live = false;
        self.expected = Expected::Anything;
        let committed = opening.committed.as_ref()?.value;
        if let Some(lost) = &opening.lost {
            // What is gone may all be older than the quiet in which nothing came: then all that came since is still there.
            let last = self.reached.at.map_or(i64::MAX, Timestamp::micros);
            if *lost == Lost::TooOld && opening.asked != Asked::Live && self.was_quiet(last, now) {
                return None;
            }
            return Some(self.open_from(committed, reason(lost), said(lost)));
        }
        // Where the operator has put the position, there need not be an event.
        let is_event = self.kind != PositionKind::JetstreamV1Micros || self.reached.at.is_some();
        if let Asked::From(asked) = opening.asked
            && committed > 0
            && is_event
        {
            self.expected = Expected::After { asked, committed };
        }
        None
    }

    /// The upstream has sent an `#info` or an error. Where the position is of no use any more, the oldest that the upstream keeps
    /// takes its place.
    pub fn on_notice(&mut self, name: &str) -> Finding {
        let Expected::After { committed, .. } = self.expected else { return Finding::default() };
        let (lost, restarts) = match name {
            "OutdatedCursor" => (Lost::TooOld, false),
            "FutureCursor" => (Lost::Future, true),
            _ => return Finding::default(),
        };
        self.expected = Expected::Anything;
        Finding { restarts, gap: Some(self.open_from(committed, reason(&lost), said(&lost))) }
    }

    /// Nothing had come between two pings, and the upstream answered the second. Gives until when that is certain: not while an
    /// upstream that filters may still be looking through what it keeps.
    pub fn on_quiet(&mut self, answered_at: Timestamp) -> Option<Timestamp> {
        self.reached.value?;
        if !self.is_live && self.kind != PositionKind::FirehoseSeq {
            return None;
        }
        let until = Timestamp::from_micros(answered_at.micros() - OVERTAKEN_US)?;
        self.quiet_until = self.quiet_until.max(Some(until));
        Some(until)
    }

    /// A message has come. Returns what that says of gaps.
    pub fn on_message(&mut self, to: End, now: Timestamp) -> Finding {
        let End { value: Some(value), at } = to else { return Finding::default() };
        self.is_live |= at.is_some_and(|at| at.micros() >= now.micros() - LIVE_US);
        let mut finding = Finding::default();
        if self.kind != PositionKind::JetstreamV1Micros && self.last.replace(value).is_some_and(|last| value < last) {
            let from = std::mem::replace(&mut self.reached, to);
            finding = Finding { restarts: true, gap: Some(self.reset(from, to)) };
        } else if let Some(reason) = self.unended.filter(|_| at.is_some()) {
            self.unended = None;
            finding = Finding { restarts: true, gap: Some(self.end(reason, to)) };
        } else if self.expected != Expected::Anything {
            finding = self.check(to, now);
        }
        if finding.restarts || self.reached.value.is_none_or(|reached| reached <= value) {
            self.reached = End { value: Some(value), at: at.or(self.reached.at) };
        }
        finding
    }

    /// Compares a message with what was asked for.
    fn check(&mut self, to: End, now: Timestamp) -> Finding {
        let (Expected::After { asked, committed } | Expected::Older { asked, committed, .. }) = self.expected else {
            return Finding::default();
        };
        match self.kind {
            PositionKind::JetstreamV1Micros => self.check_micros(Asking { asked, committed }, to, now),
            PositionKind::JetstreamV2Seq => self.check_seq(to, asked, false),
            PositionKind::FirehoseSeq => self.check_seq(to, asked + 1, true),
        }
    }

    fn check_micros(&mut self, asking: Asking, to: End, now: Timestamp) -> Finding {
        let Asking { asked, committed } = asking;
        let value = to.value.unwrap_or_default();
        if value < asked - REPEATED_US - self.margin_us {
            return self.check_older(asking, to, now);
        }
        self.expected = Expected::Anything;
        let last = self.reached.value.map_or(committed, |reached| reached.max(committed));
        if value <= last.saturating_add(self.margin_us) || self.was_quiet(last, now) {
            return Finding::default();
        }
        let from = End { value: Some(last), at: Timestamp::from_micros(last).max(self.quiet_until(now)) };
        Finding::gap(self.open(GapReason::Clamped, from..to, "the upstream began later than where it was asked to"))
    }

    /// Older than what was asked for: a host that repeats more than it should runs through it at once. One that took our
    /// position for a moment of its future tells what happens now, at the pace of the clock.
    fn check_older(&mut self, asking: Asking, to: End, now: Timestamp) -> Finding {
        let Asking { asked, committed } = asking;
        let value = to.value.unwrap_or_default();
        let Expected::Older { first, since, .. } = self.expected else {
            self.expected = Expected::Older { asked, committed, first: value, since: now };
            return Finding::default();
        };
        let waited = now.micros() - since.micros();
        if waited < LIVE_US || value - first > waited + LIVE_US {
            return Finding::default();
        }
        self.expected = Expected::Anything;
        let from = End { value: Some(committed), at: None };
        Finding { restarts: true, gap: Some(self.open(GapReason::Future, from..to, said(&Lost::Future))) }
    }

    /// Whether the last event is so old that the upstream need not keep it any more, while we know that nothing came after it
    /// until lately.
    fn was_quiet(&self, last: i64, now: Timestamp) -> bool {
        let kept = now.micros() - KEPT_US;
        last < kept && self.quiet_until(now).is_some_and(|until| until.micros() >= kept)
    }

    /// Until when nothing more had come; a clock that has been put back does not count.
    fn quiet_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.quiet_until.filter(|until| *until <= now)
    }

    /// `least` is the smallest number that may come. A relay does not tell when it begins later.
    fn check_seq(&mut self, to: End, least: i64, may_clamp: bool) -> Finding {
        self.expected = Expected::Anything;
        let value = to.value.unwrap_or_default();
        if value < least {
            let from = std::mem::replace(&mut self.reached, to);
            return Finding { restarts: true, gap: Some(self.reset(from, to)) };
        }
        let last = self.reached.value.unwrap_or(least).max(least - 1);
        let (Some(until), Some(at)) = (self.known_until(), to.at) else { return Finding::default() };
        if !may_clamp || value <= last + 1 || at.micros() - until.micros() <= JUMP_US {
            return Finding::default();
        }
        let from = End { value: Some(last), at: Some(until) };
        Finding::gap(self.open(GapReason::Clamped, from..to, "the upstream began later than where it was asked to"))
    }

    /// Until when we have everything, where there is no loss.
    fn known_until(&self) -> Option<Timestamp> {
        self.reached.at.max(self.quiet_until)
    }

    fn reset(&self, from: End, to: End) -> Gap {
        let from = End { at: from.at.max(self.quiet_until), ..from };
        self.open(GapReason::Reset, from..to, said(&Lost::Reset))
    }

    /// A gap from the committed position on, whose end has not come yet.
    fn open_from(&mut self, committed: i64, reason: GapReason, detail: &str) -> Gap {
        self.unended = Some(reason);
        // A moment that had not come yet tells nothing of when we stopped.
        let at = self.known_until().filter(|_| reason != GapReason::Future);
        self.open(reason, End { value: Some(committed), at }..End::default(), detail)
    }

    /// The first that came after a gap. What is not later than the gap's beginning proves that nothing is missing.
    fn end(&self, reason: GapReason, to: End) -> Gap {
        let known = self.known_until().filter(|_| reason != GapReason::Future);
        let change = if known.is_some_and(|known| to.at.is_some_and(|at| at <= known)) {
            GapChange::Proves { reason, note: "what the upstream still has begins before the gap" }
        } else {
            GapChange::Ends { reason, to }
        };
        Gap { source: self.source.clone(), change }
    }

    fn open(&self, reason: GapReason, range: Range<End>, detail: &str) -> Gap {
        let Range { start: from, end: to } = range;
        let detail = format!("{}: {detail}", self.source);
        tracing::warn!(source = %self.source, reason = reason.as_str(), ?from, ?to, "a gap: something may be missing");
        let kind = Some(self.kind);
        Gap { source: self.source.clone(), change: GapChange::Opens { reason, kind, from, to, detail } }
    }
}

/// What a message says of gaps.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// Its number takes the place of whatever is stored, even of a greater one.
    pub restarts: bool,
    /// The gap that it shows or ends.
    pub gap: Option<Gap>,
}

impl Finding {
    fn gap(gap: Gap) -> Self {
        Self { restarts: false, gap: Some(gap) }
    }
}

fn reason(lost: &Lost) -> GapReason {
    match lost {
        Lost::TooOld => GapReason::TooOld,
        Lost::Future => GapReason::Future,
        Lost::Mismatch => GapReason::Mismatch,
        Lost::Reset => GapReason::Reset,
    }
}

fn said(lost: &Lost) -> &'static str {
    match lost {
        Lost::TooOld => "the upstream no longer keeps what follows the position",
        Lost::Future => "the position lies in the future",
        Lost::Mismatch => "the stored position is of another number space or host",
        Lost::Reset => "the upstream counts anew",
    }
}
