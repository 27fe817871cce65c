//! A private Postgres under the data folder, where no other is named: unix socket only, no TCP port, its processes
//! owned by an unprivileged user, started and stopped with the program.
//!
//! Contract: the process that holds the [`Lock`] of a data folder owns its server; all others only connect to it. Does not know what
//! is stored in it. However the
//! program or the server ended, the next [`start`] works, and committed rows are there. If the server dies while the
//! program runs, [`PrivatePostgres::supervise`] starts it again, and others see a database that is away until then.
//!
//! The server is handed its folder as an open file and knows it as `/proc/self/fd/N`. So the folders above it may be
//! closed to the server's user, as root's home is, and its socket's path may be long.

mod binaries;
mod error;
mod folder;
mod leftovers;

use std::{
    fs::File,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::{
    io::FdFlags,
    process::{Pid, Signal, kill_process},
};
use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};
use tokio::{
    process::{Child, Command},
    time::{Instant, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

pub use binaries::Binaries;
pub use error::{PrivatePostgresError, VERSION_MIN};
use folder::Owner;
pub use folder::{Folder, Lock};

use crate::retry::Backoff;

/// How long recovery after a crash may take.
const READY_MAX: Duration = Duration::from_mins(10);
/// How long processes of a killed server may keep its memory.
const BUSY_MAX: Duration = Duration::from_secs(30);
/// How long the last checkpoint may take before the server is stopped without one.
const FAST_STOP_MAX: Duration = Duration::from_secs(6);
const QUICK_STOP_MAX: Duration = Duration::from_secs(3);
const RESTART: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
const LOG_LOOK_EVERY: Duration = Duration::from_secs(30);

/// The server's settings besides where it is. Sized for one index on one machine.
const SETTINGS: [&str; 16] = [
    "port=5432",
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "cluster_name=plyr-likes",
    "logging_collector=off",
    "log_timezone=UTC",
    "timezone=UTC",
    "max_connections=50",
    "shared_buffers=128MB",
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_wal_size=2GB",
    "checkpoint_timeout=15min",
    "autovacuum_naptime=10s",
    "random_page_cost=1.1",
    "jit=off",
];

/// A running server that this process owns.
#[derive(Debug)]
pub struct PrivatePostgres {
    lock: Lock,
    binaries: Binaries,
    owner: Owner,
    process: Process,
    options: PgConnectOptions,
    _socket: Option<File>,
}

/// The server's first process. Dropped while it runs, it is stopped at once: a program that starts a server and then fails,
/// or is stopped, leaves none behind.
#[derive(Debug)]
struct Process(Child);

impl Process {
    fn signal(&self, signal: Signal) {
        let pid = self.0.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(Err(error)) = pid.map(|pid| kill_process(pid, signal)) {
            tracing::debug!(%error, "Postgres is gone already");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::QUIT);
    }
}

/// Starts the server of a data folder, after ending what an earlier run left of it; makes it first if there is none.
/// Answers when it takes connections.
pub async fn start(lock: Lock) -> Result<PrivatePostgres, PrivatePostgresError> {
    let folder = &lock.folder;
    let binaries = Binaries::find(folder.version())?;
    let owner = folder.owner()?;
    if folder.version().is_none() {
        init(folder, &binaries, owner).await?;
    }
    let (options, socket) = folder.connect_options()?;
    let process = start_server(folder, &binaries, owner, &options).await?;
    let server = PrivatePostgres { lock, binaries, owner, process, options, _socket: socket };
    server.make_database().await?;
    Ok(server)
}

impl PrivatePostgres {
    /// How to connect.
    pub fn connect_options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// The server's folder.
    pub fn path(&self) -> PathBuf {
        self.lock.folder.server()
    }

    /// The major version of the server.
    pub fn version(&self) -> u32 {
        self.binaries.version
    }

    /// Starts the server again whenever it dies, until cancelled. Never gives up: a full disk may be emptied.
    pub async fn supervise(&mut self, cancel: CancellationToken) {
        let mut log_look = interval(LOG_LOOK_EVERY);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = log_look.tick() => {
                    if let Err(error) = self.lock.folder.bound_log() {
                        tracing::warn!(%error, "the log of Postgres cannot be put aside");
                    }
                }
                ended = self.process.0.wait() => {
                    let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                    tracing::error!(how, "Postgres ended: starting it again");
                    tokio::select! {
                        () = cancel.cancelled() => return,
                        () = self.restart() => {}
                    }
                }
            }
        }
    }

    async fn restart(&mut self) {
        let mut failures = 0;
        loop {
            let pause = RESTART.pause(failures, rand::random());
            match start_server(&self.lock.folder, &self.binaries, self.owner, &self.options).await {
                Ok(process) => {
                    self.process = process;
                    tracing::info!("Postgres is back");
                    return;
                }
                Err(error) => tracing::error!(%error, ?pause, "Postgres cannot be started: trying again"),
            }
            sleep(pause).await;
            failures += 1;
        }
    }

    /// Stops the server: open connections are closed and a last checkpoint is written. If that takes too long, it stops
    /// without one; nothing committed is lost, the next start takes longer.
    pub async fn stop(mut self) {
        for (signal, limit) in
            [(Signal::INT, FAST_STOP_MAX), (Signal::QUIT, QUICK_STOP_MAX), (Signal::KILL, QUICK_STOP_MAX)]
        {
            self.process.signal(signal);
            match timeout(limit, self.process.0.wait()).await {
                Ok(_ended) => return,
                Err(_late) => tracing::warn!(?limit, "Postgres takes too long to stop: asking harder"),
            }
        }
    }

    async fn make_database(&self) -> Result<(), PrivatePostgresError> {
        let mut connection = PgConnection::connect_with(&self.options.clone().database("postgres")).await?;
        let there =
            sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'plyr') AS "there!""#)
                .fetch_one(&mut connection)
                .await?;
        if !there {
            sqlx::raw_sql("CREATE DATABASE plyr").execute(&mut connection).await?;
        }
        connection.close().await?;
        Ok(())
    }
}

/// Makes the server's folder. C collation keeps indexes valid when the system's locales change; characters are
/// classified by UTF-8 where the system can.
async fn init(folder: &Folder, binaries: &Binaries, owner: Owner) -> Result<(), PrivatePostgresError> {
    tracing::info!(version = binaries.version, path = %folder.server().display(), "making a database");
    let program = binaries.program("initdb");
    let mut said = String::new();
    for ctype in ["C.UTF-8", "C"] {
        let path = folder.make_unfinished(owner)?;
        let (mut command, place, _inside) = command_inside(&program, &path, owner)?;
        command.args(["--pgdata", &place, "--username=plyr", "--auth=trust", "--encoding=UTF8", "--locale=C"]);
        command.arg(format!("--lc-ctype={ctype}"));
        let answer = command.stdout(Stdio::null()).kill_on_drop(true).output().await;
        let answer = answer.map_err(|error| PrivatePostgresError::Spawn { program: program.clone(), error })?;
        if answer.status.success() {
            return folder.finish();
        }
        said = String::from_utf8_lossy(&answer.stderr).trim().replace('\n', "; ");
    }
    Err(PrivatePostgresError::Init { said })
}

/// A command run as `owner` that may work in the folder `path`; the folder's name for it; and the handle that must live until
/// the command is spawned. The command inherits the handle and reaches the folder through it, past the folders above.
fn command_inside(program: &Path, path: &Path, owner: Owner) -> Result<(Command, String, File), PrivatePostgresError> {
    let fail = |error| PrivatePostgresError::Folder { path: path.to_owned(), error };
    let handle = File::open(path).map_err(fail)?;
    rustix::io::fcntl_setfd(&handle, FdFlags::empty()).map_err(|error| fail(error.into()))?;
    let through_handle = format!("/proc/self/fd/{}", handle.as_raw_fd());
    let name = if Path::new(&through_handle).exists() { through_handle } else { path.to_string_lossy().into_owned() };
    let mut command = Command::new(program);
    command.current_dir("/").stdin(Stdio::null()).env_clear().env("LC_ALL", "C");
    // Ctrl-C on a terminal goes to the whole group, and the server must outlive the last commit.
    command.process_group(0);
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    if rustix::process::geteuid().is_root() {
        command.uid(owner.uid).gid(owner.gid);
    }
    Ok((command, name, handle))
}

async fn start_server(
    folder: &Folder,
    binaries: &Binaries,
    owner: Owner,
    options: &PgConnectOptions,
) -> Result<Process, PrivatePostgresError> {
    let deadline = Instant::now() + BUSY_MAX;
    loop {
        leftovers::clear(&folder.server()).await;
        let (log, log_start) = folder.open_log()?;
        let mut process = spawn_server(folder, binaries, owner, log)?;
        if wait_until_ready(&mut process.0, options).await? {
            return Ok(process);
        }
        let said = folder.read_log(log_start);
        let busy = said.contains("still in use") || said.contains("already exists");
        if !busy || Instant::now() > deadline {
            let fatal: Vec<&str> =
                said.lines().filter(|line| line.contains("FATAL") || line.contains("HINT")).collect();
            let said = if fatal.is_empty() { said.trim().replace('\n', "; ") } else { fatal.join("; ") };
            return Err(PrivatePostgresError::Start { said });
        }
        sleep(Duration::from_millis(200)).await;
    }
}

fn spawn_server(
    folder: &Folder,
    binaries: &Binaries,
    owner: Owner,
    log: File,
) -> Result<Process, PrivatePostgresError> {
    let program = binaries.program("postgres");
    let (mut command, place, _inside) = command_inside(&program, &folder.server(), owner)?;
    command.args(["-D", &place]);
    for setting in SETTINGS {
        command.args(["-c", setting]);
    }
    command.args(["-c", &format!("unix_socket_directories={place}")]);
    // Means nothing to Postgres, but shows in the list of processes.
    command.args(["-c", &format!("plyr.data_dir={}", folder.server().display())]);
    command.stdout(Stdio::null()).stderr(log);
    command.spawn().map(Process).map_err(|error| PrivatePostgresError::Spawn { program, error })
}

/// Whether the server takes connections; false if it ended first.
async fn wait_until_ready(child: &mut Child, options: &PgConnectOptions) -> Result<bool, PrivatePostgresError> {
    let options = options.clone().database("postgres");
    let begin = Instant::now();
    let mut last_word = begin;
    loop {
        let error = match PgConnection::connect_with(&options).await {
            Ok(connection) => {
                connection.close().await?;
                return Ok(true);
            }
            Err(error) => error,
        };
        if let Ok(Some(_ended)) = child.try_wait() {
            return Ok(false);
        }
        if begin.elapsed() > READY_MAX {
            return Err(error.into());
        }
        if last_word.elapsed() > Duration::from_secs(10) {
            last_word = Instant::now();
            tracing::info!(seconds = begin.elapsed().as_secs(), %error, "Postgres is still starting");
        }
        sleep(Duration::from_millis(25)).await;
    }
}
