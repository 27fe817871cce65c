use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use super::queue::Limits;
use crate::{
    atproto::Timestamp,
    pds::{Group, Groups},
};

/// No entry is postponed for longer than this.
const POSTPONE_MAX: Duration = Duration::from_hours(1);
/// How long one is postponed whose host has not shown how fast it is.
const POSTPONE_UNKNOWN: Duration = Duration::from_secs(2);
/// A group is slow from this on, on average of a reading.
const SLOW: Duration = Duration::from_secs(5);
/// Groups that are remembered without a reading. One forgotten begins again as unknown, which is as if it was slow.
const GROUPS_MAX: usize = 4096;

/// Entries that wait for their hosts, and which of them is read next: the host that was read from the longest ago, a few at a time.
///
/// Names below one domain, or of one address, are easily made many. So each such group has a share of all readings: three quarters while
/// they end soon, so that a provider with most accounts has most of the readings and others find some free; a quarter while they
/// do not, or none has ended yet. All those that are not known to end soon have half of the readings together: however many domains
/// drip, the other half is for those that do not.
pub(super) struct Fairness<E> {
    limits: Limits,
    hosts: HashMap<String, Host<E>>,
    groups: HashMap<Group, Load>,
    reading: usize,
    /// Of those, at hosts that were not known to be quick.
    unproven: usize,
    starts: u64,
    /// No reading begins before.
    start_from: Instant,
}

struct Host<E> {
    groups: Groups,
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

/// What is read from a group of hosts.
#[derive(Default)]
struct Load {
    active: usize,
    /// How long a reading takes, as of late; none before one has ended.
    takes: Option<Duration>,
    /// Until then it is occupied with entries that were postponed.
    busy_until: Option<Timestamp>,
}

impl Load {
    fn is_quick(&self) -> bool {
        self.takes.is_some_and(|takes| takes < SLOW)
    }

    fn share(&self, in_all: usize) -> usize {
        let share = if self.is_quick() { in_all * 3 / 4 } else { in_all / 4 };
        share.max(1)
    }
}

/// A reading that has begun.
pub(super) struct Turn {
    host: String,
    groups: Groups,
    is_proven: bool,
}

/// Which reading begins next.
pub(super) enum Next<E> {
    /// This one, now.
    Start { turn: Turn, entry: E },
    /// One may begin then.
    At(Instant),
    /// None until another ends or is added.
    None,
}

impl<E> Fairness<E> {
    pub(super) fn new(limits: Limits) -> Self {
        let (hosts, groups) = (HashMap::new(), HashMap::new());
        Self { limits, hosts, groups, reading: 0, unproven: 0, starts: 0, start_from: Instant::now() }
    }

    /// When to come back with an entry for whose host, or its groups, too many wait already.
    pub(super) fn postpone(&mut self, host: &str, groups: &Groups, now: Timestamp) -> Option<Timestamp> {
        self.postpone_by_host(host, now).max(self.postpone_by_group(groups, now))
    }

    fn postpone_by_host(&mut self, host: &str, now: Timestamp) -> Option<Timestamp> {
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

    /// Those that are not quick take no more of the places than leaves some for others.
    fn postpone_by_group(&mut self, groups: &Groups, now: Timestamp) -> Option<Timestamp> {
        if self.is_proven(groups) {
            return None;
        }
        let waiting = |is_meant: &dyn Fn(&Groups) -> bool| -> usize {
            self.hosts.values().filter(|host| is_meant(&host.groups)).map(|host| host.waiting.len()).sum()
        };
        let is_full = waiting(&|others| !self.is_proven(others)) >= self.limits.taken_max / 2
            || waiting(&|others| others.iter().any(|group| groups.contains(group))) >= self.limits.taken_max / 4;
        if !is_full {
            return None;
        }
        let places = u32::try_from(self.limits.in_all / 4).unwrap_or(1).max(1);
        let until = groups.iter().map(|group| {
            let load = self.groups.entry(group.clone()).or_default();
            let Some(takes) = load.takes else { return now.plus(POSTPONE_UNKNOWN) };
            let until = load.busy_until.max(Some(now)).unwrap_or(now).plus(takes / places);
            *load.busy_until.insert(until.clamp(now.plus(POSTPONE_UNKNOWN), now.plus(POSTPONE_MAX)))
        });
        until.max()
    }

    /// Has an entry wait for its host.
    pub(super) fn add(&mut self, host: String, groups: Groups, entry: E, now: Timestamp) {
        let pace = self.limits.pace;
        let host = self.hosts.entry(host).or_insert_with(|| Host {
            groups: Groups::default(),
            active: 0,
            waiting: VecDeque::new(),
            last_start: 0,
            moved_at: Instant::now(),
            pace,
            busy_until: now,
        });
        host.groups = groups;
        host.waiting.push_back(entry);
    }

    /// The reading that begins next, if bounds and pace allow one.
    pub(super) fn next(&mut self) -> Next<E> {
        if self.reading >= self.limits.in_all {
            return Next::None;
        }
        let ready = self.hosts.iter().filter(|(_, host)| self.may_start(host));
        let Some((name, _)) = ready.min_by_key(|(_, host)| host.last_start) else { return Next::None };
        if Instant::now() < self.start_from {
            return Next::At(self.start_from);
        }
        let name = name.clone();
        let Some(host) = self.hosts.get_mut(&name) else { return Next::None };
        let Some(entry) = host.waiting.pop_front() else { return Next::None };
        if host.active == 0 {
            host.moved_at = Instant::now();
        }
        self.starts += 1;
        (host.active, host.last_start) = (host.active + 1, self.starts);
        let groups = host.groups.clone();
        let turn = Turn { host: name, is_proven: self.is_proven(&groups), groups };
        self.reading += 1;
        self.unproven += usize::from(!turn.is_proven);
        for group in turn.groups.iter() {
            self.groups.entry(group.clone()).or_default().active += 1;
        }
        self.start_from = Instant::now() + self.limits.pace;
        Next::Start { turn, entry }
    }

    fn may_start(&self, host: &Host<E>) -> bool {
        let in_all = self.limits.in_all;
        let has_share = |group| {
            let (none, load) = (Load::default(), self.groups.get(group));
            let load = load.unwrap_or(&none);
            load.active < load.share(in_all)
        };
        !host.waiting.is_empty()
            && host.active < self.limits.per_host
            && host.groups.iter().all(has_share)
            && (self.is_proven(&host.groups) || self.unproven < (in_all / 2).max(1))
    }

    /// Whether a host's readings are known to end soon. One of the operator, which has no groups, is trusted.
    fn is_proven(&self, groups: &Groups) -> bool {
        groups.iter().all(|group| self.groups.get(group).is_some_and(Load::is_quick))
    }

    /// A reading has ended after this long; none where it came to nothing, and says nothing of its host.
    pub(super) fn end(&mut self, turn: &Turn, took: Option<Duration>) {
        self.reading -= 1;
        self.unproven -= usize::from(!turn.is_proven);
        for group in turn.groups.iter() {
            let Some(load) = self.groups.get_mut(group) else { continue };
            load.active -= 1;
            if let Some(took) = took {
                load.takes = Some(load.takes.map_or(took, |takes| (takes * 7 + took) / 8));
            }
        }
        let places = u32::try_from(self.limits.per_host).unwrap_or(1).max(1);
        let Some(host) = self.hosts.get_mut(&turn.host) else { return };
        host.active -= 1;
        if let Some(took) = took {
            (host.moved_at, host.pace) = (Instant::now(), (host.pace * 3 + took / places) / 4);
        }
    }

    /// Forgets hosts of which nothing is read, waits or was postponed.
    pub(super) fn forget_idle(&mut self, now: Timestamp) {
        self.hosts.retain(|_, host| host.active > 0 || !host.waiting.is_empty() || host.busy_until > now);
        if self.groups.len() > GROUPS_MAX {
            self.groups.retain(|_, load| load.active > 0);
        }
    }
}
