use std::time::Duration;

use super::{
    Asked, Dialect, ForeignPosition, Lost, Opening, SourceSpec, Start,
    firehose::{self, FirehoseSeq},
    jetstream_v1::{self, JetstreamMicros},
    jetstream_v2::{self, JetstreamSeq},
};
use crate::{
    clock::Clock,
    model::{Collections, Position},
};

/// Microseconds that a host's clock may be ahead of ours; beyond that a position lies in the future.
const AHEAD_MAX_US: i64 = 60_000_000;
/// How often a host is believed that announces where its memory begins and then refuses to begin there.
const ANNOUNCED_MAX: u32 = 3;

/// Decides what one upstream is asked for, and where.
#[derive(Debug)]
pub(super) struct CursorStrategy {
    pub(super) spec: SourceSpec,
    pub(super) collections: Collections,
    pub(super) start: Start,
    pub(super) clock: Clock,
    /// Where to begin instead of at the committed position, as long as that stays.
    pub(super) fallback: Option<Fallback>,
}

/// How far behind the committed position to begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Margin {
    /// For a number space of moments.
    pub(super) time: Duration,
    /// For the sequence numbers of a Jetstream.
    pub(super) events: i64,
}

/// Where to begin when the upstream does not take the committed position.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fallback {
    /// What was committed when the fallback was found.
    committed: Option<Position>,
    lost: Option<Lost>,
    step: Step,
}

/// The ways to ask for as much as a host has, in the order in which they are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The committed position itself, without a margin.
    Position,
    /// All.
    Beginning,
    /// The number that the host says it begins with, for which time in a row.
    Announced(i64, u32),
    /// A moment long ago.
    LongAgo,
    /// Nothing of what was.
    Live,
}

/// Where a connection begins.
struct Begin {
    url: String,
    asked: Asked,
    lost: Option<Lost>,
}

/// The dialect's own cursor, or what stands for it.
enum Cursor<C> {
    At(C),
    Oldest(Option<Lost>),
    Live,
}

impl CursorStrategy {
    /// The address to connect to now, and how that begins.
    pub(super) fn next(&mut self, committed: Option<Position>, margin: Margin) -> (String, Opening) {
        self.fallback = self.fallback.take().filter(|fallback| fallback.committed == committed);
        let Begin { url, asked, lost } = match self.spec.dialect {
            Dialect::JetstreamV1 => self.ask_jetstream_v1(committed.as_ref(), margin.time),
            Dialect::JetstreamV2 => self.ask_jetstream_v2(committed.as_ref(), margin.events),
            Dialect::Firehose => self.ask_firehose(committed.as_ref()),
        };
        (url, Opening { committed, asked, lost })
    }

    /// A Jetstream v2 no longer keeps what it was asked for. It may have said where its memory begins; of several numbers
    /// beyond what was sent the least is tried, since beginning too early is refused and beginning too late loses.
    pub(super) fn on_too_old(&mut self, opening: &Opening, message: &str) {
        let ours = opening.committed.as_ref().and_then(|held| self.spec.number(Dialect::JetstreamV2, held).ok());
        let (lost, tried) = self.fallback.take().map_or((None, None), |fallback| (fallback.lost, Some(fallback.step)));
        let sent = match (opening.asked, tried) {
            (Asked::From(seq), _) | (_, Some(Step::Announced(seq, _))) => seq,
            _ => 0,
        };
        let end = JetstreamSeq::long_ago(&self.spec).seq();
        let announced = numbers(message).filter(|number| (sent + 1..end).contains(number)).min();
        let step = match (tried, announced) {
            (Some(Step::LongAgo | Step::Live), _) => Step::Live,
            (Some(Step::Announced(_, times)), Some(announced)) if times < ANNOUNCED_MAX => {
                Step::Announced(announced, times + 1)
            }
            (Some(Step::Announced(..)), _) | (Some(Step::Beginning), None) => Step::LongAgo,
            (_, Some(announced)) => Step::Announced(announced, 1),
            (_, None) if ours.is_none() => Step::LongAgo,
            (_, None) if ours.is_some_and(|ours| sent < ours) => Step::Position,
            (_, None) => Step::Beginning,
        };
        let is_lost = match step {
            Step::Position => false,
            Step::Announced(announced, _) => ours.is_some_and(|ours| ours.saturating_add(1) < announced),
            Step::Beginning | Step::LongAgo | Step::Live => ours.is_some(),
        };
        let lost = lost.or(is_lost.then_some(Lost::TooOld));
        self.fallback = Some(Fallback { committed: opening.committed.clone(), lost, step });
    }

    /// What the upstream was asked for is not in its past, so the position is not of its present sequence: all is asked for.
    pub(super) fn on_ahead(&mut self, opening: &Opening, lost: Lost) {
        let (lost, step) = match self.fallback.take() {
            Some(Fallback { lost, step: Step::Announced(..), .. }) => (lost, Step::LongAgo),
            _ => (Some(lost), Step::Beginning),
        };
        self.fallback = Some(Fallback { committed: opening.committed.clone(), lost, step });
    }

    /// The number below which the upstream cannot begin if it took what it was asked for.
    pub(super) fn least(&self, opening: &Opening) -> Option<i64> {
        match (opening.asked, self.fallback.as_ref().map(|fallback| fallback.step)) {
            (Asked::From(number), _) | (Asked::Oldest, Some(Step::Announced(number, _))) => Some(number),
            (Asked::Oldest | Asked::Live, _) => None,
        }
    }

    fn ask_jetstream_v1(&self, committed: Option<&Position>, rewind: Duration) -> Begin {
        let oldest = |lost| {
            let url = JetstreamMicros::oldest(&self.spec).url(&self.collections);
            Begin { url, asked: Asked::Oldest, lost }
        };
        let latest = self.clock.now().micros().saturating_add(AHEAD_MAX_US);
        match self.cursor(committed, JetstreamMicros::of) {
            Cursor::At(cursor) if cursor.micros() > latest => oldest(Some(Lost::Future)),
            Cursor::At(cursor) => {
                let cursor = cursor.rewound(rewind);
                Begin { url: cursor.url(&self.collections), asked: Asked::From(cursor.micros()), lost: None }
            }
            Cursor::Oldest(lost) => oldest(lost),
            Cursor::Live => {
                Begin { url: jetstream_v1::live_url(&self.spec, &self.collections), asked: Asked::Live, lost: None }
            }
        }
    }

    fn ask_jetstream_v2(&self, committed: Option<&Position>, rewind: i64) -> Begin {
        let from = |cursor: JetstreamSeq<'_>, lost| Begin {
            url: cursor.url(&self.collections),
            asked: Asked::From(cursor.seq()),
            lost,
        };
        let oldest = |cursor: JetstreamSeq<'_>, lost| Begin { asked: Asked::Oldest, ..from(cursor, lost) };
        let live =
            |lost| Begin { url: jetstream_v2::live_url(&self.spec, &self.collections), asked: Asked::Live, lost };
        let (lost, step) = match (self.cursor(committed, JetstreamSeq::of), &self.fallback) {
            (Cursor::At(cursor), None) => return from(cursor.rewound(rewind), None),
            (Cursor::At(cursor), Some(Fallback { step: Step::Position, .. })) => return from(cursor, None),
            (Cursor::Live, _) => return live(None),
            (Cursor::Oldest(lost), None) => (lost, Step::Beginning),
            (Cursor::Oldest(lost), Some(fallback)) => (lost, fallback.step),
            (Cursor::At(_), Some(fallback)) => (fallback.lost.clone(), fallback.step),
        };
        match step {
            Step::Announced(seq, _) if committed.is_some() && lost.is_none() => {
                from(JetstreamSeq::announced(&self.spec, seq), None)
            }
            Step::Announced(seq, _) => oldest(JetstreamSeq::announced(&self.spec, seq), lost),
            Step::LongAgo => oldest(JetstreamSeq::long_ago(&self.spec), lost),
            Step::Live => live(lost),
            Step::Position | Step::Beginning => oldest(JetstreamSeq::oldest(&self.spec), lost),
        }
    }

    fn ask_firehose(&self, committed: Option<&Position>) -> Begin {
        let oldest = |lost| Begin { url: FirehoseSeq::oldest(&self.spec).url(), asked: Asked::Oldest, lost };
        match (self.cursor(committed, FirehoseSeq::of), &self.fallback) {
            (Cursor::At(_), Some(fallback)) => oldest(fallback.lost.clone()),
            (Cursor::At(cursor), None) => Begin { url: cursor.url(), asked: Asked::From(cursor.seq()), lost: None },
            (Cursor::Oldest(lost), _) => oldest(lost),
            (Cursor::Live, _) => Begin { url: firehose::live_url(&self.spec), asked: Asked::Live, lost: None },
        }
    }

    /// The dialect's own cursor. A position of another source is never sent: all that the upstream keeps is asked for
    /// instead, since reading twice does no harm and missing does.
    fn cursor<'s, C>(
        &'s self,
        committed: Option<&Position>,
        of: impl Fn(&'s SourceSpec, &Position) -> Result<C, ForeignPosition>,
    ) -> Cursor<C> {
        match (committed.map(|position| of(&self.spec, position)), self.start) {
            (Some(Ok(cursor)), _) => Cursor::At(cursor),
            (Some(Err(error)), _) => {
                tracing::error!(source = %self.spec, %error, "the stored position is not of this source");
                Cursor::Oldest(Some(Lost::Mismatch))
            }
            (None, Start::Oldest) => Cursor::Oldest(None),
            (None, Start::Live) => Cursor::Live,
        }
    }
}

/// The numbers in a sentence.
fn numbers(message: &str) -> impl Iterator<Item = i64> {
    message.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok())
}
