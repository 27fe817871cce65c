use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use sqlx::PgPool;
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Done, ReconcileError,
    pace::Pace,
    reader::{Home, Reader, Step},
    write::Writer,
};
use crate::{
    atproto::Did,
    clock::Clock,
    identity::Identities,
    model::Collections,
    pds::Client,
    store::repos::{self, TakenRepo},
};

/// What repos are read with.
#[derive(Clone)]
pub struct Options {
    /// Which collections are ours.
    pub collections: Collections,
    /// Who somebody is, and where their repo lies.
    pub identities: Identities,
    /// Asks the servers.
    pub client: Client,
    /// Between two readings of the same repo by the standing audit; none leaves it out.
    pub audit_every: Option<Duration>,
    /// Repos that are read at the same time.
    pub in_all: usize,
    /// Of those, from one host.
    pub per_host: usize,
}

/// When to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// When nothing is due any more.
    NothingIsDue,
    /// When told to.
    Told,
}

/// Repos that are taken from the table at the same time, for each that is read at the same time: so that one host whose repos are
/// many does not keep the readers from others.
const TAKEN_PER_READER: usize = 8;
/// A repo that was taken is let go of after this long, should its reader have died.
const TAKEN_FOR: Duration = Duration::from_mins(2);
/// Between two looks at the table when nothing was due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Prepared repos that wait for the writer.
const PREPARED_MAX: usize = 64;

/// Reads the repos that are to be read, and mends the index, until told or until nothing is due.
///
/// `told` hears how much has been done after each transaction.
pub async fn run(
    pool: PgPool,
    options: Options,
    (clock, until): (Clock, Until),
    told: impl Fn(&Done) + Send + 'static,
    cancel: CancellationToken,
) -> Result<Done, ReconcileError> {
    let (prepared, inbox) = mpsc::channel(PREPARED_MAX);
    let writer = Writer::new(pool.clone(), options.collections.clone(), clock.clone());
    let writing = tokio::spawn(writer.run(inbox, told, cancel.clone()));
    let reader = Reader::new(pool.clone(), options.clone(), (clock.clone(), prepared));
    let mut schedule = Schedule {
        pool,
        clock,
        reader,
        options,
        hosts: HashMap::new(),
        waiting: 0,
        tasks: JoinSet::new(),
        finding: 0,
        reading: 0,
        failed: 0,
        audit: Pace::new(),
    };
    let outcome = schedule.run(until, &cancel).await;
    let failed = schedule.failed;
    // The last sender goes with the schedule, and the writer ends when it has written what was prepared.
    drop(schedule);
    let written = writing.await.map_err(|error| join_failed(&error))?;
    outcome?;
    let mut done = written?;
    done.failed = failed;
    Ok(done)
}

fn join_failed(error: &JoinError) -> ReconcileError {
    ReconcileError::Database(sqlx::Error::Io(std::io::Error::other(error.to_string())))
}

/// Who reads what and when, host by host.
struct Schedule {
    pool: PgPool,
    clock: Clock,
    options: Options,
    reader: Reader,
    hosts: HashMap<String, Host>,
    waiting: usize,
    tasks: JoinSet<Step>,
    finding: usize,
    reading: usize,
    failed: u64,
    audit: Pace,
}

#[derive(Default)]
struct Host {
    active: usize,
    waiting: VecDeque<(TakenRepo, Box<Home>)>,
}

impl Schedule {
    async fn run(&mut self, until: Until, cancel: &CancellationToken) -> Result<(), ReconcileError> {
        let mut look_at = Instant::now();
        if until == Until::Told {
            self.take_back().await;
        }
        while !cancel.is_cancelled() {
            if Instant::now() >= look_at && self.held() <= self.taken_max() / 2 {
                let taken = match self.take().await {
                    Ok(taken) => taken,
                    Err(error) if until == Until::NothingIsDue => return Err(error.into()),
                    Err(error) => {
                        tracing::debug!(%error, "no repo can be taken for now");
                        0
                    }
                };
                if taken == 0 && self.held() == 0 && until == Until::NothingIsDue && !self.is_awaited().await? {
                    break;
                }
                look_at = if taken == 0 { Instant::now() + LOOK_EVERY } else { Instant::now() };
            }
            self.start_reading();
            tokio::select! {
                () = cancel.cancelled() => {}
                Some(step) = self.tasks.join_next() => self.settle(step.map_err(|error| join_failed(&error))?),
                () = sleep_until(look_at), if self.held() <= self.taken_max() / 2 => {}
            }
        }
        self.tasks.shutdown().await;
        if let Err(error) = self.release().await {
            tracing::debug!(%error, "repos that were taken come again when their time is over");
        }
        Ok(())
    }

    /// Whoever reads repos until told is the only one who does so: what a predecessor took and did not read is free again.
    async fn take_back(&self) {
        let taken_back = async {
            let mut connection = self.pool.acquire().await?;
            repos::release_all(&mut connection).await
        };
        if let Err(error) = taken_back.await {
            tracing::debug!(%error, "repos that a predecessor took come again when their time is over");
        }
    }

    /// Whether others are reading something that is due.
    async fn is_awaited(&self) -> sqlx::Result<bool> {
        let mut connection = self.pool.acquire().await?;
        repos::is_any_due(&mut connection, self.clock.now().utc()).await
    }

    fn taken_max(&self) -> usize {
        self.options.in_all * TAKEN_PER_READER
    }

    fn held(&self) -> usize {
        self.waiting + self.finding + self.reading
    }

    /// Takes repos that are due, and where there are none, those whose turn it is in the audit.
    async fn take(&mut self) -> sqlx::Result<usize> {
        let room = self.taken_max() - self.held();
        let limit = i64::try_from(room).unwrap_or(i64::MAX);
        let now = self.clock.now().utc();
        let times = (now, now + TAKEN_FOR);
        let mut connection = self.pool.acquire().await?;
        let mut taken = repos::take_due(&mut connection, limit, times).await?;
        if let (true, Some(every)) = (taken.is_empty(), self.options.audit_every) {
            let allowed = self.audit.allowed(&mut connection, every).await?.min(limit);
            if allowed > 0 {
                taken = repos::take_oldest(&mut connection, allowed, now - every, times).await?;
                self.audit.spend(taken.len());
            }
        }
        drop(connection);
        let count = taken.len();
        let dids: Vec<&Did> = taken.iter().map(|repo| &repo.did).collect();
        // Who cannot be recalled together is looked up alone.
        let mut known = self.options.identities.find_known(&dids).await.unwrap_or_default();
        for repo in taken {
            let known = known.remove(&repo.did);
            self.finding += 1;
            self.tasks.spawn(self.reader.clone().find(repo, known));
        }
        Ok(count)
    }

    fn settle(&mut self, step: Step) {
        match step {
            Step::Found(repo, home) => {
                self.finding -= 1;
                self.waiting += 1;
                self.hosts.entry(home.host()).or_default().waiting.push_back((repo, home));
            }
            Step::NotFound { failed } => {
                self.finding -= 1;
                self.failed += u64::from(failed);
            }
            Step::Read { host, failed } => {
                self.reading -= 1;
                self.failed += u64::from(failed);
                if let Some(entry) = self.hosts.get_mut(&host) {
                    entry.active -= 1;
                    if entry.active == 0 && entry.waiting.is_empty() {
                        self.hosts.remove(&host);
                    }
                }
            }
        }
    }

    /// Begins as many readings as the bounds allow, a host at a time so that each gets its share.
    fn start_reading(&mut self) {
        let mut found_one = true;
        while found_one {
            found_one = false;
            for host in self.hosts.values_mut() {
                if self.reading >= self.options.in_all {
                    return;
                }
                if host.active < self.options.per_host
                    && let Some((repo, home)) = host.waiting.pop_front()
                {
                    found_one = true;
                    host.active += 1;
                    self.waiting -= 1;
                    self.reading += 1;
                    self.tasks.spawn(self.reader.clone().read(repo, home));
                }
            }
        }
    }

    /// Lets go of what was taken and not read.
    async fn release(&mut self) -> sqlx::Result<()> {
        let waiting = self.hosts.values().flat_map(|host| &host.waiting);
        let dids: Vec<&str> = waiting.map(|(repo, _)| repo.did.as_str()).collect();
        if !dids.is_empty() {
            let mut connection = self.pool.acquire().await?;
            repos::release(&mut connection, &dids).await?;
        }
        Ok(())
    }
}
