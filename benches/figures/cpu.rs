//! Seconds of processor time, as the kernel counts them: of a process, of a Postgres with all its connections, of everything.

use std::{fs, io};

/// What the kernel counts in.
const TICKS_PER_S: f64 = 100.0;

/// Processor time of all that take part in a figure, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Cpu {
    /// Of the program.
    pub program: f64,
    /// Of the server, with the connections that have ended.
    pub postgres: f64,
    /// Of the bench, in which the fake network runs.
    pub network: f64,
    /// Of everything on the machine.
    pub machine: f64,
}

impl Cpu {
    /// What has been used until now. `postmaster` is the server's first process.
    pub fn read(program: u32, postmaster: u32) -> anyhow::Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        let line = stat.lines().next().unwrap_or_default();
        // user, nice, system, then idle and waiting, then interrupts of two kinds.
        let ticks: Vec<f64> = line.split_whitespace().skip(1).map_while(|field| field.parse().ok()).collect();
        let busy: f64 = ticks.iter().take(7).enumerate().filter(|(at, _)| !matches!(at, 3 | 4)).map(|(_, t)| t).sum();
        Ok(Self {
            program: Process::read(program)?.own_s,
            postgres: of_server(postmaster)?,
            network: Process::read(std::process::id())?.own_s,
            machine: busy / TICKS_PER_S,
        })
    }

    /// What has been used since.
    pub fn since(self, before: Self) -> Self {
        Self {
            program: self.program - before.program,
            postgres: self.postgres - before.postgres,
            network: self.network - before.network,
            machine: self.machine - before.machine,
        }
    }

    /// What others have used, who take no part.
    pub fn others(self) -> f64 {
        (self.machine - self.program - self.postgres - self.network).max(0.0)
    }
}

/// The parent of a process.
pub fn parent(pid: u32) -> anyhow::Result<u32> {
    Ok(Process::read(pid)?.parent)
}

struct Process {
    parent: u32,
    own_s: f64,
    /// Of its children that have ended.
    ended_s: f64,
}

impl Process {
    fn read(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name, in brackets, may hold anything.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
        Ok(Self {
            parent: fields.get(1).and_then(|field| field.parse().ok()).unwrap_or_default(),
            own_s: (ticks(11) + ticks(12)) / TICKS_PER_S,
            ended_s: (ticks(13) + ticks(14)) / TICKS_PER_S,
        })
    }
}

fn of_server(postmaster: u32) -> anyhow::Result<f64> {
    let first = Process::read(postmaster)?;
    let mut seconds = first.own_s + first.ended_s;
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that has ended meanwhile is among those that have ended.
        if let Ok(process) = Process::read(pid)
            && process.parent == postmaster
        {
            seconds += process.own_s;
        }
    }
    Ok(seconds)
}
