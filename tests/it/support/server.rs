//! A Postgres of one test alone, that can be stopped, started and taken away.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use sqlx::{PgPool, postgres::PgPoolOptions};

/// A Postgres of this test alone, that can be taken away.
pub struct Server {
    folder: tempfile::TempDir,
}

impl Server {
    /// The server's programs; it refuses to run as root, so they run as `postgres` there.
    fn program(name: &str) -> Command {
        let folders = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let newest = folders.map(|folder| folder.path().join("bin").join(name)).filter(|path| path.exists()).max();
        let path = newest.unwrap_or_else(|| PathBuf::from(name));
        if !rustix::process::geteuid().is_root() {
            return Command::new(path);
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]).arg(path);
        command
    }

    fn run(command: &mut Command) {
        // Into a file and not a pipe: a server that goes on running would hold the pipe open.
        let output = tempfile::NamedTempFile::new().expect("a file");
        let stdout = output.reopen().expect("a file");
        let stderr = output.reopen().expect("a file");
        let status = command.current_dir("/").stdout(stdout).stderr(stderr).status().expect("it starts");
        let said = || std::fs::read_to_string(output.path()).unwrap_or_default();
        assert!(status.success(), "{command:?} ended with {status}: {}", said());
    }

    /// Makes it and starts it.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp").expect("a folder");
        if rustix::process::geteuid().is_root() {
            Self::run(Command::new("chown").arg("postgres").arg(folder.path()));
        }
        let server = Self { folder };
        Self::run(
            Self::program("initdb")
                .args(["-A", "trust", "-U", "plyr", "-E", "UTF8", "--no-locale", "-D"])
                .arg(server.cluster()),
        );
        server.start();
        server
    }

    fn cluster(&self) -> PathBuf {
        self.folder.path().join("cluster")
    }

    fn control(&self, arguments: &[&str]) {
        let log = self.folder.path().join("log");
        Self::run(Self::program("pg_ctl").arg("-w").arg("-D").arg(self.cluster()).arg("-l").arg(log).args(arguments));
    }

    pub fn start(&self) {
        self.control(&["start", "-o", &self.options()]);
    }

    /// Away for a moment, in order.
    pub fn restart(&self) {
        self.control(&["restart", "-m", "fast", "-o", &self.options()]);
    }

    fn options(&self) -> String {
        format!("-c listen_addresses='' -k {}", self.folder.path().display())
    }

    /// Away at once, as by a crash.
    pub fn stop(&self) {
        self.control(&["stop", "-m", "immediate"]);
    }

    /// As `DATABASE_URL` takes it.
    pub fn url(&self) -> String {
        format!("postgres:///postgres?host={}&user=plyr", self.folder.path().display())
    }

    pub async fn pool(&self) -> PgPool {
        PgPoolOptions::new().max_connections(2).connect(&self.url()).await.expect("the server answers")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if Path::new(&self.cluster().join("postmaster.pid")).exists() {
            let _ = Self::program("pg_ctl").args(["stop", "-m", "immediate", "-D"]).arg(self.cluster()).status();
        }
    }
}
