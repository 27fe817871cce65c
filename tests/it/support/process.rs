//! The program as a process: what it says line by line, signals, and the server processes that belong to it.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// A bound on every wait; long, because a machine that compiles at the same time is slow.
const PATIENCE: Duration = Duration::from_mins(2);

/// The program with nothing of the developer's own settings, and free ports.
pub fn command(data_dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plyr-likes"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("PLYR_DATA_DIR", data_dir).env("PLYR_BIND", "127.0.0.1:0").env("PLYR_ADMIN_BIND", "127.0.0.1:0");
    // Nobody listens there: the program has to live with that.
    command.env("PLYR_SOURCES", "jetstream+ws://127.0.0.1:9");
    command.args(arguments).stdin(Stdio::null());
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
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Process {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (told, lines) = channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
        Self { child, lines, seen: Vec::new() }
    }

    /// `serve`, until it serves.
    pub fn serve(data_dir: &Path) -> Self {
        let mut process = Self::start(command(data_dir, &["serve"]));
        process.wait_for("serving");
        process
    }

    /// The first line from here on that holds a text.
    pub fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("`{text}` was not said:\n{}", self.seen.join("\n")),
                Err(RecvTimeoutError::Disconnected) => panic!("ended without `{text}`:\n{}", self.seen.join("\n")),
            }
        }
    }

    /// Where it said that it answers: `api` or `admin`, as host:port.
    pub fn address(&self, name: &str) -> String {
        let said = self.seen.iter().find_map(|line| line.split_once(&format!("{name}=\"http://"))).unwrap();
        said.1.split('"').next().unwrap().to_owned()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn kill9(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// SIGTERM, and its end: how, how long it took, and all it said.
    pub fn terminate(mut self) -> (ExitStatus, Duration, String) {
        let begin = Instant::now();
        self.signal(Signal::TERM);
        let status = self.wait();
        let took = begin.elapsed();
        self.seen.extend(self.lines.iter());
        (status, took, self.seen.join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.signal(Signal::TERM);
            self.wait();
        }
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
