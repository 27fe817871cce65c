//! Server processes that an earlier run left behind: its Postgres after a kill -9 of the program, or the backends after a
//! kill -9 of Postgres. They are found by what they are (named `postgres`, working in our folder), not by a stored number,
//! which may long be another process's.

use std::{fs, path::Path, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

/// How long a server may take to write its last checkpoint.
const FAST_STOP_MAX: Duration = Duration::from_mins(1);
/// How long a process may take to end without writing anything.
const QUICK_STOP_MAX: Duration = Duration::from_secs(6);
/// The end of a process that is not our child is not reported to us.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Ends whatever still works in the server's folder, and clears the lock files that it can no longer clear.
pub async fn clear(server: &Path) {
    let postmaster = postmaster(server).filter(|pid| find(server).contains(pid));
    if let Some(pid) = postmaster {
        tracing::info!(pid = pid.as_raw_nonzero().get(), "a Postgres of an earlier run is still there: stopping it");
        signal(pid, Signal::INT);
        wait_until_gone(server, FAST_STOP_MAX).await;
    }
    for ending in [Signal::QUIT, Signal::KILL] {
        for pid in find(server) {
            signal(pid, ending);
        }
        wait_until_gone(server, QUICK_STOP_MAX).await;
    }
    // Postgres takes a lock file for live as long as its number belongs to any process, be it a zombie or an unrelated one.
    if Path::new("/proc/self/cwd").exists() {
        for name in ["postmaster.pid", ".s.PGSQL.5432.lock"] {
            if fs::remove_file(server.join(name)).is_ok() {
                tracing::debug!(name, "removed a lock file that no process held");
            }
        }
    }
}

fn postmaster(server: &Path) -> Option<Pid> {
    let text = fs::read_to_string(server.join("postmaster.pid")).ok()?;
    Pid::from_raw(text.lines().next()?.trim().parse().ok()?)
}

/// The processes named `postgres` whose working folder is `server`.
fn find(server: &Path) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    let works_here = |pid: &Pid| {
        let process = format!("/proc/{}", pid.as_raw_nonzero());
        fs::read_link(format!("{process}/cwd")).is_ok_and(|cwd| cwd == server)
            && fs::read_to_string(format!("{process}/comm")).is_ok_and(|name| name.trim() == "postgres")
    };
    pids.filter(works_here).collect()
}

fn signal(pid: Pid, signal: Signal) {
    if let Err(error) = kill_process(pid, signal) {
        tracing::debug!(pid = pid.as_raw_nonzero().get(), %error, "the process is gone already");
    }
}

async fn wait_until_gone(server: &Path, limit: Duration) {
    let deadline = Instant::now() + limit;
    while !find(server).is_empty() && Instant::now() < deadline {
        sleep(LOOK_AGAIN).await;
    }
}
