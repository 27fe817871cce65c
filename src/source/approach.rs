use std::time::Duration;

use super::{
    Asked, Dialect, ForeignPosition, Lost, Opening, Position, SourceSpec, Start,
    firehose::{self, FirehoseSeq},
    jetstream_v1::{self, JetstreamMicros},
};
use crate::{clock::Clock, decode::Collections};

/// Microseconds that a host's clock may be ahead of ours; beyond that a position lies in the future.
const AHEAD_MAX_US: i64 = 60_000_000;

/// Decides what one upstream is asked for, and where.
#[derive(Debug)]
pub(super) struct Approach {
    pub(super) spec: SourceSpec,
    pub(super) collections: Collections,
    pub(super) start: Start,
    pub(super) clock: Clock,
}

/// Where a connection begins.
enum Begin<C> {
    Cursor(C),
    Oldest(Option<Lost>),
    Live,
}

impl Approach {
    /// The address to connect to now, and how that begins. `rewind` is how far behind the position a Jetstream is asked.
    pub(super) fn next(&self, committed: Option<Position>, rewind: Duration) -> (String, Opening) {
        let (url, asked, lost) = match self.spec.dialect {
            Dialect::JetstreamV1 => self.ask_jetstream_v1(committed.as_ref(), rewind),
            Dialect::Firehose => self.ask_firehose(committed.as_ref()),
        };
        (url, Opening { committed, asked, lost })
    }

    fn ask_jetstream_v1(&self, committed: Option<&Position>, rewind: Duration) -> (String, Asked, Option<Lost>) {
        let latest = self.clock.now().micros().saturating_add(AHEAD_MAX_US);
        match self.begin(committed, JetstreamMicros::of) {
            Begin::Cursor(cursor) if cursor.micros() > latest => {
                (self.oldest_micros(), Asked::Oldest, Some(Lost::Future))
            }
            Begin::Cursor(cursor) => {
                let cursor = cursor.rewound(rewind);
                (cursor.url(&self.collections), Asked::From(cursor.micros()), None)
            }
            Begin::Oldest(lost) => (self.oldest_micros(), Asked::Oldest, lost),
            Begin::Live => (jetstream_v1::live_url(&self.spec, &self.collections), Asked::Live, None),
        }
    }

    fn oldest_micros(&self) -> String {
        JetstreamMicros::oldest(&self.spec).url(&self.collections)
    }

    fn ask_firehose(&self, committed: Option<&Position>) -> (String, Asked, Option<Lost>) {
        match self.begin(committed, FirehoseSeq::of) {
            Begin::Cursor(cursor) => (cursor.url(), Asked::From(cursor.seq()), None),
            Begin::Oldest(lost) => (FirehoseSeq::oldest(&self.spec).url(), Asked::Oldest, lost),
            Begin::Live => (firehose::live_url(&self.spec), Asked::Live, None),
        }
    }

    /// The dialect's own cursor. A position of another source is never sent: all that the upstream keeps is asked for
    /// instead, since reading twice does no harm and missing does.
    fn begin<'s, C>(
        &'s self,
        committed: Option<&Position>,
        of: impl Fn(&'s SourceSpec, &Position) -> Result<C, ForeignPosition>,
    ) -> Begin<C> {
        match (committed.map(|position| of(&self.spec, position)), self.start) {
            (Some(Ok(cursor)), _) => Begin::Cursor(cursor),
            (Some(Err(error)), _) => {
                tracing::error!(source = %self.spec, %error, "the stored position is not of this source");
                Begin::Oldest(Some(Lost::Mismatch))
            }
            (None, Start::Oldest) => Begin::Oldest(None),
            (None, Start::Live) => Begin::Live,
        }
    }
}
