//! The real program, run as its users run it: settings in its environment, HTTP in front, signals from outside.

// Named by its path and inside this file, so that the bench has both by naming one.
#[path = "child.rs"]
pub mod child;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::{Client, RequestBuilder};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use child::{Log, stop};

/// Making a private Postgres on a machine that compiles at the same time takes many seconds.
const START_TIMEOUT: Duration = Duration::from_secs(90);
const WAIT_TIMEOUT: Duration = Duration::from_mins(1);
const WAIT_INTERVAL: Duration = Duration::from_millis(20);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What the program is started with; the same for each start, so that a restart finds what was left.
pub struct Settings {
    variables: BTreeMap<String, String>,
    /// Where the private Postgres lives, when no other database is named.
    _folder: TempDir,
}

impl Settings {
    /// Free ports, and a folder of its own with a private Postgres in it.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // Started as root, the program gives its Postgres to another user, who must be able to come in.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("our own folder");
        let variables = [
            ("PLYR_BIND", "127.0.0.1:0".to_owned()),
            ("PLYR_ADMIN_BIND", "127.0.0.1:0".to_owned()),
            ("PLYR_DATA_DIR", folder.path().join("data").display().to_string()),
            ("PLYR_RELAY_URL", String::new()),
        ];
        Self { variables: variables.map(|(name, value)| (name.to_owned(), value)).into(), _folder: folder }
    }

    /// Sets one more variable, or another value.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.insert(name.to_owned(), value.into());
        self
    }

    /// What is set.
    pub fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// Runs one of the short commands to its end, which may be a bad one.
    pub fn try_run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program starts")
    }

    /// Likewise; it must end well.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let output = self.try_run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?} ended with {}:\n{stderr}", output.status);
        output
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = child::program();
        command.args(arguments).envs(&self.variables);
        command
    }
}

/// `plyr-likes serve`, running. It is stopped with the value.
pub struct Program {
    /// Such as `http://127.0.0.1:40123`.
    pub api: String,
    /// The admin listener, likewise.
    pub admin: String,
    child: Mutex<Child>,
    log: Arc<Log>,
    client: Client,
}

impl Program {
    /// Starts `serve` and waits until it says where it answers.
    pub async fn serve(settings: &Settings) -> Self {
        Self::start("serve", settings).await
    }

    /// Starts a command that answers over HTTP, and waits until it says where.
    pub async fn start(command: &str, settings: &Settings) -> Self {
        let mut child = settings
            .command(&[command])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let log = Log::follow(child.stderr.take().expect("stderr was asked for"));
        let serving = {
            let log = Arc::clone(&log);
            tokio::task::spawn_blocking(move || log.wait_for(0, find_addresses, START_TIMEOUT)).await
        };
        let Some((_, (api, admin))) = serving.expect("reading a log does not fail") else {
            // Not only killed: a private Postgres that it has started wants to be stopped.
            let status = stop(&mut child, Signal::TERM);
            panic!("the program did not say where it serves; it ended with {status}; its log ends:\n{}", log.tail());
        };
        let client = super::http::client(REQUEST_TIMEOUT);
        Self { api, admin, child: Mutex::new(child), log, client }
    }

    /// The process, for those who look at it from outside.
    pub fn pid(&self) -> u32 {
        self.child().id()
    }

    /// Ends it as the power does: no time to do anything.
    pub fn kill9(self) {
        stop(&mut self.child(), Signal::KILL);
    }

    /// Asks it to end, and waits until it has.
    pub fn terminate(self) -> ExitStatus {
        stop(&mut self.child(), Signal::TERM)
    }

    /// The JSON that a path answers with 200; otherwise what it answered instead.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, String> {
        self.send(self.client.get(format!("{}{path}", self.api)).query(query)).await
    }

    /// Likewise for a POST of JSON with a bearer token.
    pub async fn post(&self, path: &str, token: &str, body: &Value) -> Result<Value, String> {
        self.send(self.client.post(format!("{}{path}", self.api)).bearer_auth(token).json(body)).await
    }

    /// The admin listener's metrics, as Prometheus reads them.
    pub async fn metrics(&self) -> String {
        let response =
            self.client.get(format!("{}/metrics", self.admin)).send().await.expect("the admin listener answers");
        assert_eq!(response.status(), 200, "metrics");
        response.text().await.expect("metrics are text")
    }

    async fn send(&self, request: RequestBuilder) -> Result<Value, String> {
        let response = request.send().await.map_err(|error| format!("{error:?}"))?;
        let (status, url) = (response.status(), response.url().clone());
        let body = response.text().await.map_err(|error| format!("{error:?}"))?;
        if status != 200 {
            return Err(format!("{url}: {} {body}", status.as_u16()));
        }
        serde_json::from_str(&body).map_err(|error| format!("{url}: {error}: {body}"))
    }

    /// Asks again and again until `check` is content; when it is not for a minute, ends the test with its last complaint.
    pub async fn wait_until(&self, what: &str, check: impl AsyncFn(&Self) -> Result<(), String>) {
        let deadline = Instant::now() + WAIT_TIMEOUT;
        while let Err(complaint) = check(self).await {
            let ended = self.child().try_wait().expect("our own child can be waited for");
            if ended.is_some() || Instant::now() > deadline {
                let how = ended.map_or("in vain".to_owned(), |status| format!("but the program ended with {status}"));
                let (pid, log) = (self.pid(), self.log.tail());
                panic!(
                    "waited until {what}, {how}; the last answer: {complaint}\nthe log of process {pid} ends:\n{log}"
                );
            }
            tokio::time::sleep(WAIT_INTERVAL).await;
        }
    }

    /// The last lines of the log, to show with a failure.
    pub fn log_tail(&self) -> String {
        self.log.tail()
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        stop(&mut self.child(), Signal::TERM);
    }
}

/// Where the API and the admin listener are, if this is the line that says it.
fn find_addresses(line: &str) -> Option<(String, String)> {
    line.contains("serving").then_some(())?;
    Some((find_address(line, "api")?, find_address(line, "admin")?))
}

/// `http://host:port` behind the name of a field, in JSON as in text.
fn find_address(line: &str, field: &str) -> Option<String> {
    let behind = &line[line.find(field)?..];
    let address = &behind[behind.find("http://")?..];
    let length = address.find(|c: char| !(c.is_ascii_alphanumeric() || ":/.[]".contains(c))).unwrap_or(address.len());
    Some(address[..length].trim_end_matches('/').to_owned())
}
