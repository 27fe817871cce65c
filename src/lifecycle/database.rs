use std::{fs::File, path::PathBuf, time::Duration};

use futures_util::future::join_all;
use sqlx::{Connection as _, PgConnection, PgPool, postgres::PgConnectOptions};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    postgres::{self, Folder, Lock, PrivatePostgres, PrivatePostgresError},
    retry::Retry,
    serve,
    store::{
        is_unavailable, open_pool, parse_database_url, schema,
        server::{ServerFacts, UnfitDatabase, find_connection_limit, find_server_facts, share_a_session},
    },
    telemetry::sentence,
};

/// How long the owner of the private Postgres may take to start it, or a command to close it.
const JOIN_MAX: Duration = Duration::from_mins(1);
const JOIN_PAUSE: Duration = Duration::from_millis(100);
/// How long a server may take to say what it is.
const LIMIT_MAX: Duration = Duration::from_secs(3);
/// Between two looks at where the database is, where it may be at several hosts.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The connection of the lease is in no pool.
const BESIDE_POOLS: i32 = 1;

/// How many connections each pool may have.
#[derive(Debug, Clone, Copy)]
struct PoolSizes {
    /// Of the API. The private Postgres allows 50, shared with an `api` beside this and with commands.
    api: u32,
    /// One writes, and the sources report of themselves now and then.
    index: u32,
    /// Of all that is read from hosts.
    repos: u32,
}

impl PoolSizes {
    const USUAL: Self = Self { api: 16, index: 4, repos: 6 };
    /// The least with which everything works, if slowly: the writer keeps one.
    const LEAST: Self = Self { api: 1, index: 2, repos: 1 };

    /// As many as the server gives to this role.
    fn within(limit: i32) -> Self {
        let (usual, least) = (Self::USUAL, Self::LEAST);
        let sum = usual.api + usual.index + usual.repos;
        let limit = u32::try_from(limit - BESIDE_POOLS).unwrap_or(0).min(sum);
        let share = |usual: u32, least: u32| (usual * limit / sum).max(least);
        let (index, repos) = (share(usual.index, least.index), share(usual.repos, least.repos));
        Self { api: limit.saturating_sub(index + repos).clamp(least.api, usual.api), index, repos }
    }
}
/// How long connections may take to be closed politely.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// Where the database is.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Database")]
pub struct DatabaseSettings {
    /// Postgres 15 or newer, as `postgres://user:password@host/database`; of several hosts, `host1:5432,host2:5432`, the one that can be
    /// written to is worked on (`DATABASE_URL`, default: a private Postgres under the data folder)
    #[arg(long, env = "DATABASE_URL", value_name = "URL", value_parser = parse_address, global = true,
        hide_env = true)]
    database_url: Option<DatabaseAddress>,

    /// Folder for the private Postgres and the generated secret key (`PLYR_DATA_DIR`, default ./data)
    #[arg(
        long,
        env = "PLYR_DATA_DIR",
        value_name = "FOLDER",
        default_value = "./data",
        global = true,
        hide_env = true,
        hide_default_value = true
    )]
    pub data_dir: PathBuf,
}

/// The hosts of an address; none where the variable is set to nothing.
#[derive(Debug, Clone)]
struct DatabaseAddress(Vec<PgConnectOptions>);

fn parse_address(text: &str) -> Result<DatabaseAddress, String> {
    if text.is_empty() {
        return Ok(DatabaseAddress(Vec::new()));
    }
    let hosts = parse_database_url(text)?;
    Ok(DatabaseAddress(hosts.into_iter().map(|options| options.application_name("plyr-likes")).collect()))
}

/// What a command needs of the private Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To be its owner, or nothing.
    Own,
    /// To connect to it, whichever process owns it; to own it for as long as the program runs if none does.
    Share,
    /// Likewise for a moment: a process that wants to own it meanwhile waits.
    Visit,
}

/// The database, however it is had.
#[derive(Debug)]
pub struct Database {
    /// Connects when first asked.
    pub pool: PgPool,
    options: PgConnectOptions,
    /// Where it may be.
    hosts: Vec<PgConnectOptions>,
    sizes: PoolSizes,
    /// Further pools, closed with this one.
    others: Vec<PgPool>,
    server: Option<PrivatePostgres>,
    /// Reaches a socket whose path is too long for an address.
    _socket: Option<File>,
}

impl Database {
    /// The database of the settings. Starts the private Postgres where it must.
    pub async fn open(settings: &DatabaseSettings, access: Access) -> anyhow::Result<Self> {
        if let Some(DatabaseAddress(hosts)) = &settings.database_url
            && let Some(first) = hosts.first()
        {
            let options = find_primary(hosts).await.unwrap_or(first);
            let (host, name) = (options.get_host(), options.get_database().unwrap_or("(default)"));
            tracing::info!(host, name, "database: the one of DATABASE_URL");
            let sizes = find_sizes(options).await.unwrap_or(PoolSizes::USUAL);
            return Ok(Self { hosts: hosts.clone(), ..Self::over(options.clone(), sizes) });
        }
        let begin = Instant::now();
        let mut has_said = false;
        loop {
            let folder = Folder::open(&settings.data_dir)?;
            let error = match folder.clone().lock(access == Access::Visit) {
                Ok(lock) => return Self::start(lock).await,
                Err(PrivatePostgresError::InUse { .. }) if access != Access::Own => match Self::join(&folder).await {
                    Ok(database) => return Ok(database),
                    Err(error) => error,
                },
                Err(error @ PrivatePostgresError::InUse { is_brief: true, .. }) => error.into(),
                Err(error) => return Err(error.into()),
            };
            if begin.elapsed() > JOIN_MAX {
                return Err(error);
            }
            if !std::mem::replace(&mut has_said, true) {
                tracing::info!("waiting for another plyr-likes: {}", sentence(&error));
            }
            sleep(JOIN_PAUSE).await;
        }
    }

    async fn start(lock: Lock) -> anyhow::Result<Self> {
        let server = postgres::start(lock).await?;
        tracing::info!(version = server.version(), path = %server.path().display(), "database: a private Postgres");
        let database = Self::over(server.connect_options(), PoolSizes::USUAL);
        Ok(Self { server: Some(server), ..database })
    }

    async fn join(folder: &Folder) -> anyhow::Result<Self> {
        let (options, socket) = folder.connect_options()?;
        PgConnection::connect_with(&options).await?.close().await?;
        tracing::info!("database: the private Postgres of the plyr-likes that is running");
        Ok(Self { _socket: socket, ..Self::over(options, PoolSizes::USUAL) })
    }

    fn over(options: PgConnectOptions, sizes: PoolSizes) -> Self {
        Self {
            pool: open_pool(options.clone(), sizes.index),
            options,
            hosts: Vec::new(),
            sizes,
            others: Vec::new(),
            server: None,
            _socket: None,
        }
    }

    /// A pool for the API alone: however many requests wait, the pump has connections of its own.
    pub(super) fn open_api_pool(&mut self) -> PgPool {
        let pool = serve::connect(self.options.clone(), self.sizes.api);
        self.others.push(pool.clone());
        pool
    }

    /// A pool for reading repos, likewise: many readings at a time do not keep the stream waiting.
    pub(super) fn open_repo_pool(&mut self) -> PgPool {
        // What is stored of identities and repos may be lost in a crash of Postgres: it is asked for again. Records are not: their
        // transactions wait for the disk, whatever the connection's default.
        let options = self.options.clone().options([("synchronous_commit", "off")]);
        let pool = open_pool(options, self.sizes.repos);
        self.others.push(pool.clone());
        pool
    }

    /// Whether this process owns a private Postgres, and so its schema.
    pub fn is_private(&self) -> bool {
        self.server.is_some()
    }

    /// Keeps the private Postgres running until cancelled, then closes.
    pub(super) async fn keep(mut self, cancel: CancellationToken) -> anyhow::Result<()> {
        match &mut self.server {
            Some(server) => server.supervise(cancel).await,
            None => {
                cancel.run_until_cancelled(self.follow_primary()).await;
            }
        }
        self.close().await;
        Ok(())
    }

    /// Goes where the database can be written to, whenever it has moved to another of its hosts. Never returns.
    async fn follow_primary(&self) {
        loop {
            sleep(LOOK_EVERY).await;
            let at = self.pool.connect_options();
            if self.hosts.len() < 2 || is_primary(&at).await {
                continue;
            }
            let Some(next) = find_primary(&self.hosts).await else { continue };
            if (next.get_host(), next.get_port()) == (at.get_host(), at.get_port()) {
                continue;
            }
            tracing::warn!(host = next.get_host(), port = next.get_port(), "the database is at another host now");
            for pool in self.others.iter().chain([&self.pool]) {
                let options = PgConnectOptions::clone(&pool.connect_options());
                pool.set_connect_options(options.host(next.get_host()).port(next.get_port()));
            }
        }
    }

    /// Closes the connections and stops the private Postgres.
    pub async fn close(self) {
        let pools = self.others.iter().chain([&self.pool]).map(PgPool::close);
        if timeout(CLOSE_MAX, join_all(pools)).await.is_err() {
            tracing::warn!("connections to the database are still busy");
        }
        if let Some(server) = self.server {
            server.stop().await;
        }
    }
}

/// The first of several hosts that can be written to now; of one, that one.
async fn find_primary(hosts: &[PgConnectOptions]) -> Option<&PgConnectOptions> {
    if let [host] = hosts {
        return Some(host);
    }
    for host in hosts {
        if is_primary(host).await {
            return Some(host);
        }
    }
    None
}

/// Whether a host answers and can be written to.
async fn is_primary(options: &PgConnectOptions) -> bool {
    async fn ask(options: &PgConnectOptions) -> sqlx::Result<bool> {
        let mut connection = PgConnection::connect_with(options).await?;
        let facts = find_server_facts(&mut connection).await?;
        connection.close().await?;
        Ok(!facts.is_read_only)
    }

    matches!(timeout(LIMIT_MAX, ask(options)).await, Ok(Ok(true)))
}

/// What the server gives; none while it is away.
async fn find_sizes(options: &PgConnectOptions) -> Option<PoolSizes> {
    async fn find_limit(options: &PgConnectOptions) -> sqlx::Result<i32> {
        let mut connection = PgConnection::connect_with(options).await?;
        let limit = find_connection_limit(&mut connection).await?;
        connection.close().await?;
        Ok(limit)
    }

    let limit = timeout(LIMIT_MAX, find_limit(options)).await.ok()?.ok()?;
    let least = PoolSizes::LEAST;
    let (sizes, least) = (PoolSizes::within(limit), i64::from(least.api + least.index + least.repos));
    if i64::from(limit - BESIDE_POOLS) < least {
        tracing::warn!(limit, least, "the database gives fewer connections than are needed: some requests will fail");
    }
    Some(sizes)
}

/// Refuses a database that cannot be worked on, in one sentence.
pub async fn check_fitness(pool: &PgPool) -> anyhow::Result<ServerFacts> {
    let (mut connection, mut other) = (pool.acquire().await?, pool.acquire().await?);
    if share_a_session(&mut connection, &mut other).await? {
        return Err(UnfitDatabase::SharedSessions.into());
    }
    let facts = find_server_facts(&mut connection).await?;
    facts.check(postgres::VERSION_MIN)?;
    Ok(facts)
}

/// Brings the schema up to date. Waits for a database that is away; several processes may do this at once.
pub async fn migrate(pool: &PgPool) -> anyhow::Result<()> {
    async fn try_migrate(pool: &PgPool) -> anyhow::Result<()> {
        check_fitness(pool).await?;
        Ok(schema::migrate(&mut *pool.acquire().await?).await?)
    }

    let mut retry = Retry::of_database("the database cannot be reached");
    loop {
        match try_migrate(pool).await {
            Err(error) if error.chain().filter_map(|cause| cause.downcast_ref()).any(is_unavailable) => {
                sleep(retry.failed(&sentence(&error))).await;
            }
            outcome => {
                if outcome.is_ok() {
                    retry.succeeded();
                }
                return outcome;
            }
        }
    }
}
