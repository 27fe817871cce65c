use std::sync::Arc;

use sqlx::PgPool;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    IngestError,
    failover::{Manager, Monitor, detect::Score},
    gaps::{self, Continuities},
    lag::Lags,
    options::Options,
    pump::{Acknowledger, BatchBuilder, Detectors, Pump, SourceKey, Writer, WriterOptions},
    source_tasks::SourceTasks,
    tasks::Tasks,
    verify::{BackgroundVerifier, CommitVerifier, CommitVerifierOptions, ReceivedQueue, VerifyCommits, VerifyJobs},
};
use crate::{
    apply::Applier,
    retry::Retry,
    source::{Delivery, SourceSpec},
    store::{self, Leader, is_unavailable, sources::positions::StoredPosition},
};

/// Deliveries that wait for the pump at most; each holds up to a megabyte.
pub const DELIVERIES_MAX: usize = 4;

/// Follows the sources from their stored positions until cancelled; then commits what was received, and ends. Ends with an error
/// when the token is no longer the lease's.
pub async fn run(leader: Leader, options: Options, cancel: CancellationToken) -> Result<(), IngestError> {
    let loading = load_positions(&leader.pool, &options);
    let Some(stored) = cancel.run_until_cancelled(loading).await.transpose()? else { return Ok(()) };
    let specs: Vec<SourceSpec> = options.sources.iter().chain(&options.standbys).cloned().collect();
    let stored_of = |spec: &SourceSpec| stored.iter().find(|row| *row.source == *spec.name());
    let continuities = Continuities::new(&specs, options.tuning.rewind, &stored);
    let keys: Arc<[SourceKey]> = specs.iter().map(SourceKey::of_spec).collect();
    let lags = Arc::new(Lags::new(leader.clock.clone()));
    let (deliveries, inbox) = mpsc::channel(DELIVERIES_MAX);
    let queue = deliveries.downgrade();
    let mut tasks = Tasks::default();
    let mut sources = SourceTasks::new(&options, &leader, deliveries, lags.clone(), &cancel);
    for spec in specs.iter().cloned() {
        let stored = stored_of(&spec);
        sources.start(spec, stored, &mut tasks);
    }
    let SourceTasks { committed, managed, monitored, deliveries, .. } = sources;
    // The pump ends when the last source has dropped its sender.
    drop(deliveries);
    let (received, verify) = start_verifying(inbox, &options, &leader, &lags, &cancel, &mut tasks);
    let (scores, scores_receiver) = watch::channel(vec![Score::default(); managed.len()]);
    let is_compared = managed.len() > 1;
    let monitor = is_compared.then(|| Monitor::new(monitored, scores, &options.patience, leader.clock.clone()));
    let Leader { pool, token, clock } = leader.clone();
    let manager = Manager {
        pool: pool.clone(),
        token,
        clock: clock.clone(),
        patience: options.patience.clone(),
        sources: managed,
        scores: scores_receiver,
        stored: None,
    };
    tasks.spawn_fallible("manages the sources", manager.run(cancel.clone()));
    tasks.spawn("counts the open gaps", gaps::report_open(pool.clone(), cancel.clone()));
    tasks.spawn("reports the lag", lags.clone().report_until(queue, cancel.clone()));

    let writer = Writer::new(WriterOptions {
        pool,
        applier: Applier::new(options.collections.clone(), clock.clone()).under(token),
        sources: keys.clone(),
        acknowledged: committed.iter().map(watch::Sender::subscribe).collect(),
        cancel: cancel.clone(),
    });
    let detectors = Detectors { continuities, monitor, verify };
    let pump = Pump {
        received,
        batch: BatchBuilder::new(options.collections, keys.clone(), detectors),
        writer,
        acknowledger: Acknowledger { sources: keys, committed, lags },
        clock,
    };
    tasks.spawn_fallible("applies what is received", async move { pump.run().await.map(drop) });
    tasks.supervise(&cancel).await
}

/// Starts to verify commits, if they are to be verified: in the background, or on their way in.
fn start_verifying(
    inbox: mpsc::Receiver<Delivery>,
    options: &Options,
    leader: &Leader,
    lags: &Arc<Lags>,
    cancel: &CancellationToken,
    tasks: &mut Tasks,
) -> (ReceivedQueue, VerifyJobs) {
    match &options.verify {
        VerifyCommits::Off => (ReceivedQueue::of(inbox), VerifyJobs::default()),
        VerifyCommits::Background(identities) => {
            let (jobs, verifier) =
                BackgroundVerifier::new(identities.clone(), leader.pool.clone(), leader.clock.clone());
            tasks.spawn("verifies commits", verifier.run(cancel.clone()));
            (ReceivedQueue::of(inbox), jobs)
        }
        VerifyCommits::BeforeApply(identities) => {
            let verifier = CommitVerifier::new(CommitVerifierOptions {
                identities: identities.clone(),
                pool: leader.pool.clone(),
                collections: options.collections.clone(),
                cancel: cancel.clone(),
            });
            let draining = verifier.clone();
            tasks.spawn_fallible("looks keys up", async move { draining.drain().await });
            (ReceivedQueue::verified(inbox, verifier, lags.clone(), cancel.clone()), VerifyJobs::default())
        }
    }
}

/// Reads all positions as soon as the database answers.
async fn load_positions(pool: &PgPool, options: &Options) -> sqlx::Result<Vec<StoredPosition>> {
    let names: Vec<String> = options.sources.iter().chain(&options.standbys).map(ToString::to_string).collect();
    let mut retry = Retry::of_database("the positions cannot be read yet");
    loop {
        match store::in_time(try_load_positions(pool, &names)).await {
            Ok(positions) => {
                retry.succeeded();
                return Ok(positions);
            }
            Err(error) if is_unavailable(&error) => tokio::time::sleep(retry.failed(&error)).await,
            Err(error) => return Err(error),
        }
    }
}

async fn try_load_positions(pool: &PgPool, names: &[String]) -> sqlx::Result<Vec<StoredPosition>> {
    let mut connection = pool.acquire().await?;
    store::sources::connections::delete_others(&mut connection, names).await?;
    store::sources::positions::list(&mut connection).await
}
