use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use metrics::gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Group, HostError};
use crate::{atproto::Timestamp, clock::Clock, retry::Backoff};

/// Failures in a row that open a host's circuit.
const FAILURES_MAX: u32 = 5;
/// How long its circuit stays open: longer each time that the probe after it fails too.
const BREAK_MIN: Duration = Duration::from_secs(10);
const BREAK_MAX: Duration = Duration::from_mins(30);
const BREAK: Backoff = Backoff::new(BREAK_MIN, BREAK_MAX);
/// The pause of a host that throttles without a `Retry-After`, and the longest that any host gets whatever it says.
const THROTTLE_MAX: Duration = Duration::from_mins(15);
const THROTTLE: Backoff = Backoff::new(Duration::from_secs(5), THROTTLE_MAX);
/// Hosts that are remembered. Those forgotten begin again as unknown.
const HOSTS_MAX: usize = 4096;

/// What is known of each host: how many requests run, since when it fails, until when it is not asked. Clones share it.
#[derive(Clone)]
pub(super) struct Hosts(Arc<Inner>);

struct Inner {
    of_name: Mutex<HashMap<Box<str>, Arc<Host>>>,
    of_group: Mutex<HashMap<Group, Arc<Semaphore>>>,
    places: Places,
    clock: Clock,
    /// Gives numbers from 0 to 1.
    jitter: Box<dyn Fn() -> f64 + Send + Sync>,
}

/// Requests at the same time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    pub(super) per_host: usize,
    pub(super) per_group: usize,
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

/// The right to send one request. What comes of it must be reported; otherwise nothing is learnt of it.
pub(super) struct Admission {
    hosts: Hosts,
    host: Arc<Host>,
    is_probe: bool,
    _permits: Vec<OwnedSemaphorePermit>,
}

/// What a host's answer says of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// It works.
    Works,
    /// It is away, or broken.
    Fails,
    /// It asks for patience, and perhaps says how long.
    Throttles(Option<Duration>),
}

impl Hosts {
    pub(super) fn new(places: Places, clock: Clock, jitter: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        let (of_name, of_group, jitter) = (Mutex::default(), Mutex::default(), Box::new(jitter));
        Self(Arc::new(Inner { of_name, of_group, places, clock, jitter }))
    }

    /// Waits for a free place among the requests to a host, and to those of its groups. Refuses at once while the host throttles or its circuit
    /// is open.
    pub(super) async fn admit(&self, name: &str, groups: &[Group]) -> Result<Admission, HostError> {
        let host = self.find(name, self.0.clock.now());
        host.lock().refuse(self.0.clock.now())?;
        // In one order, so that no two wait for each other.
        let places = groups.iter().collect::<BTreeSet<_>>().into_iter().map(|group| self.places_of(group));
        let mut permits = Vec::new();
        for places in [host.permits.clone()].into_iter().chain(places) {
            let permit = places.acquire_owned().await;
            permits.push(permit.map_err(|_| HostError::Unreachable("the program stops".to_owned()))?);
        }
        let is_probe = host.lock().admit(self.0.clock.now())?;
        Ok(Admission { hosts: self.clone(), host, is_probe, _permits: permits })
    }

    fn places_of(&self, group: &Group) -> Arc<Semaphore> {
        let mut groups = lock(&self.0.of_group);
        if groups.len() >= HOSTS_MAX {
            // Those without a request have all their places.
            groups.retain(|_, places| Arc::strong_count(places) > 1);
        }
        let places = groups.entry(group.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.0.places.per_group)));
        places.clone()
    }

    fn find(&self, name: &str, now: Timestamp) -> Arc<Host> {
        let mut hosts = lock(&self.0.of_name);
        if let Some(host) = hosts.get(name) {
            return host.clone();
        }
        if hosts.len() >= HOSTS_MAX {
            forget_half(&mut hosts);
        }
        let state = State { used_at: Some(now), ..State::default() };
        let host =
            Arc::new(Host { permits: Arc::new(Semaphore::new(self.0.places.per_host)), state: Mutex::new(state) });
        hosts.insert(name.into(), host.clone());
        host
    }

    /// Sets the gauge of hosts whose circuit is open.
    pub(super) fn measure(&self) {
        let broken = lock(&self.0.of_name).values().filter(|host| host.lock().broken_until.is_some()).count();
        gauge!("plyr_hosts_broken").set(u32::try_from(broken).unwrap_or(u32::MAX));
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

impl Admission {
    /// Reports what came of the request. Gives the moment until which the host is not asked.
    pub(super) fn report(&mut self, health: Health) -> Option<Timestamp> {
        self.is_probe = false;
        let until = self.host.lock().report(health, self.now(), (self.hosts.0.jitter)());
        if health != Health::Works {
            self.hosts.measure();
        }
        until
    }

    pub(super) fn now(&self) -> Timestamp {
        self.hosts.0.clock.now()
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Drop for Admission {
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

    fn report(&mut self, health: Health, now: Timestamp, jitter: f64) -> Option<Timestamp> {
        self.is_probing = false;
        match health {
            Health::Works => {
                (self.failures, self.throttles) = (0, 0);
                (self.throttled_until, self.broken_until) = (None, None);
                None
            }
            Health::Fails => {
                self.failures = self.failures.saturating_add(1);
                let beyond = self.failures.checked_sub(FAILURES_MAX)?;
                self.broken_until = Some(now.plus(BREAK.pause(beyond, jitter)));
                self.broken_until
            }
            // A host that can ask for patience is not broken.
            Health::Throttles(asked) => {
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
