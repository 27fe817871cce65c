use std::time::Duration;

use sqlx::{PgConnection, PgPool};
use tokio::{
    sync::watch,
    time::{Instant, interval},
};
use tokio_util::sync::CancellationToken;

use super::{Patience, detect::Score, runner::Duty};
use crate::{
    atproto::Timestamp,
    clock::Clock,
    ingest::{IngestError, observe},
    model::{Collection, GapReason, UntrustedText},
    retry::Backoff,
    source::SourceSpec,
    store::{
        self,
        gaps::{self, End, NewGap},
        is_unavailable,
        sources::{
            last_delivered,
            lease::Token,
            scores::{self, NewScore},
        },
    },
};

/// How far back a Jetstream can be trusted to reach: the least that hosts keep, with a margin.
const REACH_US: i64 = 20 * 3_600 * 1_000_000;

/// Does what follows from the scores.
#[derive(Debug)]
pub struct Manager {
    pub pool: PgPool,
    pub token: Token,
    pub clock: Clock,
    pub patience: Patience,
    /// In the order of the scores.
    pub sources: Vec<ManagedSource>,
    pub scores: watch::Receiver<Vec<Score>>,
    /// The scores that `status` shows; at first they may be those of another run.
    pub stored: Option<Vec<Score>>,
}

/// A source, and what is done about it.
#[derive(Debug)]
pub struct ManagedSource {
    spec: SourceSpec,
    name: String,
    is_primary: bool,
    duty: watch::Sender<Duty>,
    state: State,
    incident: Incident,
    /// How often in a row it stayed incomplete.
    failures: u32,
    rewound_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Followed, and as complete as any.
    Following { since: Instant },
    /// Followed, and given until then to deliver what it missed.
    Incomplete { until: Instant },
    /// Not followed until then, and a standby not until it is needed.
    Paused { until: Instant },
}

/// What a source that is incomplete, or was last, has missed.
#[derive(Debug, Clone, Copy, Default)]
struct Incident {
    /// When the first commit came that it missed.
    since_us: i64,
    /// Its position at the last event of the collection that it delivered, if it can be trusted to reach back so far.
    rewind_to: Option<i64>,
    /// The gap is of this incident alone, and the source was rewound to where it begins.
    is_closable: bool,
}

impl ManagedSource {
    /// A source of the settings (`is_primary`), which is followed at once, or a standby.
    pub fn new(spec: &SourceSpec, is_primary: bool) -> (Self, watch::Receiver<Duty>) {
        let now = Instant::now();
        let (state, duty) = if is_primary {
            (State::Following { since: now }, Duty::Follow { rewind_to: None })
        } else {
            (State::Paused { until: now }, Duty::Pause)
        };
        let (duty, receiver) = watch::channel(duty);
        let (spec, name) = (spec.clone(), spec.to_string());
        let (incident, failures, rewound_at) = (Incident::default(), 0, None);
        (Self { spec, name, is_primary, duty, state, incident, failures, rewound_at }, receiver)
    }

    fn is_complete(&self) -> bool {
        matches!(self.state, State::Following { .. })
    }

    fn follow(&mut self, state: State, rewind_to: Option<i64>) {
        self.state = state;
        self.rewound_at = rewind_to.map(|_| Instant::now()).or(self.rewound_at);
        self.duty.send_replace(Duty::Follow { rewind_to });
    }

    /// It has become incomplete. Where it was complete for longer than any pause, the pauses begin again with the shortest.
    fn forgive(&mut self, patience: &Patience, now: Instant) {
        if matches!(self.state, State::Following { since } if now - since > patience.pause_max) {
            self.failures = 0;
        }
    }

    /// It stayed incomplete: how long until it is tried again. No other client comes back at the same time: all of the pause.
    fn back_off(&mut self, patience: &Patience) -> Duration {
        let pause = Backoff::new(patience.pause_min, patience.pause_max).pause(self.failures, 1.0);
        self.failures = self.failures.saturating_add(1);
        pause
    }

    fn pause(&mut self, until: Instant) {
        self.state = State::Paused { until };
        self.duty.send_replace(Duty::Pause);
    }
}

impl Manager {
    /// Runs until cancelled. A database that is away makes it wait.
    pub async fn run(mut self, cancel: CancellationToken) -> Result<(), IngestError> {
        let mut ticks = interval(self.patience.pace());
        while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
            match cancel.run_until_cancelled(self.manage(Instant::now())).await {
                // No backoff: the next tick decides by the scores that there are then.
                Some(Err(error)) if is_unavailable(&error) => {
                    tracing::debug!(%error, "what the sources have missed cannot be stored yet");
                }
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(())) | None => {}
            }
        }
        Ok(())
    }

    async fn manage(&mut self, now: Instant) -> sqlx::Result<()> {
        if self.stored.is_none() {
            // Of incidents before our start nothing is known: their gaps end with it.
            for place in 0..self.sources.len() {
                self.end_gap(place).await?;
            }
            self.store(Vec::new()).await?;
        }
        let scores = self.scores.borrow_and_update().clone();
        for (place, score) in scores.iter().enumerate() {
            self.manage_source(place, score, now).await?;
        }
        if self.sources.iter().all(|source| source.is_complete() || !source.is_primary) {
            for standby in self.sources.iter_mut().filter(|source| source.is_complete() && !source.is_primary) {
                tracing::info!(source = standby.name, "a standby source is no longer needed");
                standby.pause(now);
            }
        }
        self.store(scores).await
    }

    async fn manage_source(&mut self, place: usize, score: &Score, now: Instant) -> sqlx::Result<()> {
        let source = &mut self.sources[place];
        let is_incomplete = score.since_us().is_some();
        let until_us = score.missing_until_us.filter(|until_us| *until_us >= source.incident.since_us);
        let has_caught_up = !is_incomplete && until_us.is_none() && source.incident.is_closable;
        match source.state {
            State::Following { .. } if is_incomplete => self.on_degraded(place, score, now).await?,
            State::Incomplete { .. } if has_caught_up => self.close_gap(place, now).await?,
            State::Incomplete { until } if now >= until && is_incomplete => self.replace(place, now).await?,
            State::Incomplete { until } if now >= until => {
                self.end_gap(place).await?;
                let source = &mut self.sources[place];
                tracing::warn!(
                    source = source.name,
                    "no longer incomplete, but its gap stays open: not all came that it missed"
                );
                source.state = State::Following { since: now };
            }
            State::Paused { until } if now >= until && source.is_primary => {
                tracing::info!(source = source.name, "a paused source is tried again");
                source.follow(State::Incomplete { until: now + self.patience.trial }, source.incident.rewind_to);
            }
            _ => {}
        }
        Ok(())
    }

    /// A source has become incomplete: a gap opens at the last event that it delivered, and it is rewound to it.
    async fn on_degraded(&mut self, place: usize, score: &Score, now: Instant) -> sqlx::Result<()> {
        let (source, at) = (&self.sources[place], self.clock.now());
        let collections: Vec<&str> = score.incomplete().map(Collection::suffix).collect();
        let (names, misses) = (collections.join(", "), self.patience.misses);
        let detail = format!("it delivers, but for {misses} commits or more not what others deliver of: {names}");
        let detail = UntrustedText::of(&detail);
        let open = async |connection: &mut PgConnection| {
            let last = last_delivered::find(connection, &source.name, &collections).await?;
            let from = last.map_or_else(End::default, |last| End {
                value: Some(last.value),
                at: last.event_at.map(Timestamp::from_utc),
            });
            let kind = Some(source.spec.dialect.position_kind());
            let (source, reason, to) = (source.name.as_str(), GapReason::Incomplete, End::default());
            let gap = NewGap { source, reason, kind, from, to, detail: &detail };
            Ok((from, gaps::open(connection, gap, at.utc()).await?))
        };
        let (from, is_new) = self.transaction(open).await?;
        let source = &mut self.sources[place];
        let is_in_reach = from.at.is_some_and(|from| from.micros() >= at.micros() - REACH_US);
        let rewind_to = from.value.filter(|_| is_in_reach);
        // No storm: once for each incident, and not again within the shortest pause.
        let may_rewind = source.rewound_at.is_none_or(|rewound_at| now >= rewound_at + self.patience.pause_min);
        let is_rewound = rewind_to.is_some() && may_rewind;
        tracing::warn!(
            source = source.name,
            collections = names,
            missed = score.missed,
            rewinds = is_rewound,
            "incomplete source: others deliver what it does not"
        );
        source.forgive(&self.patience, now);
        let since_us = score.since_us().unwrap_or_default();
        source.incident = Incident { since_us, rewind_to, is_closable: is_new && is_rewound };
        source.state = State::Incomplete { until: now + self.patience.trial };
        if is_rewound {
            source.follow(source.state, rewind_to);
        }
        Ok(())
    }

    /// Read again from where it was incomplete, a source has delivered all that it had missed.
    async fn close_gap(&mut self, place: usize, now: Instant) -> sqlx::Result<()> {
        let (name, at) = (&self.sources[place].name, self.clock.now().utc());
        let note = "read again from where it begins, the source delivered all that others had delivered";
        let close = async |connection: &mut PgConnection| {
            gaps::close_by_source(connection, Some(name), GapReason::Incomplete, note, at).await
        };
        self.transaction(close).await?;
        tracing::info!(source = name, "no longer incomplete: it has delivered all that it had missed");
        self.sources[place].state = State::Following { since: now };
        Ok(())
    }

    /// A source is no longer incomplete, or no longer followed: the rest is for a resync to find.
    async fn end_gap(&self, place: usize) -> sqlx::Result<bool> {
        let end = End { value: None, at: Some(self.clock.now()) };
        self.transaction(async |connection: &mut PgConnection| {
            gaps::end(connection, &self.sources[place].name, GapReason::Incomplete, end).await
        })
        .await
    }

    /// A source stayed incomplete: it is paused, if without it as many complete ones are followed as the settings name.
    async fn replace(&mut self, place: usize, now: Instant) -> sqlx::Result<()> {
        let wanted = self.sources.iter().filter(|source| source.is_primary).count();
        let complete = self.sources.iter().filter(|source| source.is_complete()).count();
        let is_free = |source: &ManagedSource| {
            !source.is_primary && matches!(source.state, State::Paused { until } if now >= until)
        };
        let standby = self.sources.iter().position(is_free).filter(|_| complete < wanted);
        if let Some(standby) = standby.map(|standby| &mut self.sources[standby]) {
            tracing::warn!(source = standby.name, "a standby source takes the place of an incomplete one");
            standby.follow(State::Following { since: now }, None);
        }
        let is_replaced = complete + usize::from(standby.is_some()) >= wanted;
        if is_replaced {
            self.end_gap(place).await?;
        }
        let source = &mut self.sources[place];
        let pause = source.back_off(&self.patience);
        let until = now + pause;
        if is_replaced {
            tracing::warn!(source = source.name, pause_s = pause.as_secs(), "incomplete source: paused");
            source.pause(until);
        } else {
            tracing::warn!(source = source.name, "incomplete source: there is no standby source to take its place");
            source.state = State::Incomplete { until };
        }
        Ok(())
    }

    /// Publishes the scores in metrics and where `status` finds them. One that is alone is not compared.
    async fn store(&mut self, scores: Vec<Score>) -> sqlx::Result<()> {
        for (source, score) in self.sources.iter().zip(&scores) {
            observe::compared(&source.name, score, !matches!(source.state, State::Paused { .. }));
        }
        if self.stored.as_ref() == Some(&scores) {
            return Ok(());
        }
        let compared = if scores.len() < 2 { &[] } else { &self.sources[..] };
        let rows = compared.iter().zip(&scores).map(|(source, score)| row(source, score)).collect::<Vec<_>>();
        let now = self.clock.now().utc();
        self.transaction(async |connection: &mut PgConnection| scores::replace(connection, &rows, now).await).await?;
        self.stored = Some(scores);
        Ok(())
    }

    /// Does something in a transaction of the leader's.
    async fn transaction<T>(&self, act: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>) -> sqlx::Result<T> {
        store::in_time(async {
            let mut connection = self.pool.acquire().await?;
            let mut transaction = store::begin_held(&mut connection, self.token).await?;
            let done = act(&mut transaction).await?;
            transaction.commit().await?;
            Ok(done)
        })
        .await
    }
}

fn row<'a>(source: &'a ManagedSource, score: &Score) -> NewScore<'a> {
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    NewScore {
        source: &source.name,
        delivered: count(score.delivered),
        missed: count(score.missed),
        late: count(score.late),
        incomplete_since: score.since_us().and_then(chrono::DateTime::from_timestamp_micros),
        incomplete_in: score.incomplete().map(Collection::suffix).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_of_an_incomplete_source_grow_to_half_a_day_and_begin_again_after_as_long() {
        let (patience, now) = (Patience::default(), Instant::now());
        let spec = SourceSpec::parse("jetstream+wss://host.example").expect("a source");
        let (mut source, _duty) = ManagedSource::new(&spec, true);
        let minutes: Vec<u64> = (0..9).map(|_| source.back_off(&patience).as_secs() / 60).collect();
        assert_eq!(minutes, [10, 20, 40, 80, 160, 320, 640, 720, 720]);
        let mut pause_after = |complete_for: Duration| {
            source.state = State::Following { since: now };
            source.forgive(&patience, now + complete_for);
            source.back_off(&patience)
        };
        assert_eq!(pause_after(patience.pause_max), patience.pause_max);
        assert_eq!(pause_after(patience.pause_max + Duration::from_secs(1)), patience.pause_min);
        assert_eq!(pause_after(Duration::ZERO), patience.pause_min * 2);
    }
}
