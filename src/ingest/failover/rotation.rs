//! What follows from the scores: a blind source is noticed, rewound to its last proof, and if that does not help replaced
//! by a spare and asked again later.
//!
//! No storm: a source is rewound once for each blindness and not again within the shortest rest, and each rest of one that
//! stays blind is twice as long as the one before.

use std::time::Duration;

use sqlx::PgPool;
use tokio::{
    sync::watch,
    time::{Instant, interval},
};
use tokio_util::sync::CancellationToken;

use super::{comparison::Score, patience::Patience, slot::Duty};
use crate::{
    atproto::Timestamp,
    clock::Clock,
    ingest::observe,
    model::{Collection, GapReason, PositionKind},
    source::SourceSpec,
    store::{
        self,
        gaps::{self, End, NewGap},
        sources::{
            last_delivered::{self, StoredProof},
            lease::Token,
            scores::{self, NewScore},
        },
    },
};

/// Between two writings of scores while nobody's sight changes.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// How far back a Jetstream can be trusted to reach: the least that hosts keep, with a margin.
const REACH: Duration = Duration::from_hours(20);

/// Gives the sources their duties.
#[derive(Debug)]
pub struct Rotation {
    pool: PgPool,
    token: Token,
    clock: Clock,
    patience: Patience,
    seats: Vec<Seat>,
    scores: watch::Receiver<Vec<Score>>,
    told: Vec<Score>,
    told_at: Option<Instant>,
}

/// A source and what is done about it.
#[derive(Debug)]
pub struct Seat {
    spec: SourceSpec,
    name: String,
    is_home: bool,
    duty: watch::Sender<Duty>,
    turn: u64,
    phase: Phase,
    blindness: Option<Blindness>,
    rest: Duration,
    rewinds: u64,
    rewound_at: Option<Instant>,
    seeing_since: Instant,
    stands_in_for: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Followed, and nothing is held against it.
    Seeing,
    /// Blind, followed, and given until then to deliver what it missed.
    Trial { until: Instant },
    /// Not followed; a spare that may be asked at any time has no end.
    Resting { until: Option<Instant> },
}

#[derive(Debug, Clone, Copy)]
struct Blindness {
    /// The row of misses of each collection that it was blind to.
    rows: [Option<u32>; 4],
    /// Its position at its last proof.
    rewind_to: Option<i64>,
    /// The gap is of this blindness alone, and the source was rewound to where it begins.
    is_provable: bool,
}

impl Seat {
    /// A source of the settings (`is_home`), which is followed at once, or a spare.
    pub fn new(spec: &SourceSpec, is_home: bool) -> (Self, watch::Receiver<Duty>) {
        let first = if is_home { Duty::Follow { turn: 0, rewind_to: None } } else { Duty::Rest };
        let (duty, receiver) = watch::channel(first);
        let seat = Self {
            spec: spec.clone(),
            name: spec.to_string(),
            is_home,
            duty,
            turn: 0,
            phase: if is_home { Phase::Seeing } else { Phase::Resting { until: None } },
            blindness: None,
            rest: Duration::ZERO,
            rewinds: 0,
            rewound_at: None,
            seeing_since: Instant::now(),
            stands_in_for: None,
        };
        (seat, receiver)
    }

    fn follow(&mut self, rewind_to: Option<i64>) {
        self.turn += 1;
        if rewind_to.is_some() {
            self.rewinds += 1;
            self.rewound_at = Some(Instant::now());
        }
        self.duty.send_replace(Duty::Follow { turn: self.turn, rewind_to });
    }

    fn let_go(&mut self, until: Option<Instant>) {
        self.phase = Phase::Resting { until };
        self.duty.send_replace(Duty::Rest);
    }

    fn sees(&mut self) {
        self.phase = Phase::Seeing;
        self.seeing_since = Instant::now();
        self.blindness = None;
    }

    /// Whether all that it missed has come since.
    fn has_paid(&self, score: &Score) -> bool {
        self.blindness.is_some_and(|blindness| {
            let mut owed = score.sights.iter().zip(blindness.rows).filter_map(|(sight, row)| Some((sight, row?)));
            owed.all(|(sight, row)| sight.row == row && sight.debt == 0 && !sight.unknown)
        })
    }
}

impl Rotation {
    /// Watches over these sources, in the order of the scores.
    pub fn new(
        seats: Vec<Seat>,
        scores: watch::Receiver<Vec<Score>>,
        patience: Patience,
        (pool, token, clock): (PgPool, Token, Clock),
    ) -> Self {
        Self { pool, token, clock, patience, seats, scores, told: Vec::new(), told_at: None }
    }

    /// Runs until cancelled. A database that is away makes it wait.
    pub async fn run(mut self, cancel: CancellationToken) {
        cancel.run_until_cancelled(self.watch()).await;
        cancel.cancelled().await;
    }

    async fn watch(&mut self) {
        let mut ticks = interval((self.patience.grace / 4).min(Duration::from_secs(1)));
        loop {
            ticks.tick().await;
            if let Err(error) = self.attend().await {
                tracing::debug!(%error, "what the sources have missed is not recorded yet");
            }
            if self.seats.len() < 2 && self.told_at.is_some() {
                return;
            }
        }
    }

    async fn attend(&mut self) -> sqlx::Result<()> {
        let now = Instant::now();
        let scores = self.scores.borrow_and_update().clone();
        for (place, score) in scores.iter().enumerate() {
            self.attend_seat(place, score, now).await?;
        }
        self.tell(scores, now).await
    }

    async fn attend_seat(&mut self, place: usize, score: &Score, now: Instant) -> sqlx::Result<()> {
        let is_blind = score.blind_since_us().is_some();
        let seat = &mut self.seats[place];
        match seat.phase {
            Phase::Seeing if is_blind => self.notice(place, score, now).await,
            Phase::Trial { .. } if !is_blind && seat.has_paid(score) => self.believe(place).await,
            Phase::Trial { until } if now >= until && !is_blind => self.doubt(place).await,
            Phase::Trial { until } if now >= until => {
                self.replace(place, now);
                Ok(())
            }
            Phase::Resting { until: Some(until) } if now >= until => {
                if seat.is_home {
                    tracing::info!(source = seat.name, "a blind source is asked again, from its last proof on");
                    let rewind_to = seat.blindness.and_then(|blindness| blindness.rewind_to);
                    seat.phase = Phase::Trial { until: now + self.patience.trial };
                    seat.follow(rewind_to);
                } else {
                    seat.phase = Phase::Resting { until: None };
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A source has become blind: a gap opens at its last proof, and it goes back there, once.
    async fn notice(&mut self, place: usize, score: &Score, now: Instant) -> sqlx::Result<()> {
        let at = self.clock.now();
        let seat = &mut self.seats[place];
        let blind_to: Vec<&str> = score.blind_to().map(Collection::suffix).collect();
        let mut connection = self.pool.acquire().await?;
        let mut transaction = store::begin_held(&mut connection, self.token).await?;
        let proof = last_delivered::find(&mut transaction, &seat.name, &blind_to).await?;
        let detail = format!(
            "it delivers, but for {} commits or more not what others deliver of: {}",
            self.patience.misses,
            blind_to.join(", ")
        );
        let from = proof.as_ref().map_or_else(End::default, |proof| End {
            value: Some(proof.value),
            at: proof.event_at.map(Timestamp::from_utc),
        });
        let gap = NewGap {
            source: &seat.name,
            reason: GapReason::Blind,
            kind: Some(seat.spec.dialect.position_kind().as_str()),
            from,
            to: End::default(),
            detail: &detail,
        };
        let is_new = gaps::open(&mut transaction, gap, at.utc()).await?;
        transaction.commit().await?;
        let rewind_to = proof.as_ref().and_then(|proof| target(&seat.spec, proof, at));
        let is_from_proof = rewind_to.is_some() && rewind_to == proof.map(|proof| proof.value);
        let mut rows = [None; 4];
        for (row, sight) in rows.iter_mut().zip(score.sights) {
            *row = sight.blind_since_us.map(|_| sight.row);
        }
        seat.phase = Phase::Trial { until: now + self.patience.trial };
        let may_rewind = seat.rewound_at.is_none_or(|rewound_at| now >= rewound_at + self.patience.rest_min);
        let is_provable = is_new && is_from_proof && may_rewind;
        seat.blindness = Some(Blindness { rows, rewind_to, is_provable });
        tracing::warn!(
            source = seat.name,
            collections = blind_to.join(", "),
            missed = score.missed,
            rewinds = may_rewind && rewind_to.is_some(),
            "blind: others deliver what this source does not"
        );
        if may_rewind && rewind_to.is_some() {
            seat.follow(rewind_to);
        }
        Ok(())
    }

    /// All that it missed has come, by its own reading from its last proof on.
    async fn believe(&mut self, place: usize) -> sqlx::Result<()> {
        let seat = &self.seats[place];
        if !seat.blindness.is_some_and(|blindness| blindness.is_provable) {
            return self.doubt(place).await;
        }
        let mut connection = self.pool.acquire().await?;
        let mut transaction = store::begin_held(&mut connection, self.token).await?;
        let note = "read again from its last proof on, it delivered all that others had delivered";
        gaps::prove(&mut transaction, Some(&seat.name), GapReason::Blind, (note, self.clock.now().utc())).await?;
        transaction.commit().await?;
        tracing::info!(source = seat.name, "no longer blind: it has delivered all that it had missed");
        self.release(place);
        Ok(())
    }

    /// It sees again, but has not delivered what it missed.
    async fn doubt(&mut self, place: usize) -> sqlx::Result<()> {
        let seat = &self.seats[place];
        let mut connection = self.pool.acquire().await?;
        let mut transaction = store::begin_held(&mut connection, self.token).await?;
        let end = End { value: None, at: Some(self.clock.now()) };
        gaps::end(&mut transaction, &seat.name, GapReason::Blind, end).await?;
        transaction.commit().await?;
        tracing::warn!(
            source = seat.name,
            "no longer blind, but what it missed it did not deliver: its gap stays open"
        );
        self.release(place);
        Ok(())
    }

    /// A source sees again, so whoever stood in for it may rest.
    fn release(&mut self, place: usize) {
        self.seats[place].sees();
        for seat in self.seats.iter_mut().filter(|seat| seat.stands_in_for == Some(place)) {
            seat.stands_in_for = None;
            if !matches!(seat.phase, Phase::Resting { .. }) {
                tracing::info!(source = seat.name, "a spare is no longer needed");
                seat.let_go(None);
            }
        }
    }

    /// A source that stayed blind is let go, if another can take its place.
    fn replace(&mut self, place: usize, now: Instant) {
        let stood_in_for = self.seats[place].stands_in_for.unwrap_or(place);
        let has_deputy = self.seats.iter().enumerate().any(|(other, seat)| {
            other != place && seat.stands_in_for == Some(stood_in_for) && seat.phase == Phase::Seeing
        });
        let rest = self.next_rest(place, now);
        if !has_deputy {
            let free = Phase::Resting { until: None };
            let Some(spare) = self.seats.iter().position(|seat| !seat.is_home && seat.phase == free) else {
                tracing::warn!(
                    source = self.seats[place].name,
                    "blind, and there is no spare source to take its place"
                );
                self.seats[place].phase = Phase::Trial { until: now + rest };
                return;
            };
            let spare = &mut self.seats[spare];
            tracing::warn!(source = spare.name, "a spare takes the place of a blind source");
            spare.stands_in_for = Some(stood_in_for);
            spare.sees();
            spare.follow(None);
        }
        let seat = &mut self.seats[place];
        tracing::warn!(source = seat.name, rest_s = rest.as_secs(), "blind, and let go for a while");
        seat.stands_in_for = None;
        seat.let_go(Some(now + rest));
    }

    /// How long a source is not asked: the shortest rest if it has seen for long, else twice the last.
    fn next_rest(&mut self, place: usize, now: Instant) -> Duration {
        let Patience { rest_min, rest_max, .. } = self.patience;
        let seat = &mut self.seats[place];
        seat.rest = (seat.rest * 2).clamp(rest_min, rest_max);
        if now.duration_since(seat.seeing_since) > rest_max {
            seat.rest = rest_min;
        }
        seat.rest
    }

    /// Tells the scores in metrics, and where `status` finds them.
    async fn tell(&mut self, scores: Vec<Score>, now: Instant) -> sqlx::Result<()> {
        for (seat, score) in self.seats.iter().zip(&scores) {
            observe::compared(&seat.name, score, !matches!(seat.phase, Phase::Resting { .. }));
        }
        let is_first = self.told_at.is_none();
        let sight = |scores: &[Score]| scores.iter().map(Score::blind_since_us).collect::<Vec<_>>();
        let is_due = self.told_at.is_none_or(|told_at| now >= told_at + TELL_EVERY);
        if self.told == scores && !is_first || !is_due && sight(&self.told) == sight(&scores) {
            return Ok(());
        }
        let mut connection = self.pool.acquire().await?;
        let mut transaction = store::begin_held(&mut connection, self.token).await?;
        if is_first {
            scores::clear(&mut transaction).await?;
        }
        let at = self.clock.now().utc();
        // One that is alone has nothing to be compared with.
        let compared = if self.seats.len() < 2 { &[] } else { &self.seats[..] };
        for (seat, score) in compared.iter().zip(&scores) {
            scores::write(&mut transaction, &row(seat, score), at).await?;
        }
        transaction.commit().await?;
        self.told = scores;
        self.told_at = Some(now);
        Ok(())
    }
}

fn row<'a>(seat: &'a Seat, score: &Score) -> NewScore<'a> {
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    NewScore {
        source: &seat.name,
        delivered: count(score.delivered),
        first: count(score.first),
        missed: count(score.missed),
        late: count(score.late),
        late_max_ms: i64::try_from(score.late_max.as_millis()).unwrap_or(i64::MAX),
        connections: count(score.connections),
        rewinds: count(seat.rewinds),
        blind_since: score.blind_since_us().and_then(chrono::DateTime::from_timestamp_micros),
        blind_to: score.blind_to().map(Collection::suffix).collect(),
    }
}

/// Where a source is to go back to: its last proof, if it can be trusted to reach back so far. A Jetstream v1 is asked for
/// as far as it reaches; numbers say nothing of time, so that others are left alone.
fn target(spec: &SourceSpec, proof: &StoredProof, now: Timestamp) -> Option<i64> {
    let kind = spec.dialect.position_kind();
    if proof.kind != kind.as_str() {
        return None;
    }
    let reach_us = now.micros() - i64::try_from(REACH.as_micros()).unwrap_or(i64::MAX);
    if kind == PositionKind::JetstreamV1Micros {
        return Some(proof.value.max(reach_us));
    }
    let is_within = proof.event_at.is_some_and(|at| Timestamp::from_utc(at).micros() >= reach_us);
    is_within.then_some(proof.value)
}
