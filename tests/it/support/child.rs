//! The program as a child: a clean environment, what it says, and its end.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader},
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};

const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const WAIT_INTERVAL: Duration = Duration::from_millis(20);
/// What a failure shows of the log.
const LOG_LINES_SHOWN: usize = 60;

/// The program with nothing of the developer's own settings: the one that was built with the tests, or, for a long run, the one that
/// `PLYR_TEST_PROGRAM` names.
pub fn program() -> Command {
    let named = std::env::var_os("PLYR_TEST_PROGRAM");
    let mut command = Command::new(named.unwrap_or_else(|| env!("CARGO_BIN_EXE_plyr-likes").into()));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
    // No directory listens there: invented DIDs must not be looked up on the real network.
    command.env("PLYR_PLC_URL", "http://127.0.0.1:9");
    command
}

/// Sends a signal and waits for the end; kills when it takes too long. Does nothing to one that has ended.
pub fn stop(child: &mut Child, signal: Signal) -> ExitStatus {
    if let Ok(Some(status)) = child.try_wait() {
        return status;
    }
    let pid = Pid::from_child(child);
    rustix::process::kill_process(pid, signal).expect("our own child takes signals");
    let deadline = Instant::now() + STOP_TIMEOUT;
    loop {
        match child.try_wait().expect("our own child can be waited for") {
            Some(status) => return status,
            None if Instant::now() > deadline => {
                eprintln!("the program did not end within {STOP_TIMEOUT:?} of {signal:?}: killed");
                child.kill().expect("our own child can be killed");
            }
            None => std::thread::sleep(WAIT_INTERVAL),
        }
    }
}

/// What the program has written to stderr so far.
#[derive(Default)]
pub struct Log {
    lines: Mutex<Lines>,
    grown: Condvar,
}

#[derive(Default)]
struct Lines {
    all: Vec<String>,
    is_ended: bool,
}

impl Log {
    /// Follows it on a thread of its own.
    pub fn follow(stderr: ChildStderr) -> Arc<Self> {
        let log = Arc::new(Self::default());
        let written = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                written.lock().all.push(line);
                written.grown.notify_all();
            }
            written.lock().is_ended = true;
            written.grown.notify_all();
        });
        log
    }

    /// What `find` finds in the first line from `from` on that has it, and where the next line is; none when the log ends or
    /// the time is over before.
    pub fn wait_for<T>(&self, from: usize, find: impl Fn(&str) -> Option<T>, timeout: Duration) -> Option<(usize, T)> {
        let deadline = Instant::now() + timeout;
        let mut lines = self.lock();
        loop {
            let found = lines.all.iter().enumerate().skip(from).find_map(|(at, line)| Some((at + 1, find(line)?)));
            if found.is_some() {
                return found;
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            if lines.is_ended {
                return None;
            }
            lines = self.grown.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Its last lines, indented.
    pub fn tail(&self) -> String {
        let lines = self.lock();
        let first = lines.all.len().saturating_sub(LOG_LINES_SHOWN);
        lines.all[first..].iter().fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "  {line}");
            text
        })
    }

    /// All of it, once it has ended.
    pub fn whole(&self) -> String {
        let mut lines = self.lock();
        while !lines.is_ended {
            lines = self.grown.wait(lines).unwrap_or_else(PoisonError::into_inner);
        }
        lines.all.join("\n")
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
