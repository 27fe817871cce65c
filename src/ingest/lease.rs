use std::time::Duration;

use metrics::{counter, gauge};
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{IngestError, follow, observe, options::Options};
use crate::{
    apply::ApplyError,
    clock::Clock,
    store::{
        Leader, is_unavailable,
        sources::lease::{self, Indexer, Token},
    },
};

/// A lease that was not renewed for so long may be taken by others.
const LEASE_TIME: Duration = Duration::from_secs(5);
/// Between two renewals.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// Between two looks of a standby.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between two heartbeats.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);
/// A query that takes longer is sent again over a new connection.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// Between a query that failed and the next. It does not grow: the next must come before the lease has expired.
const RETRY: Duration = Duration::from_millis(200);
/// A leader whose attempts to renew the lease have failed for so long stands down. Longer than the lease: there may be no other indexer to take it, and
/// a database that was away for a moment is then no reason to start again; nothing can be written past a takeover.
const UNRENEWED_MAX: Duration = Duration::from_secs(30);
/// How long following may take to stop, when it may write no more, before it is dropped.
const STOP_MAX: Duration = Duration::from_secs(2);
/// Between two warnings of one kind.
const WARN_EVERY: Duration = Duration::from_mins(1);
/// What is logged when a query took longer than [`ANSWER_MAX`].
const NO_ANSWER: &str = "no answer in time";
/// Why the lease is lost, most often.
const TAKEN_OVER: &str = "another indexer has taken over";

/// Follows the sources from their stored positions while this indexer is the leader: the one that holds the lease. Stands by while it
/// is not; until cancelled. Then what was received is committed, and the lease is given back.
pub async fn run(pool: PgPool, options: Options, clock: Clock, cancel: CancellationToken) -> Result<(), IngestError> {
    let mut holder = LeaseHolder::new(&pool, &clock);
    gauge!("plyr_index_leading").set(0.0);
    let lead = Lead { pool, options, clock, cancel };
    let outcome = take_leads(&mut holder, &lead).await;
    holder.leave().await;
    outcome
}

/// What is done under the lease.
struct Lead {
    pool: PgPool,
    options: Options,
    clock: Clock,
    cancel: CancellationToken,
}

/// How a term as leader ended.
enum Ended {
    /// It was cancelled.
    Cancelled,
    /// The lease is gone or could not be renewed.
    Lost(&'static str),
}

async fn take_leads(holder: &mut LeaseHolder, lead: &Lead) -> Result<(), IngestError> {
    while let Some(token) = lead.cancel.run_until_cancelled(holder.win()).await.transpose()? {
        gauge!("plyr_index_leading").set(1.0);
        lead.options.leading.send_replace(Some(token));
        let ended = take_lead(holder, lead, token).await;
        lead.options.leading.send_replace(None);
        gauge!("plyr_index_leading").set(0.0);
        match ended? {
            Ended::Cancelled => return Ok(()),
            Ended::Lost(why) => {
                observe::stood_down(&lead.options.sources);
                tracing::warn!("standing by: {why}; what was not committed is left to the new leader");
            }
        }
    }
    Ok(())
}

/// Leads until cancelled, or until the lease is lost.
async fn take_lead(holder: &mut LeaseHolder, lead: &Lead, token: Token) -> Result<Ended, IngestError> {
    let stop = lead.cancel.child_token();
    let Lead { pool, options, clock, .. } = lead;
    let leader = Leader { pool: pool.clone(), token, clock: clock.clone() };
    let mut following = Box::pin(follow::run(leader, options.clone(), stop.clone()));
    let outcome = tokio::select! {
        outcome = &mut following => outcome,
        why = holder.keep(token) => {
            stop.cancel();
            // However it ends: what it does has no effect any more.
            timeout(STOP_MAX, following).await.ok();
            return Ok(Ended::Lost(why));
        }
    };
    match outcome {
        Ok(()) => Ok(Ended::Cancelled),
        Err(IngestError::Apply(ApplyError::TakenOver)) => Ok(Ended::Lost(TAKEN_OVER)),
        // The error may come from what the new leader has written.
        Err(_) if holder.has_lost(token).await => Ok(Ended::Lost(TAKEN_OVER)),
        Err(error) => Err(error),
    }
}

/// Wins, keeps and gives back the lease, over a connection of its own.
struct LeaseHolder {
    /// Knows where the database is.
    pool: PgPool,
    connection: Option<PgConnection>,
    /// The token that is tied to the connection.
    tied: Option<Token>,
    indexer: Indexer,
    heartbeat_at: Option<Instant>,
    warned: Option<Instant>,
}

impl LeaseHolder {
    fn new(pool: &PgPool, clock: &Clock) -> Self {
        let indexer = Indexer {
            id: rand::random_range(1..=i64::MAX),
            host: host(),
            process: i32::try_from(std::process::id()).unwrap_or(i32::MAX),
            started_at: clock.now().utc(),
        };
        Self { pool: pool.clone(), connection: None, tied: None, indexer, heartbeat_at: None, warned: None }
    }

    /// Stands by until the lease is this one's, however long the database is away.
    async fn win(&mut self) -> sqlx::Result<Token> {
        let mut has_logged = false;
        loop {
            match timeout(ANSWER_MAX, self.try_win()).await {
                Ok(Ok(Some(token))) => return Ok(token),
                Ok(Ok(None)) => {
                    if !std::mem::replace(&mut has_logged, true) {
                        tracing::info!("standing by: another indexer leads");
                    }
                }
                Ok(Err(error)) if is_unavailable(&error) => self.on_connection_error(&error),
                Ok(Err(error)) => return Err(error),
                Err(_) => self.on_connection_error(&NO_ANSWER),
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Takes the lease if that is possible now.
    async fn try_win(&mut self) -> sqlx::Result<Option<Token>> {
        self.heartbeat().await?;
        let indexer = self.indexer.clone();
        let connection = self.connect().await?;
        let found = lease::find(connection).await?;
        if found.is_expired && !found.is_free {
            match lease::end_transactions(connection, found.token).await {
                Ok(0) => {}
                Ok(count) => tracing::warn!(count, "ended transactions of an indexer whose lease has expired"),
                // Without the right to do that, the database ends them itself after a while.
                Err(error) => tracing::warn!(%error, "transactions of a lost indexer cannot be ended"),
            }
        }
        let Some(token) = lease::take(connection, &indexer, found, LEASE_TIME).await? else { return Ok(None) };
        self.tied = Some(token);
        let from = match (found.is_free, found.is_expired) {
            (true, _) => "free",
            (false, true) => "expired",
            (false, false) => "crashed",
        };
        counter!("plyr_lease_takeovers_total", "from" => from).increment(1);
        tracing::info!(from, "this indexer leads now");
        Ok(Some(token))
    }

    /// Renews the lease until it is lost, and says why.
    async fn keep(&mut self, token: Token) -> &'static str {
        // From the first failure that was noticed: a process that was stopped meanwhile asks once more before it blames the database.
        let mut failing_since = None;
        loop {
            match timeout(ANSWER_MAX, self.renew(token)).await {
                Ok(Ok(true)) => {
                    failing_since = None;
                    sleep(RENEW_EVERY).await;
                    continue;
                }
                Ok(Ok(false)) => return TAKEN_OVER,
                Ok(Err(error)) => self.on_connection_error(&error),
                Err(_) => self.on_connection_error(&NO_ANSWER),
            }
            if failing_since.get_or_insert_with(Instant::now).elapsed() > UNRENEWED_MAX {
                return "the database has not answered for too long to go on";
            }
            sleep(RETRY).await;
        }
    }

    /// Whether another has taken the lease over, as far as can be told now.
    async fn has_lost(&mut self, token: Token) -> bool {
        matches!(timeout(ANSWER_MAX, self.renew(token)).await, Ok(Ok(false)))
    }

    async fn renew(&mut self, token: Token) -> sqlx::Result<bool> {
        self.heartbeat().await?;
        self.connect().await?;
        let was_tied = self.tied == Some(token);
        let connection = self.connect().await?;
        let is_tied = was_tied || lease::tie(connection, token).await?;
        let is_held = lease::renew(connection, token, LEASE_TIME).await?;
        self.tied = is_tied.then_some(token);
        Ok(is_held)
    }

    async fn heartbeat(&mut self) -> sqlx::Result<()> {
        if self.heartbeat_at.is_none_or(|at| at.elapsed() >= HEARTBEAT_EVERY) {
            let indexer = self.indexer.clone();
            lease::tell_alive(self.connect().await?, &indexer).await?;
            self.heartbeat_at = Some(Instant::now());
        }
        Ok(())
    }

    async fn connect(&mut self) -> sqlx::Result<&mut PgConnection> {
        if self.connection.is_none() {
            self.tied = None;
            self.connection = Some(PgConnection::connect_with(&self.pool.connect_options()).await?);
        }
        self.connection.as_mut().ok_or(sqlx::Error::PoolClosed)
    }

    /// Drops a connection that failed, and warns once a minute.
    fn on_connection_error(&mut self, error: &dyn std::fmt::Display) {
        (self.connection, self.tied, self.heartbeat_at) = (None, None, None);
        if self.warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            self.warned = Some(Instant::now());
            tracing::warn!(%error, "the lease cannot be renewed: trying again, nothing is lost");
        }
    }

    /// Gives the lease back, if it is held, so that another takes over at once.
    async fn leave(mut self) {
        let left = timeout(ANSWER_MAX, async {
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

/// The name of this machine, by which an operator tells indexers apart.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).unwrap_or_else(|| "unnamed".to_owned())
}
