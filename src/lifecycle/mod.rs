//! One owner of start and stop: what is started here is ended here, and nothing runs that is not waited for.
//!
//! Start: the addresses are bound (a port that is taken is an error at once), the private Postgres is started where there is
//! no other, the API answers, the schema is brought up to date, the sources are followed. While the database is away the API
//! says 503 and the sources wait.
//!
//! Stop, on SIGINT, SIGTERM, or when a part ends by itself (then with a failing code): sources first, so that the last batch
//! is committed; then the listeners; then the database; all within [`STOP_MAX`]. A second signal ends the program at once,
//! which costs nothing but time at the next start.

mod database;
mod deps;
mod descriptors;
mod hosts;
mod index;
mod leader;
mod stages;

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use axum::Router;
use sqlx::PgPool;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};

pub use database::{Access, Database, DatabaseSettings, migrate};
use deps::Deps;
pub use hosts::{HostSettings, Verify};
pub use index::IndexPlan;
use stages::{Stage, Stages};

use crate::{
    clock::Clock,
    serve::{self, Limits, ServeSettings},
    store::schema,
    telemetry::{Telemetry, sentence},
};

/// A stop that takes longer is cut short.
pub const STOP_MAX: Duration = Duration::from_secs(20);

/// Where the listeners are.
#[derive(Debug, Clone, Copy, clap::Args)]
#[command(next_help_heading = "Listeners")]
pub struct ListenSettings {
    /// Where the API answers; port 0 takes a free one (`PLYR_BIND`, default 127.0.0.1:8080)
    #[arg(
        long,
        env = "PLYR_BIND",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8080",
        global = true,
        hide_env = true,
        hide_default_value = true
    )]
    pub bind: SocketAddr,

    /// Where metrics and health are told to the operator (`PLYR_ADMIN_BIND`, default 127.0.0.1:9090)
    #[arg(
        long,
        env = "PLYR_ADMIN_BIND",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9090",
        global = true,
        hide_env = true,
        hide_default_value = true
    )]
    pub admin_bind: SocketAddr,
}

/// What runs in this process.
#[derive(Debug)]
pub struct Plan {
    /// Where the database is.
    pub database: DatabaseSettings,
    /// Where the listeners are.
    pub listen: ListenSettings,
    /// Which hosts are asked about accounts and their repos.
    pub hosts: HostSettings,
    /// The half that follows the sources and writes the index.
    pub index: Option<IndexPlan>,
    /// The half that answers.
    pub api: Option<ServeSettings>,
}

/// Runs the plan until a signal comes or a part of it ends. `Ok` only after a signal and a clean stop.
pub async fn run(plan: Plan, telemetry: &Telemetry) -> anyhow::Result<()> {
    descriptors::raise();
    let mut signals = Signals::new()?;
    let mut stages = Stages::default();
    let outcome = tokio::select! {
        started = start(plan, telemetry, &mut stages) => match started {
            Ok(()) => tokio::select! {
                name = signals.next() => { tracing::info!(signal = name, "stopping"); Ok(()) }
                ended = stages.ended() => { tracing::error!("{}: stopping", sentence(&ended)); Err(ended) }
            },
            Err(error) => Err(error),
        },
        name = signals.next() => { tracing::info!(signal = name, "stopping before the start was over"); Ok(()) }
    };
    let stopped = tokio::select! {
        stopped = timeout(STOP_MAX, stages.stop()) => stopped.context("stopping took too long")?,
        name = signals.next() => anyhow::bail!("{name} came again: ended at once"),
    };
    tracing::info!("stopped");
    outcome.and(stopped)
}

async fn start(plan: Plan, telemetry: &Telemetry, stages: &mut Stages) -> anyhow::Result<()> {
    let admin = bind(plan.listen.admin_bind, "PLYR_ADMIN_BIND").await?;
    let api = match plan.api {
        Some(settings) => Some((bind(plan.listen.bind, "PLYR_BIND").await?, settings)),
        None => None,
    };
    let (admin_url, api_url) = (url_of(&admin)?, api.as_ref().map(|(listener, _)| url_of(listener)).transpose()?);
    tracing::info!(
        admin = admin_url,
        api = api_url,
        data = %plan.database.data_dir.display(),
        sources = plan.index.as_ref().map(|index| list(&index.ingest.sources)),
        "starting"
    );

    let access = if plan.index.is_some() { Access::Own } else { Access::Share };
    let mut database = Database::open(&plan.database, access).await?;
    let migrates = plan.index.is_some() || database.is_private();
    let clock = Clock::system();
    let deps = Deps::new(&mut database, &plan.hosts, &clock)?;
    let api = api.map(|(listener, settings)| (listener, settings, database.open_api_pool()));
    stages.database.spawn("Postgres", |cancel| database.keep(cancel));

    let mut samples = vec![("index", deps.pool.clone())];
    samples.extend(api.iter().map(|(_, _, pool)| ("api", pool.clone())));
    let operator = serve::operator_router(telemetry.admin_router(), deps.crawl.pool.clone(), clock.clone());
    spawn_admin(&stages.listeners, admin, operator);
    spawn_sampling(&stages.listeners, telemetry, samples);
    if let Some((listener, settings, pool)) = api {
        spawn_api(&stages.listeners, listener, serve::router(pool, settings, clock));
    }
    if migrates {
        tokio::select! {
            outcome = migrate(&deps.pool) => outcome?,
            ended = stages.ended() => return Err(ended),
        }
    }
    if let Some(index) = plan.index {
        index::spawn(&stages.sources, &deps, index, &plan.hosts);
    }
    tracing::info!(admin = admin_url, api = api_url, "serving");
    Ok(())
}

fn spawn_api(stage: &Stage, listener: TcpListener, router: Router) {
    let limits = Limits::api();
    stage.spawn("the API", |cancel| async move { Ok(serve::run(listener, router, limits, cancel).await?) });
}

fn spawn_admin(stage: &Stage, listener: TcpListener, router: Router) {
    let limits = Limits::admin();
    stage.spawn("the admin listener", |cancel| async move { Ok(serve::run(listener, router, limits, cancel).await?) });
}

fn spawn_sampling(stage: &Stage, telemetry: &Telemetry, pools: Vec<(&'static str, PgPool)>) {
    stage.spawn("sampling", |cancel| {
        let sampling = telemetry.sample(pools, cancel);
        async move {
            sampling.await;
            Ok(())
        }
    });
}

async fn bind(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{setting}: cannot listen on {address}"))
}

fn url_of(listener: &TcpListener) -> anyhow::Result<String> {
    Ok(format!("http://{}", listener.local_addr()?))
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// The signals that ask the program to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("the system gives no signals");
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// Does one thing with the database and closes it: for the operator's commands. A signal ends it early.
pub async fn with_database<T>(
    settings: &DatabaseSettings,
    task: impl AsyncFnOnce(&Database) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut signals = Signals::new()?;
    let database = tokio::select! {
        database = Database::open(settings, Access::Visit) => database?,
        name = signals.next() => anyhow::bail!("{name} came"),
    };
    let outcome = tokio::select! {
        outcome = perform(&database, task) => outcome,
        name = signals.next() => Err(anyhow::anyhow!("{name} came")),
    };
    tokio::select! {
        () = database.close() => outcome,
        name = signals.next() => anyhow::bail!("{name} came again: ended at once"),
    }
}

/// Likewise, where the task needs the schema to be that of this program.
pub async fn with_index<T>(
    settings: &DatabaseSettings,
    task: impl AsyncFnOnce(&Database) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    with_database(settings, async |database| {
        let mut connection = database.pool.acquire().await?;
        let is_current = schema::is_current(&mut connection).await?;
        drop(connection);
        anyhow::ensure!(is_current, "the schema is not that of this program: run `plyr-likes migrate`");
        task(database).await
    })
    .await
}

async fn perform<T>(database: &Database, task: impl AsyncFnOnce(&Database) -> anyhow::Result<T>) -> anyhow::Result<T> {
    if database.is_private() {
        migrate(&database.pool).await?;
    }
    // Asked first, so that every command says the same of a database that is away.
    let connection = database.pool.acquire().await;
    drop(connection.context("the database does not answer: see that it runs and that DATABASE_URL is right")?);
    task(database).await
}
