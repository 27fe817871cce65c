use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::HostError;
use crate::{atproto::Timestamp, retry::Backoff};

/// Failures in a row from which on a host is left alone.
const FAILURES_MAX: u32 = 5;
/// How long its circuit stays open: longer each time that the probe after it fails too.
const BREAK_MIN: Duration = Duration::from_secs(10);
const BREAK_MAX: Duration = Duration::from_mins(30);
const BREAK: Backoff = Backoff::new(BREAK_MIN, BREAK_MAX);
/// The pause of a host that throttles without a `Retry-After`, and the longest that any host gets whatever it says.
const THROTTLE_MAX: Duration = Duration::from_mins(15);
const THROTTLE: Backoff = Backoff::new(Duration::from_secs(5), THROTTLE_MAX);
/// Hosts that are remembered. Those forgotten begin anew.
const HOSTS_MAX: usize = 4096;

/// What is known of each host: how many requests run, since when it fails, how long it wants to be left alone.
#[derive(Debug)]
pub(super) struct Hosts {
    of_name: Mutex<HashMap<Box<str>, Arc<Host>>>,
    per_host: usize,
}

/// What is known of one.
#[derive(Debug)]
pub(super) struct Host {
    permits: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used_at: Option<Timestamp>,
    failures: u32,
    throttles: u32,
    throttled_until: Option<Timestamp>,
    broken_until: Option<Timestamp>,
    is_probing: bool,
}

/// The right to send one request. What comes of it must be told; otherwise nothing is learnt of it.
#[derive(Debug)]
pub(super) struct Pass {
    host: Arc<Host>,
    is_probe: bool,
    _permit: OwnedSemaphorePermit,
}

/// What a host's answer says of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It works.
    Works,
    /// It is away, or broken.
    Fails,
    /// It asks for patience, and perhaps says how long.
    Throttles(Option<Duration>),
}

impl Hosts {
    pub(super) fn new(per_host: usize) -> Self {
        Self { of_name: Mutex::default(), per_host }
    }

    /// Waits for a free place among the requests to a host. Refuses at once while the host is to be left alone.
    pub(super) async fn admit(&self, name: &str, now: impl Fn() -> Timestamp) -> Result<Pass, HostError> {
        let host = self.find(name, now());
        host.lock().refuse(now())?;
        let permit = host.permits.clone().acquire_owned().await;
        let permit = permit.map_err(|_| HostError::Unreachable("the program stops".to_owned()))?;
        let is_probe = host.lock().admit(now())?;
        Ok(Pass { host, is_probe, _permit: permit })
    }

    fn find(&self, name: &str, now: Timestamp) -> Arc<Host> {
        let mut hosts = lock(&self.of_name);
        if let Some(host) = hosts.get(name) {
            return host.clone();
        }
        if hosts.len() >= HOSTS_MAX {
            forget_half(&mut hosts);
        }
        let state = State { used_at: Some(now), ..State::default() };
        let host = Arc::new(Host { permits: Arc::new(Semaphore::new(self.per_host)), state: Mutex::new(state) });
        hosts.insert(name.into(), host.clone());
        host
    }

    /// How many hosts are left alone because they fail.
    pub(super) fn count_broken(&self) -> usize {
        lock(&self.of_name).values().filter(|host| host.lock().broken_until.is_some()).count()
    }
}

/// Forgets the half that was used least lately, without those that are being asked.
fn forget_half(hosts: &mut HashMap<Box<str>, Arc<Host>>) {
    let mut times: Vec<_> = hosts.values().map(|host| host.lock().used_at).collect();
    times.sort_unstable();
    let middle = times.get(times.len() / 2).copied().flatten();
    hosts.retain(|_, host| Arc::strong_count(host) > 1 || host.lock().used_at > middle);
}

impl Host {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Pass {
    /// Tells what came of the request. `jitter` is from 0 to 1. Gives the moment until which the host is to be left alone.
    pub(super) fn tell(&mut self, verdict: Verdict, now: Timestamp, jitter: f64) -> Option<Timestamp> {
        self.is_probe = false;
        self.host.lock().tell(verdict, now, jitter)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.is_probe {
            // The attempt was given up before it came to anything: the next one is the attempt.
            self.host.lock().is_probing = false;
        }
    }
}

impl State {
    fn refuse(&self, now: Timestamp) -> Result<(), HostError> {
        if let Some(until) = self.throttled_until.filter(|until| is_ahead(*until, now, THROTTLE_MAX)) {
            return Err(HostError::Throttled { until });
        }
        match self.broken_until {
            Some(until) if is_ahead(until, now, BREAK_MAX) => Err(HostError::BrokenCircuit { until }),
            Some(_) if self.is_probing => Err(HostError::BrokenCircuit { until: now.plus(BREAK_MIN) }),
            _ => Ok(()),
        }
    }

    /// True for the one attempt that a broken circuit lets through.
    fn admit(&mut self, now: Timestamp) -> Result<bool, HostError> {
        self.refuse(now)?;
        self.used_at = Some(now);
        self.is_probing = self.broken_until.is_some();
        Ok(self.is_probing)
    }

    fn tell(&mut self, verdict: Verdict, now: Timestamp, jitter: f64) -> Option<Timestamp> {
        self.is_probing = false;
        match verdict {
            Verdict::Works => {
                (self.failures, self.throttles) = (0, 0);
                (self.throttled_until, self.broken_until) = (None, None);
                None
            }
            Verdict::Fails => {
                self.failures = self.failures.saturating_add(1);
                let beyond = self.failures.checked_sub(FAILURES_MAX)?;
                self.broken_until = Some(now.plus(BREAK.pause(beyond, jitter)));
                self.broken_until
            }
            // A host that can ask for patience is not broken.
            Verdict::Throttles(asked) => {
                (self.failures, self.broken_until) = (0, None);
                let unasked = THROTTLE.pause(self.throttles, jitter);
                self.throttles = self.throttles.saturating_add(1);
                let patience = asked.unwrap_or(unasked).clamp(Duration::from_secs(1), THROTTLE_MAX);
                self.throttled_until = Some(now.plus(patience)).max(self.throttled_until);
                self.throttled_until
            }
        }
    }
}

/// Whether a moment is yet to come. One further ahead than it was ever set says that the clock was set back.
fn is_ahead(until: Timestamp, now: Timestamp, max: Duration) -> bool {
    now < until && until <= now.plus(max)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is inside is whole after each statement, so that a panic elsewhere spoils nothing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
