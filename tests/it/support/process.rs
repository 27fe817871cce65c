//! The program as a process: what it says line by line, signals, and the server processes that belong to it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::program::child::{self, Log, stop};

/// A bound on every wait; long, because a machine that compiles at the same time is slow.
const PATIENCE: Duration = Duration::from_mins(2);

/// The program on free ports.
pub fn command(data_dir: &Path, arguments: &[&str]) -> Command {
    let mut command = child::program();
    command.env("PLYR_DATA_DIR", data_dir).env("PLYR_BIND", "127.0.0.1:0").env("PLYR_ADMIN_BIND", "127.0.0.1:0");
    // No process listens there: the program has to run without.
    command.env("PLYR_SOURCES", "jetstream+ws://127.0.0.1:9");
    command.args(arguments);
    command
}

/// Runs a command to its end.
pub fn run(data_dir: &Path, arguments: &[&str]) -> Output {
    command(data_dir, arguments).output().unwrap()
}

/// Likewise; it must succeed, and its stdout is the answer.
pub fn run_well(data_dir: &Path, arguments: &[&str]) -> String {
    let output = run(data_dir, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A running program.
pub struct Process {
    child: Child,
    log: Arc<Log>,
    lines_read: usize,
}

impl Process {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Log::follow(child.stderr.take().unwrap());
        Self { child, log, lines_read: 0 }
    }

    /// `serve`, until it serves.
    pub fn serve(data_dir: &Path) -> Self {
        let mut process = Self::start(command(data_dir, &["serve"]));
        process.wait_for("serving");
        process
    }

    /// The first line from here on that holds a text.
    pub fn wait_for(&mut self, text: &str) -> String {
        let holds = |line: &str| line.contains(text).then(|| line.to_owned());
        let Some((lines_read, line)) = self.log.wait_for(self.lines_read, holds, PATIENCE) else {
            panic!("`{text}` was not said; the log ends:\n{}", self.log.tail());
        };
        self.lines_read = lines_read;
        line
    }

    /// Where it said that it answers: `api` or `admin`, as host:port.
    pub fn address(&self, name: &str) -> String {
        let address = |line: &str| {
            let (_, said) = line.split_once(&format!("{name}=\"http://"))?;
            said.split('"').next().map(str::to_owned)
        };
        self.log.wait_for(0, address, PATIENCE).unwrap().1
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its resident set.
    pub fn resident_kb(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        resident.trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn kill9(mut self) {
        stop(&mut self.child, Signal::KILL);
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// SIGTERM, and its end: how, how long it took, and all it said.
    pub fn terminate(mut self) -> (ExitStatus, Duration, String) {
        let begin = Instant::now();
        let status = stop(&mut self.child, Signal::TERM);
        (status, begin.elapsed(), self.log.whole())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        stop(&mut self.child, Signal::TERM);
    }
}

/// The status of an answer to GET; 0 when there is none.
pub fn get(address: &str, path: &str) -> (u16, String) {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().unwrap_or_default();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer)
}

/// Asks until it is so; there is no event to wait for when the other side is another program.
pub fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The Postgres processes of a data folder.
pub fn postgres_processes(data_dir: &Path) -> Vec<Pid> {
    let server: PathBuf = fs::canonicalize(data_dir).unwrap().join("postgres");
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    let works_here =
        |pid: &Pid| fs::read_link(format!("/proc/{}/cwd", pid.as_raw_nonzero())).is_ok_and(|cwd| cwd == server);
    pids.filter(works_here).collect()
}

/// kill -9 of the server's first process.
pub fn kill9_postgres(data_dir: &Path) {
    let text = fs::read_to_string(data_dir.join("postgres/postmaster.pid")).unwrap();
    let pid = Pid::from_raw(text.lines().next().unwrap().parse().unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}
