use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    panic::resume_unwind,
    time::Duration,
};

use sqlx::PgPool;
use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::ask::{Asker, FAILED};
use crate::{
    atproto::Timestamp,
    clock::Clock,
    identity::Identities,
    store::actors::bluesky_profiles::{self, DueProfile, Outcome, PutOff},
};

/// How politely profiles are asked for, and how old they may become.
#[derive(Clone)]
pub struct Options {
    /// Who somebody is, and where their repo lies.
    pub identities: Identities,
    /// A profile is asked for again when it is this old.
    pub age_max: Duration,
    /// One that is not there, or was not taken, is asked for again after this long.
    pub absent_for: Duration,
    /// Profiles asked for at the same time.
    pub in_all: usize,
    /// Of those, of one host.
    pub per_host: usize,
    /// Pause between two requests that begin.
    pub pace: Duration,
    /// Somebody of whom nothing was learnt is looked at again after this long, and twice as long each further time.
    pub retry_min: Duration,
    /// How often the table is asked who is due.
    pub tick: Duration,
    /// How often it is asked whom `#identity` events told of.
    pub told_every: Duration,
}

impl Options {
    /// As the program has it.
    pub fn new(identities: Identities) -> Self {
        Self {
            identities,
            age_max: Duration::from_hours(7 * 24),
            absent_for: Duration::from_hours(24),
            in_all: 8,
            per_host: 2,
            pace: Duration::from_millis(50),
            retry_min: Duration::from_secs(4),
            tick: Duration::from_secs(1),
            told_every: Duration::from_secs(15),
        }
    }
}

/// Profiles taken from the table at once, and those that wait for their turn at one host. Of a host with more the others are put
/// off to when it will have time for them, so that it does not stand in the way of others.
const TAKEN_MAX: usize = 64;
const WAITING_PER_HOST_MAX: usize = 4;
/// But not for longer than this.
const PUT_OFF_MAX: Duration = Duration::from_hours(1);
/// What was taken comes again after this long, if whoever took it has died.
const LEASE: Duration = Duration::from_mins(5);
/// New actors listed in one statement.
const ENROLL_MAX: i64 = 1_000;
/// An id may become visible after a greater one: so far back it is looked again.
const ENROLL_AGAIN: i64 = 200;
/// `#identity` events become visible late: so far back before the last look it is looked again.
const TOLD_AGAIN: Duration = Duration::from_mins(1);
/// Between two attempts to reach a database that is away.
const DATABASE_RETRY: Duration = Duration::from_secs(5);

/// The outcomes that attempts are counted by.
pub fn outcomes() -> [&'static str; 4] {
    [Outcome::Found.as_str(), Outcome::Absent.as_str(), Outcome::Refused.as_str(), FAILED]
}

/// Keeps the profiles of artists and likers until cancelled.
pub async fn run(pool: PgPool, options: Options, clock: Clock, cancel: CancellationToken) {
    let told_until = Timestamp::from_utc(clock.now().utc() - options.age_max);
    let mut round = Round {
        asker: Asker { pool, options, clock },
        enrolled: 0,
        told_until,
        told_from: Instant::now(),
        start_from: Instant::now(),
        starts: 0,
        taken: HashMap::new(),
        hosts: HashMap::new(),
        tasks: JoinSet::new(),
    };
    let _: Option<()> = cancel.run_until_cancelled(round.run()).await;
    if let Err(error) = round.release().await {
        tracing::debug!(%error, "profiles that were taken come again when their time is over");
    }
}

struct Round {
    asker: Asker,
    /// The greatest id of an actor that was listed.
    enrolled: i64,
    /// Up to then it has been looked whom `#identity` events told of.
    told_until: Timestamp,
    /// It is not looked again before.
    told_from: Instant,
    /// No request begins before.
    start_from: Instant,
    starts: u64,
    /// Those who were taken from the table and are not done, by the actor's id, with their attempts before.
    taken: HashMap<i64, i32>,
    hosts: HashMap<String, Host>,
    /// Each gives the host that was asked, about whom, and how long it took.
    tasks: JoinSet<(String, i64, Duration)>,
}

struct Host {
    active: usize,
    waiting: VecDeque<DueProfile>,
    /// Which of all requests was the last to it.
    last_start: u64,
    /// When it last answered, or began to be asked.
    moved_at: Instant,
    /// Between two of its answers, as of late.
    pace: Duration,
    /// Until then it has enough to do with those who were put off.
    busy_until: Timestamp,
}

impl Host {
    fn new(pace: Duration, now: Timestamp) -> Self {
        Self { active: 0, waiting: VecDeque::new(), last_start: 0, moved_at: Instant::now(), pace, busy_until: now }
    }

    /// When it will have time for one more.
    fn put_off(&mut self, per_host: usize, now: Timestamp) -> Timestamp {
        let places = u32::try_from(per_host).unwrap_or(1).max(1);
        // One that has not answered for long is not about to.
        let pace = if self.active == 0 { self.pace } else { self.pace.max(self.moved_at.elapsed() / places) };
        self.busy_until = self.busy_until.max(now).plus(pace).min(now.plus(PUT_OFF_MAX));
        self.busy_until
    }
}

impl Round {
    async fn run(&mut self) {
        let mut look_at = Instant::now();
        loop {
            let has_room = self.taken.len() <= TAKEN_MAX / 2;
            if has_room && look_at <= Instant::now() {
                look_at = Instant::now() + self.pause_after_look().await;
                continue;
            }
            let is_more = self.start_one();
            tokio::select! {
                Some(done) = self.tasks.join_next() => self.settle(done),
                () = sleep_until(self.start_from), if is_more => {}
                () = sleep_until(look_at), if has_room => {}
            }
        }
    }

    async fn pause_after_look(&mut self) -> Duration {
        match self.look().await {
            Ok(true) => Duration::ZERO,
            Ok(false) => self.asker.options.tick,
            Err(error) => {
                tracing::debug!(%error, "profiles wait for the database");
                DATABASE_RETRY
            }
        }
    }

    /// Lists new actors, and takes some that are due. Whether there may be more at once.
    async fn look(&mut self) -> sqlx::Result<bool> {
        let now = self.asker.clock.now();
        let mut connection = self.asker.pool.acquire().await?;
        let from = self.enrolled.saturating_sub(ENROLL_AGAIN);
        let last = bluesky_profiles::enroll(&mut connection, from, ENROLL_AGAIN + ENROLL_MAX, now.utc()).await?;
        let has_listed = last > Some(self.enrolled);
        self.enrolled = last.unwrap_or_default().max(self.enrolled);
        if self.told_from <= Instant::now() {
            bluesky_profiles::mark_told(&mut connection, self.told_until.utc() - TOLD_AGAIN, now.utc()).await?;
            (self.told_until, self.told_from) = (now, Instant::now() + self.asker.options.told_every);
        }
        let limit = i64::try_from(TAKEN_MAX.saturating_sub(self.taken.len())).unwrap_or_default();
        let times = (now.utc(), now.plus(LEASE).utc());
        let due = bluesky_profiles::take_due(&mut connection, limit, times).await?;
        let is_full = i64::try_from(due.len()).is_ok_and(|count| count == limit);
        let put_off: Vec<PutOff> = due.into_iter().filter_map(|due| self.receive(due)).collect();
        bluesky_profiles::postpone(&mut connection, &put_off).await?;
        Ok(has_listed || is_full)
    }

    /// Has somebody wait for their host's turn, unless nobody is to be asked about them, or too many wait for that host.
    fn receive(&mut self, due: DueProfile) -> Option<PutOff> {
        let Some(name) = &due.host else { return Some(self.asker.later(&due)) };
        if self.taken.contains_key(&due.actor_id) {
            // Due again before the last answer about them was put away.
            return Some(PutOff { actor_id: due.actor_id, due_at: self.asker.clock.now(), tries: due.tries });
        }
        let (now, pace) = (self.asker.clock.now(), self.asker.options.pace);
        let host = self.hosts.entry(name.clone()).or_insert_with(|| Host::new(pace, now));
        if host.waiting.len() >= WAITING_PER_HOST_MAX {
            let due_at = host.put_off(self.asker.options.per_host, now);
            return Some(PutOff { actor_id: due.actor_id, due_at, tries: due.tries });
        }
        self.taken.insert(due.actor_id, due.tries);
        host.waiting.push_back(due);
        None
    }

    /// Begins one request, if bounds and pace allow, to the host whose turn was longest ago. Whether another could begin by pace.
    fn start_one(&mut self) -> bool {
        let Options { in_all, per_host, pace, .. } = self.asker.options;
        if self.tasks.len() >= in_all {
            return false;
        }
        let ready = self.hosts.iter_mut().filter(|(_, host)| host.active < per_host && !host.waiting.is_empty());
        let Some((name, host)) = ready.min_by_key(|(_, host)| host.last_start) else { return false };
        if Instant::now() < self.start_from {
            return true;
        }
        let Some(due) = host.waiting.pop_front() else { return false };
        self.starts += 1;
        if host.active == 0 {
            host.moved_at = Instant::now();
        }
        (host.active, host.last_start) = (host.active + 1, self.starts);
        self.start_from = Instant::now() + pace;
        let (asker, name) = (self.asker.clone(), name.clone());
        self.tasks.spawn(async move {
            let (actor_id, began) = (due.actor_id, Instant::now());
            asker.ask(due).await;
            (name, actor_id, began.elapsed())
        });
        true
    }

    fn settle(&mut self, done: Result<(String, i64, Duration), JoinError>) {
        let (name, actor_id, took) = match done {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // Nobody ends a task but who ends them all.
                Err(_) => return,
            },
        };
        self.taken.remove(&actor_id);
        let places = u32::try_from(self.asker.options.per_host).unwrap_or(1).max(1);
        let now = self.asker.clock.now();
        if let Entry::Occupied(mut entry) = self.hosts.entry(name) {
            let host = entry.get_mut();
            host.active -= 1;
            (host.moved_at, host.pace) = (Instant::now(), (host.pace * 3 + took / places) / 4);
            if host.active == 0 && host.waiting.is_empty() && host.busy_until <= now {
                entry.remove();
            }
        }
    }

    /// Gives up what is under way, and lets go of what was taken.
    async fn release(&mut self) -> sqlx::Result<()> {
        self.tasks.shutdown().await;
        if self.taken.is_empty() {
            return Ok(());
        }
        let due_at = self.asker.clock.now();
        let free = self.taken.iter().map(|(&actor_id, &tries)| PutOff { actor_id, due_at, tries });
        let mut connection = self.asker.pool.acquire().await?;
        bluesky_profiles::postpone(&mut connection, &free.collect::<Vec<_>>()).await
    }
}
