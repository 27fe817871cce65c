//! Gaps of all sources together, and how many are open.

use std::{collections::HashMap, sync::Arc, time::Duration};

use metrics::gauge;
use sqlx::PgPool;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

pub mod continuity;

use crate::{
    apply::{Gap, GapChange},
    atproto::Timestamp,
    model::{GapReason, PositionKind},
    source::{Delivery, SourceSpec},
    store::{self, gaps::End, sources::positions::StoredPosition},
};
use continuity::{Continuity, Passed, Stored};

/// How often it is asked how many gaps are open: the operator closes them elsewhere.
const TELL_EVERY: Duration = Duration::from_secs(15);

/// Follows each source, and the exchange of sources for others.
#[derive(Debug, Default)]
pub struct Continuities {
    /// By their place in the settings; a recorded log has none.
    sources: Vec<Continuity>,
    exchange: Option<Exchange>,
}

/// All sources with a position have left the settings; those that came are to reach back to where those ended.
#[derive(Debug)]
struct Exchange {
    until: Timestamp,
    margin: Duration,
    /// Whether the source at this place has delivered something.
    heard: Vec<bool>,
    opened: bool,
}

impl Continuities {
    /// Begins with all positions that are stored. `margin` is how far behind its position a Jetstream is asked.
    pub fn new(sources: &[SourceSpec], margin: Duration, stored: &[StoredPosition]) -> Self {
        let rows: HashMap<&str, &StoredPosition> = stored.iter().map(|row| (row.source.as_str(), row)).collect();
        let row = |source: &SourceSpec| rows.get(&*source.name()).copied();
        let until = stored.iter().filter_map(known_until).max();
        let exchange = until.filter(|_| sources.iter().all(|source| row(source).is_none())).map(|until| Exchange {
            until,
            margin,
            heard: vec![false; sources.len()],
            opened: false,
        });
        let sources = sources.iter().map(|source| {
            let kind = source.dialect.position_kind();
            Continuity::new(source.name(), kind, margin, row(source).map(Stored::from).unwrap_or_default())
        });
        Self { sources: sources.collect(), exchange }
    }

    /// A delivery has come, with how its connection began if it is the first. Answers until when the source was quiet, if it
    /// says nothing else.
    pub fn take(&mut self, delivery: &Delivery, now: Timestamp, found: &mut Vec<Gap>) -> Option<Timestamp> {
        let source = self.sources.get_mut(delivery.source)?;
        if let Some(opening) = &delivery.opening {
            found.extend(source.begin(opening, now));
        } else if delivery.messages.is_empty() {
            let waited_us = i64::try_from(delivery.received_at.elapsed().as_micros()).unwrap_or(i64::MAX);
            return source.rest(Timestamp::from_micros(now.micros().saturating_sub(waited_us))?);
        }
        None
    }

    /// The upstream of the source at a place has told something of the connection. Answers whether the oldest that it keeps
    /// takes the place of the position.
    pub fn hear(&mut self, place: usize, name: &str, found: &mut Vec<Gap>) -> bool {
        let Passed { restarts, gap } = self.sources.get_mut(place).map(|source| source.hear(name)).unwrap_or_default();
        found.extend(gap);
        restarts
    }

    /// A message of the source at a place has come. Answers whether its number takes the place of whatever is stored.
    pub fn pass(&mut self, place: usize, to: (i64, Option<Timestamp>), now: Timestamp, found: &mut Vec<Gap>) -> bool {
        let Some(source) = self.sources.get_mut(place) else { return false };
        let Passed { restarts, gap } = source.pass(to, now);
        found.extend(gap);
        if let (Some(exchange), (value, Some(at))) = (&mut self.exchange, to) {
            let to = (source.name(), source.kind(), End { value: Some(value), at: Some(at) });
            if exchange.meet(place, to, found) {
                self.exchange = None;
            }
        }
        restarts
    }
}

impl Exchange {
    /// Holds the first event of a new source against the end of the old ones. Answers whether there is nothing more to hold.
    fn meet(&mut self, place: usize, to: (&Arc<str>, PositionKind, End), found: &mut Vec<Gap>) -> bool {
        let (source, kind, to) = to;
        match self.heard.get_mut(place) {
            Some(heard) if !*heard => *heard = true,
            _ => return false,
        }
        let reason = GapReason::HostChange;
        let margin_us = i64::try_from(self.margin.as_micros()).unwrap_or(i64::MAX);
        let reaches_back = to.at.is_some_and(|at| at.micros() <= self.until.micros().saturating_add(margin_us));
        if reaches_back {
            let change =
                GapChange::ProvesAll { reason, note: "another source reaches back to where the old ones ended" };
            found.extend(self.opened.then(|| Gap { source: source.clone(), change }));
            return true;
        }
        self.opened = true;
        let from = End { value: None, at: Some(self.until) };
        tracing::warn!(%source, reason = reason.as_str(), ?from, ?to, "a gap: something may be missing");
        let detail = "the new sources do not reach back to where the old ones ended".to_owned();
        let change = GapChange::Opens { reason, kind: Some(kind.as_str()), from, to, detail };
        found.push(Gap { source: source.clone(), change });
        self.heard.iter().all(|heard| *heard)
    }
}

impl From<&StoredPosition> for Stored {
    fn from(row: &StoredPosition) -> Self {
        Self {
            value: Some(row.value),
            event_at: row.event_at.map(Timestamp::from_utc),
            quiet_until: row.quiet_until.map(Timestamp::from_utc),
        }
    }
}

/// Until when a source has delivered everything, as far as is known.
fn known_until(row: &StoredPosition) -> Option<Timestamp> {
    row.event_at.max(row.quiet_until).map(Timestamp::from_utc)
}

/// Tells again and again how many gaps are open, until cancelled: then whoever indexes next tells it.
pub async fn tell_open(pool: PgPool, cancel: CancellationToken) {
    let mut ticks = interval(TELL_EVERY);
    while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
        match cancel.run_until_cancelled(count_open(&pool)).await {
            Some(Ok(counts)) => tell(&counts),
            Some(Err(error)) => tracing::debug!(%error, "the gaps cannot be counted now"),
            None => break,
        }
    }
    tell(&[]);
}

async fn count_open(pool: &PgPool) -> sqlx::Result<Vec<store::gaps::OpenCount>> {
    let mut connection = pool.acquire().await?;
    store::gaps::count_open(&mut connection).await
}

fn tell(counts: &[store::gaps::OpenCount]) {
    for reason in GapReason::ALL {
        let count = counts.iter().find(|count| count.reason == reason.as_str()).map_or(0, |count| count.count);
        #[expect(clippy::cast_precision_loss, reason = "there are fewer than 2^52 gaps")]
        gauge!("plyr_gaps_open", "reason" => reason.as_str()).set(count as f64);
    }
}
