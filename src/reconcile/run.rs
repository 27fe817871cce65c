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
    read::{ReadError, read_listed},
    repo::{Repair, load_ours, plan},
    write::{Prepared, Writer},
};
use crate::{
    atproto::Timestamp,
    clock::Clock,
    decode::Collections,
    identity::{Identities, Identity, IdentityError},
    pds::{Client, Server, XrpcError},
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
/// The first and the longest wait before a repo is tried again.
const RETRY_MIN: Duration = Duration::from_secs(10);
const RETRY_MAX: Duration = Duration::from_hours(6);
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
    let writing = tokio::spawn(writer.run(inbox, told));
    let reader = Reader { pool: pool.clone(), options: options.clone(), clock: clock.clone(), prepared };
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
    waiting: VecDeque<(TakenRepo, Server)>,
}

/// What a task has come to.
enum Step {
    /// The repo's host is known.
    Found(TakenRepo, Server),
    /// The repo was read from this host, or not.
    Read { host: String, failed: bool },
    /// The repo's host is not known; that has been noted.
    Failed,
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
        let count = taken.len();
        for repo in taken {
            self.finding += 1;
            self.tasks.spawn(self.reader.clone().find(repo));
        }
        Ok(count)
    }

    fn settle(&mut self, step: Step) {
        match step {
            Step::Found(repo, server) => {
                self.finding -= 1;
                self.waiting += 1;
                self.hosts.entry(host_of(&server)).or_default().waiting.push_back((repo, server));
            }
            Step::Failed => {
                self.finding -= 1;
                self.failed += 1;
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
            for (name, host) in &mut self.hosts {
                if self.reading >= self.options.in_all {
                    return;
                }
                if host.active < self.options.per_host
                    && let Some((repo, server)) = host.waiting.pop_front()
                {
                    found_one = true;
                    host.active += 1;
                    self.waiting -= 1;
                    self.reading += 1;
                    let (reader, host) = (self.reader.clone(), name.clone());
                    self.tasks.spawn(async move { reader.read(repo, server, host).await });
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

fn host_of(server: &Server) -> String {
    server.url().to_string()
}

/// How fast the audit walks: all repos in one period, evenly.
struct Pace {
    since: Instant,
    allowance: f64,
    repos: f64,
    counted_at: Option<Instant>,
}

impl Pace {
    fn new() -> Self {
        Self { since: Instant::now(), allowance: 1.0, repos: 0.0, counted_at: None }
    }

    /// How many may be taken now.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a pace need not be exact")]
    async fn allowed(&mut self, connection: &mut sqlx::PgConnection, every: Duration) -> sqlx::Result<i64> {
        let now = Instant::now();
        if self.counted_at.is_none_or(|at| now - at > Duration::from_mins(1)) {
            self.repos = repos::count(connection).await?.done as f64;
            self.counted_at = Some(now);
        }
        let rate = self.repos / every.as_secs_f64().max(0.001);
        // What was not used does not gather: a pause is not made up for by a storm.
        let most = rate.max(1.0) * 2.0;
        self.allowance = (self.allowance + rate * (now - self.since).as_secs_f64()).min(most);
        self.since = now;
        Ok(self.allowance as i64)
    }

    #[expect(clippy::cast_precision_loss, reason = "few are taken at a time")]
    fn spend(&mut self, count: usize) {
        self.allowance -= count as f64;
    }
}

/// Reads one repo at a time; cloned for each.
#[derive(Clone)]
struct Reader {
    pool: PgPool,
    options: Options,
    clock: Clock,
    prepared: mpsc::Sender<Prepared>,
}

/// Why a repo was not read.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("the DID document names no PDS")]
    NoServer,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl Reader {
    async fn find(self, repo: TakenRepo) -> Step {
        let failure = match self.options.identities.find(&repo.did).await {
            Ok(Identity { pds: Some(url), .. }) => {
                return Step::Found(repo, Server::of_stranger(self.options.client.clone(), url));
            }
            Ok(_) => Failure::NoServer,
            Err(error) => error.into(),
        };
        self.fail(&repo, &failure).await;
        Step::Failed
    }

    async fn read(self, repo: TakenRepo, server: Server, host: String) -> Step {
        let began_at = self.clock.now();
        let failed = match self.prepare(&repo, &server, began_at).await {
            Ok(prepared) => self.prepared.send(prepared).await.is_err(),
            Err(failure) => {
                self.fail(&repo, &failure).await;
                true
            }
        };
        Step::Read { host, failed }
    }

    async fn prepare(&self, repo: &TakenRepo, server: &Server, began_at: Timestamp) -> Result<Prepared, Failure> {
        let collections = &self.options.collections;
        let ours = {
            let mut connection = self.pool.acquire().await?;
            load_ours(&mut connection, collections, &repo.did).await?
        };
        let theirs = match read_listed(server, collections, (&repo.did, &ours)).await {
            Ok(theirs) => Some(theirs),
            // The account's fate decides what is shown; that nobody gives the repo says nothing of what is in it.
            Err(ReadError::Xrpc(error)) if error.is_unavailable() => None,
            Err(error) => return Err(error.into()),
        };
        let repair = theirs.as_ref().map_or_else(Repair::none, |theirs| plan(collections, &repo.did, theirs, &ours));
        Ok(Prepared {
            did: repo.did.clone(),
            cause: repo.cause,
            host: host_of(server),
            rev: theirs.map(|theirs| theirs.rev),
            began_at,
            repair,
        })
    }

    /// Notes the failure. When the database does not take even that, the repo is let go of by time.
    async fn fail(&self, repo: &TakenRepo, failure: &Failure) {
        let tries = u32::try_from(repo.tries).unwrap_or_default().min(20);
        let wait = RETRY_MIN.saturating_mul(2_u32.saturating_pow(tries)).min(RETRY_MAX);
        let now = self.clock.now().utc();
        let due_at = (now + wait.mul_f64(0.75 + rand::random::<f64>() / 2.0)).max(failure.retry_at().unwrap_or(now));
        tracing::debug!(error = %failure, tries, "a repo could not be read");
        metrics::counter!("plyr_repos_failed_total").increment(1);
        let noted = async {
            let mut connection = self.pool.acquire().await?;
            repos::fail(&mut connection, &repo.did, &failure.to_string(), due_at).await
        };
        if let Err(error) = noted.await {
            tracing::warn!(%error, "that a repo could not be read is not noted: it comes again");
        }
    }
}

impl Failure {
    /// When the host said that it may be asked again.
    fn retry_at(&self) -> Option<chrono::DateTime<chrono::Utc>> {
        match self {
            Self::Read(ReadError::Xrpc(XrpcError::Host(error))) => error.retry_at().map(Timestamp::utc),
            Self::Identity(IdentityError::Unresolved { retry_at, .. }) => Some(retry_at.utc()),
            _ => None,
        }
    }
}
