use std::sync::Arc;

use metrics::counter;
use sqlx::PgPool;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_tungstenite::tungstenite::Bytes;
use tokio_util::sync::CancellationToken;

use super::outcome::{SKIPPED, VerifyOutcome, count, signing_key, verify};
use crate::{
    atproto::{Did, Tid},
    clock::Clock,
    identity::Identities,
    model::GapReason,
    store::{
        self,
        gaps::{self, NewBreak},
    },
};

/// Commits that wait at most; the rest is not verified, and counted as such. A message has 5 kB in the mean.
const WAITING_MAX: usize = 2_000;
/// Commits that are verified at once: nearly all of that time is waiting for a host or for the table.
const PARALLEL: usize = 8;

/// A commit to verify.
#[derive(Debug)]
pub struct VerifyJob {
    /// The source's name.
    pub source: Arc<str>,
    /// The repo.
    pub did: Did,
    /// Of the commit.
    pub rev: Tid,
    /// The message of the firehose.
    pub message: Bytes,
}

/// Where commits are enqueued, if they are verified in the background.
#[derive(Debug, Clone, Default)]
pub struct VerifyJobs(Option<mpsc::Sender<VerifyJob>>);

impl VerifyJobs {
    /// Enqueues a commit. Never waits: one that finds no room is counted as skipped.
    pub fn enqueue(&self, job: impl FnOnce() -> VerifyJob) {
        let Some(sender) = &self.0 else { return };
        if sender.try_send(job()).is_err() {
            count(SKIPPED);
        }
    }
}

/// Verifies commits beside the stream.
#[derive(Debug)]
pub struct BackgroundVerifier {
    jobs: mpsc::Receiver<VerifyJob>,
    context: VerifyContext,
}

/// What verifying takes besides the commit.
#[derive(Debug, Clone)]
struct VerifyContext {
    identities: Identities,
    pool: PgPool,
    clock: Clock,
}

impl BackgroundVerifier {
    /// A verifier that asks `identities` for keys, and the queue to its jobs.
    pub fn new(identities: Identities, pool: PgPool, clock: Clock) -> (VerifyJobs, Self) {
        let (sender, jobs) = mpsc::channel(WAITING_MAX);
        (VerifyJobs(Some(sender)), Self { jobs, context: VerifyContext { identities, pool, clock } })
    }

    /// Runs until cancelled, or until no job can come any more.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
                job = self.jobs.recv(), if tasks.len() < PARALLEL => {
                    let Some(job) = job else { break };
                    let context = self.context.clone();
                    tasks.spawn(async move { context.verify(&job).await });
                }
            }
        }
        while tasks.join_next().await.is_some() {}
    }
}

impl VerifyContext {
    async fn verify(&self, job: &VerifyJob) {
        let (identities, did) = (&self.identities, &job.did);
        let known = signing_key(identities.find(did));
        let outcome = verify(&job.message, known, || signing_key(identities.refresh(did))).await;
        count(outcome.as_str());
        if let VerifyOutcome::Failed(error) = outcome {
            tracing::warn!(source = %job.source, %did, rev = %job.rev, %error, "a commit is not verified: resync of its repo");
            if let Err(error) = store::in_time(self.mark(job)).await {
                tracing::error!(%error, %did, "a repo could not be marked for resync");
            }
        }
    }

    async fn mark(&self, job: &VerifyJob) -> sqlx::Result<()> {
        let broken = NewBreak { source: &job.source, did: &job.did, from: None, to: Some(job.rev), is_ours: true };
        let mut connection = self.pool.acquire().await?;
        let opened = gaps::open_repos(&mut connection, GapReason::Proof, &[broken], self.clock.now().utc()).await?;
        counter!("plyr_gaps_opened_total", "reason" => GapReason::Proof.as_str()).increment(opened.into());
        Ok(())
    }
}
