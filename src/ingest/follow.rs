use std::{sync::Arc, time::Duration};

use sqlx::PgPool;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    IngestError,
    failover::{ManagedSource, Manager, Monitor, Monitored, Patience, Runner, detect::Score},
    gaps::{self, Continuities},
    observe::{Age, Ages},
    pump::{Feed, Feeder, Inlet, Writer},
    verify::{Claims, Intake, Judge, Proofs, Prover},
};
use crate::{
    apply::Applier,
    atproto::Timestamp,
    clock::Clock,
    maintenance::{self, Retention},
    model::{Collections, Position, PositionKind},
    retry::Retry,
    source::{Connection, Delivery, Dialect, Follow, SourceSpec, Start, Tuning},
    store::{
        self,
        sources::{lease::Token, positions::StoredPosition},
    },
};

/// What to follow.
#[derive(Debug, Clone)]
pub struct Options {
    /// The upstreams, each once.
    pub sources: Vec<SourceSpec>,
    /// Upstreams to follow in the place of incomplete ones; none of them among the others.
    pub standbys: Vec<SourceSpec>,
    /// What to ask an upstream for that has no position yet.
    pub start: Start,
    /// How patient the sources are.
    pub tuning: Tuning,
    /// How patient we are with a source that does not deliver what others do.
    pub patience: Patience,
    /// Which collections are ours.
    pub collections: Collections,
    /// Learns whether this is the one indexer that works, or one that stands by.
    pub working: watch::Sender<bool>,
    /// How many tracks a minute are counted again, to see that the kept counts are right; 0 for none.
    pub recounts_per_minute: u32,
    /// How long and how many rejects are kept.
    pub retention: Retention,
    /// Whether commits of the raw firehose are held against their proofs.
    pub proofs: Proofs,
}

/// What runs, each with what it does and how it ended.
type Tasks = JoinSet<(&'static str, Result<(), IngestError>)>;

/// Deliveries that wait for the decoder at most; each holds up to a megabyte.
pub(super) const DELIVERIES_MAX: usize = 4;
/// Between two signs of life.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Between two attempts to reach a database that is away.
const DATABASE_RETRY: Duration = Duration::from_secs(1);

/// Follows the sources from their stored positions until cancelled; then commits what was read, and ends. Ends with an error
/// when the token is no longer the lease's.
pub async fn run(
    (pool, token): (PgPool, Token),
    options: Options,
    clock: Clock,
    cancel: CancellationToken,
) -> Result<(), IngestError> {
    let Some(stored) = cancel.run_until_cancelled(load_positions(&pool, &options)).await else { return Ok(()) };
    let specs: Vec<SourceSpec> = options.sources.iter().chain(&options.standbys).cloned().collect();
    let continuities = Continuities::new(&specs, options.tuning.rewind, &stored);
    let stored = of_sources(&specs, &stored);
    let feeders: Arc<[Feeder]> = specs.iter().map(Feeder::of_source).collect();
    let ages = Arc::new(Ages::new(feeders.iter().zip(&stored).map(age).collect(), clock.clone()));
    let (deliveries, inlet) = mpsc::channel(DELIVERIES_MAX);
    let mut tasks = Tasks::new();
    let shared = Shared { pool: &pool, token, options: &options, clock: &clock, cancel: &cancel };
    let mut crew = Crew::default();
    for (index, (spec, stored)) in specs.into_iter().zip(stored).enumerate() {
        crew.add(&shared, (index, spec, stored), (&deliveries, &mut tasks));
    }
    let (intake, claims) = prove(inlet, &shared, &mut tasks);
    let Crew { committed, managed, monitored } = crew;
    let (scores, scores_receiver) = watch::channel(vec![Score::default(); managed.len()]);
    let is_compared = managed.len() > 1;
    let monitor = is_compared.then(|| Monitor::new(monitored, scores, &options.patience, clock.clone()));
    let manager = Manager {
        pool: pool.clone(),
        token,
        clock: clock.clone(),
        patience: options.patience.clone(),
        sources: managed,
        scores: scores_receiver,
        stored: None,
    };
    let stop = cancel.clone();
    tasks.spawn(async move {
        manager.run(stop).await;
        ("manages the sources", Ok(()))
    });
    let queue = deliveries.downgrade();
    drop(deliveries);
    let wanted = Arc::new(Semaphore::new(0));
    let (shipments, shipments_receiver) = mpsc::channel(1);
    let feed = Feed {
        intake,
        shipments,
        wanted: wanted.clone(),
        collections: options.collections.clone(),
        feeders: feeders.clone(),
        continuities,
        claims,
        clock: clock.clone(),
        monitor,
    };
    tasks.spawn(async move {
        feed.run().await;
        ("decodes", Ok(()))
    });
    let keeping = maintenance::keep((pool.clone(), token), options.recounts_per_minute, clock.clone(), cancel.clone());
    tasks.spawn(async move {
        keeping.await;
        ("keeps the like counts", Ok(()))
    });
    let inlet = Inlet { shipments: shipments_receiver, wanted, feeders, committed, ages: ages.clone() };
    let stop = cancel.clone();
    let asked = pool.clone();
    tasks.spawn(async move {
        gaps::tell_open(asked, stop).await;
        ("counts the open gaps", Ok(()))
    });
    let writer = Writer::new(inlet, pool, Applier::new(options.collections, clock).under(token), cancel.clone());
    let stop = cancel.clone();
    tasks.spawn(async move {
        ages.tell_on(queue, &stop).await;
        ("tells how far the sources are behind", Ok(()))
    });
    tasks.spawn(async move { ("writes", writer.run().await.map(|_| ())) });
    supervise(tasks, &cancel).await
}

/// What the tasks of all sources share.
struct Shared<'a> {
    pool: &'a PgPool,
    token: Token,
    options: &'a Options,
    clock: &'a Clock,
    cancel: &'a CancellationToken,
}

/// The sources and standbys, each at its place.
#[derive(Default)]
struct Crew {
    committed: Vec<watch::Sender<Option<Position>>>,
    managed: Vec<ManagedSource>,
    monitored: Vec<Monitored>,
}

impl Crew {
    /// Starts the tasks of one source.
    fn add(
        &mut self,
        shared: &Shared<'_>,
        (index, spec, stored): (usize, SourceSpec, Option<StoredPosition>),
        (deliveries, tasks): (&mpsc::Sender<Delivery>, &mut Tasks),
    ) {
        let Shared { pool, token, options, clock, cancel } = *shared;
        let name = spec.name();
        let position = stored.and_then(|row| {
            Some(Position { source: spec.name(), kind: PositionKind::parse(&row.kind)?, value: row.value })
        });
        let (committed, committed_receiver) = watch::channel(position);
        let (connection, connection_receiver) = watch::channel(Connection::Starting);
        let (managed, duty) = ManagedSource::new(&spec, index < options.sources.len());
        self.committed.push(committed);
        self.managed.push(managed);
        // A relay carries the network, a PDS only its own repos, and a firehose does not say which of them it is.
        let carries_all = spec.dialect != Dialect::Firehose;
        self.monitored.push(Monitored { connection: connection_receiver.clone(), carries_all });
        let follow = Follow {
            index,
            spec,
            collections: options.collections.clone(),
            start: options.start,
            committed: committed_receiver,
            deliveries: deliveries.clone(),
            connection,
            tuning: options.tuning.clone(),
            clock: clock.clone(),
        };
        let stop = cancel.clone();
        tasks.spawn(async move {
            Runner { follow, duty }.run(stop).await;
            ("follows a source", Ok(()))
        });
        let recorder = Recorder { pool: pool.clone(), token, name, clock: clock.clone() };
        tasks.spawn(async move {
            recorder.run(connection_receiver).await;
            ("records a source's state", Ok(()))
        });
    }
}

/// Begins to prove commits, if they are to be proven: beside the stream, or on their way in.
fn prove(inlet: mpsc::Receiver<Delivery>, shared: &Shared<'_>, tasks: &mut Tasks) -> (Intake, Claims) {
    let stop = shared.cancel.clone();
    match &shared.options.proofs {
        Proofs::Off => (Intake::of(inlet), Claims::default()),
        Proofs::Beside(identities) => {
            let (claims, prover) = Prover::new(identities.clone(), shared.pool.clone(), shared.clock.clone());
            tasks.spawn(async move {
                prover.run(stop).await;
                ("proves commits", Ok(()))
            });
            (Intake::of(inlet), claims)
        }
        Proofs::Before(identities) => {
            let with = (shared.pool.clone(), shared.options.collections.clone());
            let judge = Judge::new(identities.clone(), with, stop.clone());
            let lookups = judge.lookups();
            tasks.spawn(async move {
                stop.cancelled().await;
                lookups.close();
                lookups.wait().await;
                ("looks keys up", Ok(()))
            });
            (Intake::judged(inlet, judge, shared.cancel.clone()), Claims::default())
        }
    }
}

/// Waits for all tasks. One that ends before it was told to takes the others down.
async fn supervise(mut tasks: Tasks, cancel: &CancellationToken) -> Result<(), IngestError> {
    let mut outcome = Ok(());
    while let Some(joined) = tasks.join_next().await {
        let early = !cancel.is_cancelled();
        let ended = match joined {
            Ok((_, Err(error))) => Err(error),
            Ok((task, Ok(()))) if early => {
                Err(IngestError::TaskEnded { task, reason: "it stopped without being told to".to_owned() })
            }
            Ok((_, Ok(()))) => Ok(()),
            Err(panic) => Err(IngestError::TaskEnded { task: "was running", reason: panic.to_string() }),
        };
        if outcome.is_ok() {
            outcome = ended;
        }
        if outcome.is_err() {
            cancel.cancel();
        }
    }
    outcome
}

/// How far a source is behind by what is stored.
fn age((feeder, stored): (&Feeder, &Option<StoredPosition>)) -> Age {
    let moment = |at: Option<_>| at.map(Timestamp::from_utc);
    Age {
        name: feeder.name.clone(),
        event_at: stored.as_ref().and_then(|row| moment(row.event_at)),
        stored_at: stored.as_ref().and_then(|row| moment(Some(row.updated_at))),
    }
}

/// Reads all positions as soon as the database answers.
async fn load_positions(pool: &PgPool, options: &Options) -> Vec<StoredPosition> {
    let names: Vec<String> = options.sources.iter().chain(&options.standbys).map(ToString::to_string).collect();
    let mut retry = Retry::of_database("the positions cannot be read yet");
    loop {
        match try_load_positions(pool, &names).await {
            Ok(positions) => {
                retry.succeeded();
                return positions;
            }
            Err(error) => tokio::time::sleep(retry.failed(&error)).await,
        }
    }
}

async fn try_load_positions(pool: &PgPool, names: &[String]) -> sqlx::Result<Vec<StoredPosition>> {
    let mut connection = pool.acquire().await?;
    store::sources::connections::delete_others(&mut connection, names).await?;
    store::sources::positions::list(&mut connection).await
}

/// The position of each source, in their order.
fn of_sources(sources: &[SourceSpec], stored: &[StoredPosition]) -> Vec<Option<StoredPosition>> {
    sources.iter().map(|source| stored.iter().find(|row| *row.source == *source.name()).cloned()).collect()
}

/// Writes what a source tells of its connection where `status` finds it, and again and again that it is still so.
struct Recorder {
    pool: PgPool,
    token: Token,
    name: Arc<str>,
    clock: Clock,
}

impl Recorder {
    /// Runs until the source has stopped. A database that is away makes it wait; only the latest state matters.
    async fn run(self, mut connection: watch::Receiver<Connection>) {
        let mut changed_at = self.clock.now();
        loop {
            let state = connection.borrow_and_update().clone();
            let mut pause = HEARTBEAT;
            if let Err(error) = self.record(&state, changed_at).await {
                tracing::debug!(%error, source = %self.name, "the state of the source is not recorded yet");
                pause = DATABASE_RETRY;
            }
            match timeout(pause, connection.changed()).await {
                Ok(Ok(())) => changed_at = self.clock.now(),
                Ok(Err(_)) => break,
                Err(_) => {}
            }
        }
        if let Ok(Err(error)) = timeout(DATABASE_RETRY, self.fall_silent()).await {
            tracing::debug!(%error, source = %self.name, "the end is not recorded: it will show by silence");
        }
    }

    async fn fall_silent(&self) -> sqlx::Result<()> {
        let mut connection = self.pool.acquire().await?;
        store::sources::connections::silence(&mut connection, (&self.name, self.token)).await
    }

    async fn record(&self, state: &Connection, changed_at: Timestamp) -> sqlx::Result<()> {
        let (word, reason) = match state {
            Connection::Starting => ("starting", None),
            Connection::Paused => ("paused", None),
            Connection::Connected => ("connected", None),
            Connection::Waiting { reason } => ("waiting", Some(reason.as_str())),
            Connection::Refused { reason } => ("refused", Some(reason.as_str())),
        };
        let mut connection = self.pool.acquire().await?;
        let times = (changed_at.utc(), self.clock.now().utc());
        store::sources::connections::write(&mut connection, (&self.name, self.token), (word, reason), times).await
    }
}
