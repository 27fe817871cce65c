use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use super::queue::Limits;
use crate::atproto::Timestamp;

/// No entry is postponed for longer than this.
const POSTPONE_MAX: Duration = Duration::from_hours(1);

/// Entries that wait for their hosts, and which of them is read next: the host that was read from the longest ago, a few at a time.
pub(super) struct Fairness<E> {
    limits: Limits,
    hosts: HashMap<String, Host<E>>,
    reading: usize,
    starts: u64,
    /// No reading begins before.
    start_from: Instant,
}

struct Host<E> {
    active: usize,
    waiting: VecDeque<E>,
    /// Which of all readings was the last of this host.
    last_start: u64,
    /// When it last answered, or began to be read from.
    moved_at: Instant,
    /// Between two of its answers, as of late.
    pace: Duration,
    /// Until then it is occupied with entries that were postponed.
    busy_until: Timestamp,
}

/// Which reading begins next.
pub(super) enum Next<E> {
    /// This one, now.
    Start { host: String, entry: E },
    /// One may begin then.
    At(Instant),
    /// None until another ends or is added.
    None,
}

impl<E> Fairness<E> {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, hosts: HashMap::new(), reading: 0, starts: 0, start_from: Instant::now() }
    }

    /// When to come back with an entry of a host for which too many wait already.
    pub(super) fn postpone(&mut self, host: &str, now: Timestamp) -> Option<Timestamp> {
        let places = u32::try_from(self.limits.per_host).unwrap_or(1).max(1);
        let host = self.hosts.get_mut(host)?;
        if host.waiting.len() < self.limits.waiting_per_host_max {
            return None;
        }
        // One that has not answered for long is not about to.
        let pace = if host.active == 0 { host.pace } else { host.pace.max(host.moved_at.elapsed() / places) };
        host.busy_until = host.busy_until.max(now).plus(pace).min(now.plus(POSTPONE_MAX));
        Some(host.busy_until)
    }

    /// Has an entry wait for its host.
    pub(super) fn add(&mut self, host: String, entry: E, now: Timestamp) {
        let pace = self.limits.pace;
        let host = self.hosts.entry(host).or_insert_with(|| Host {
            active: 0,
            waiting: VecDeque::new(),
            last_start: 0,
            moved_at: Instant::now(),
            pace,
            busy_until: now,
        });
        host.waiting.push_back(entry);
    }

    /// The reading that begins next, if bounds and pace allow one.
    pub(super) fn next(&mut self) -> Next<E> {
        if self.reading >= self.limits.in_all {
            return Next::None;
        }
        let per_host = self.limits.per_host;
        let ready = self.hosts.iter_mut().filter(|(_, host)| host.active < per_host && !host.waiting.is_empty());
        let Some((name, host)) = ready.min_by_key(|(_, host)| host.last_start) else { return Next::None };
        if Instant::now() < self.start_from {
            return Next::At(self.start_from);
        }
        let Some(entry) = host.waiting.pop_front() else { return Next::None };
        if host.active == 0 {
            host.moved_at = Instant::now();
        }
        self.starts += 1;
        self.reading += 1;
        (host.active, host.last_start) = (host.active + 1, self.starts);
        self.start_from = Instant::now() + self.limits.pace;
        Next::Start { host: name.clone(), entry }
    }

    /// A reading of a host has ended after this long.
    pub(super) fn end(&mut self, host: &str, took: Duration) {
        self.reading -= 1;
        let places = u32::try_from(self.limits.per_host).unwrap_or(1).max(1);
        if let Some(host) = self.hosts.get_mut(host) {
            host.active -= 1;
            (host.moved_at, host.pace) = (Instant::now(), (host.pace * 3 + took / places) / 4);
        }
    }

    /// Forgets hosts of which nothing is read, waits or was postponed.
    pub(super) fn forget_idle(&mut self, now: Timestamp) {
        self.hosts.retain(|_, host| host.active > 0 || !host.waiting.is_empty() || host.busy_until > now);
    }
}
