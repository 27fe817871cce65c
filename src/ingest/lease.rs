use std::{sync::Arc, time::Duration};

use metrics::{counter, gauge};
use sqlx::{Connection as _, PgConnection, PgPool, postgres::PgConnectOptions};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    IngestError,
    follow::{self, Options},
    observe,
};
use crate::{
    apply::ApplyError,
    clock::Clock,
    maintenance,
    store::sources::lease::{self, Indexer, Token},
};

/// A lease that was not renewed for so long may be taken by others.
const LEASE_TIME: Duration = Duration::from_secs(5);
/// Between two renewals.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// Between two looks of a standby.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between two signs of life.
const ALIVE_EVERY: Duration = Duration::from_secs(5);
/// A question that takes longer is asked again over a new connection.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// Between a question that failed and the next.
const RETRY: Duration = Duration::from_millis(200);
/// Whoever could not renew the lease for so long stops working. Longer than the lease, because nobody else may be there to take
/// it, and a database that was away for a moment is then no reason to begin anew; nothing can be written past a takeover.
const UNHEARD_MAX: Duration = Duration::from_secs(30);
/// How long the pump may take to stop, when it may write no more, before it is dropped.
const STOP_MAX: Duration = Duration::from_secs(2);
/// How long giving the lease back may take; without that it expires.
const LEAVE_MAX: Duration = Duration::from_millis(500);
/// Between two warnings of one kind.
const SAY_EVERY: Duration = Duration::from_mins(1);
/// Why the lease is lost, most often.
const TAKEN_OVER: &str = "another indexer has taken over";

/// Follows the sources from their stored positions while this is the one indexer of the database that holds the lease, and
/// stands by while it is not; until cancelled. Then what was read is committed, and the lease is given back.
pub async fn run(pool: PgPool, options: Options, clock: Clock, cancel: CancellationToken) -> Result<(), IngestError> {
    let mut keeper = Keeper::new(&pool, &clock);
    gauge!("plyr_index_working").set(0.0);
    let work = Work { pool, options, clock, cancel };
    let outcome = take_turns(&mut keeper, &work).await;
    keeper.leave().await;
    outcome
}

/// What is done under the lease.
struct Work {
    pool: PgPool,
    options: Options,
    clock: Clock,
    cancel: CancellationToken,
}

/// How a turn came to its end.
enum Ended {
    /// As it was told to.
    Told,
    /// The lease is gone or could not be renewed.
    Lost(&'static str),
}

async fn take_turns(keeper: &mut Keeper, work: &Work) -> Result<(), IngestError> {
    while let Some(token) = work.cancel.run_until_cancelled(keeper.win()).await {
        gauge!("plyr_index_working").set(1.0);
        work.options.working.send_replace(true);
        let ended = take_turn(keeper, work, token).await;
        work.options.working.send_replace(false);
        gauge!("plyr_index_working").set(0.0);
        match ended? {
            Ended::Told => return Ok(()),
            Ended::Lost(why) => {
                observe::stood_down(&work.options.sources);
                tracing::warn!("standing by: {why}; what was not committed is left to whoever works now");
            }
        }
    }
    Ok(())
}

/// Works until told to stop, or until the lease is lost.
async fn take_turn(keeper: &mut Keeper, work: &Work, token: Token) -> Result<Ended, IngestError> {
    let stop = work.cancel.child_token();
    let Work { pool, options, clock, .. } = work;
    let mut pump = Box::pin(follow::run((pool.clone(), token), options.clone(), clock.clone(), stop.clone()));
    let outcome = tokio::select! {
        outcome = &mut pump => outcome,
        why = keeper.keep(token) => {
            stop.cancel();
            // Whatever it ends with: what it does has no effect any more.
            timeout(STOP_MAX, pump).await.ok();
            return Ok(Ended::Lost(why));
        }
        never = maintenance::sweep_on(pool, &options.retention) => match never {},
    };
    match outcome {
        Ok(()) => Ok(Ended::Told),
        Err(IngestError::Apply(ApplyError::TakenOver)) => Ok(Ended::Lost(TAKEN_OVER)),
        // What it could not bear may be what the one that works now has written.
        Err(_) if keeper.has_lost(token).await => Ok(Ended::Lost(TAKEN_OVER)),
        Err(error) => Err(error),
    }
}

/// Wins, keeps and gives back the lease, over a connection of its own.
struct Keeper {
    options: Arc<PgConnectOptions>,
    connection: Option<PgConnection>,
    /// The token that is tied to the connection.
    tied: Option<Token>,
    indexer: Indexer,
    told_alive: Option<Instant>,
    warned: Option<Instant>,
}

impl Keeper {
    fn new(pool: &PgPool, clock: &Clock) -> Self {
        let indexer = Indexer {
            id: rand::random_range(1..=i64::MAX),
            host: host(),
            process: i32::try_from(std::process::id()).unwrap_or(i32::MAX),
            started_at: clock.now().utc(),
        };
        Self { options: pool.connect_options(), connection: None, tied: None, indexer, told_alive: None, warned: None }
    }

    /// Stands by until the lease is this one's.
    async fn win(&mut self) -> Token {
        let mut has_said = false;
        loop {
            match timeout(ANSWER_MAX, self.try_win()).await {
                Ok(Ok(Some(token))) => return token,
                Ok(Ok(None)) => {
                    if !std::mem::replace(&mut has_said, true) {
                        tracing::info!("standing by: another indexer works");
                    }
                }
                Ok(Err(error)) => self.lament(&error),
                Err(_) => self.lament(&sqlx::Error::PoolTimedOut),
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Takes the lease if that is possible now.
    async fn try_win(&mut self) -> sqlx::Result<Option<Token>> {
        self.tell_alive().await?;
        let indexer = self.indexer.clone();
        let connection = self.connect().await?;
        let found = lease::find(connection).await?;
        if found.is_expired && !found.is_free {
            match lease::end_transactions(connection, found.token).await {
                Ok(0) => {}
                Ok(count) => tracing::warn!(count, "ended transactions of an indexer that is heard of no more"),
                // Without the right to do that, the database ends them itself after a while.
                Err(error) => tracing::warn!(%error, "transactions of a lost indexer cannot be ended"),
            }
        }
        let Some(token) = lease::take(connection, &indexer, found.token, LEASE_TIME).await? else { return Ok(None) };
        self.tied = Some(token);
        let from = match (found.is_free, found.is_expired) {
            (true, _) => "nobody",
            (false, true) => "a silent one",
            (false, false) => "a dead one",
        };
        counter!("plyr_lease_takeovers_total", "from" => from).increment(1);
        tracing::info!(from, "this indexer works now");
        Ok(Some(token))
    }

    /// Renews the lease until it is lost, and says why.
    async fn keep(&mut self, token: Token) -> &'static str {
        let mut renewed = Instant::now();
        loop {
            let asked = Instant::now();
            let pause = match timeout(ANSWER_MAX, self.renew(token)).await {
                Ok(Ok(true)) => {
                    renewed = asked;
                    RENEW_EVERY
                }
                Ok(Ok(false)) => return TAKEN_OVER,
                Ok(Err(error)) => {
                    self.lament(&error);
                    RETRY
                }
                Err(_) => {
                    self.lament(&sqlx::Error::PoolTimedOut);
                    RETRY
                }
            };
            if renewed.elapsed() > UNHEARD_MAX {
                return "the database has not answered for too long to go on";
            }
            sleep(pause).await;
        }
    }

    /// Whether another has taken the lease over, as far as can be told now.
    async fn has_lost(&mut self, token: Token) -> bool {
        matches!(timeout(ANSWER_MAX, self.renew(token)).await, Ok(Ok(false)))
    }

    async fn renew(&mut self, token: Token) -> sqlx::Result<bool> {
        self.tell_alive().await?;
        self.connect().await?;
        let was_tied = self.tied == Some(token);
        let connection = self.connect().await?;
        let is_tied = was_tied || lease::tie(connection, token).await?;
        let is_held = lease::renew(connection, token, LEASE_TIME).await?;
        self.tied = is_tied.then_some(token);
        Ok(is_held)
    }

    async fn tell_alive(&mut self) -> sqlx::Result<()> {
        if self.told_alive.is_none_or(|at| at.elapsed() >= ALIVE_EVERY) {
            let indexer = self.indexer.clone();
            lease::tell_alive(self.connect().await?, &indexer).await?;
            self.told_alive = Some(Instant::now());
        }
        Ok(())
    }

    async fn connect(&mut self) -> sqlx::Result<&mut PgConnection> {
        if self.connection.is_none() {
            self.tied = None;
            self.connection = Some(PgConnection::connect_with(&self.options).await?);
        }
        self.connection.as_mut().ok_or(sqlx::Error::PoolClosed)
    }

    /// Lets go of a connection that failed, and says so once a minute.
    fn lament(&mut self, error: &sqlx::Error) {
        (self.connection, self.tied, self.told_alive) = (None, None, None);
        if self.warned.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
            self.warned = Some(Instant::now());
            tracing::warn!(%error, "the database does not answer for the lease: trying on, nothing is lost");
        }
    }

    /// Gives the lease back, if it is held, so that another takes over at once.
    async fn leave(mut self) {
        let left = timeout(LEAVE_MAX, async {
            let indexer = self.indexer.clone();
            lease::leave(self.connect().await?, &indexer).await?;
            match self.connection.take() {
                Some(connection) => connection.close().await,
                None => Ok(()),
            }
        });
        match left.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the lease is not given back: it will expire"),
            Err(_) => tracing::debug!("the lease is not given back in time: it will expire"),
        }
    }
}

/// The name of this machine, for those who look which of several works.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).unwrap_or_else(|| "unnamed".to_owned())
}
