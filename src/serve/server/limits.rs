use std::time::Duration;

use rustix::process::{Resource, getrlimit};

/// Connections of the API at most, where descriptors allow it.
const API_MAX: usize = 2048;
/// Connections of the admin listener at most: its clients are the operator's.
const ADMIN_MAX: usize = 64;
/// Descriptors that are left to the rest of the program: the admin listener, databases, sources, hosts, files.
const DESCRIPTORS_KEPT: usize = 256;
/// Connections that the API takes however few descriptors there are.
const API_MIN: usize = 64;

/// What the connections of a listener may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The listener's name in metrics.
    pub listener: &'static str,
    /// Open connections at most; half of them to one address.
    pub connections: usize,
    /// From the first byte of a request, or from the connect, to the end of its head.
    pub head: Duration,
    /// Between two requests. Longer than a minute, after which proxies close their own side: who closes first must not be we.
    pub idle: Duration,
    /// While a client takes nothing of its answer.
    pub stall: Duration,
    /// From the head of a request until its client has the last byte of the answer.
    pub answer: Duration,
}

impl Limits {
    /// Those of the API. To be asked for after the limit of descriptors has been raised.
    pub fn api() -> Self {
        let allowed = getrlimit(Resource::Nofile)
            .current
            .map_or(usize::MAX, |allowed| usize::try_from(allowed).unwrap_or(usize::MAX));
        let connections = allowed.saturating_sub(DESCRIPTORS_KEPT).clamp(API_MIN, API_MAX);
        Self { listener: "api", connections, ..Self::admin() }
    }

    /// Those of the admin listener.
    pub fn admin() -> Self {
        Self {
            listener: "admin",
            connections: ADMIN_MAX,
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            stall: Duration::from_secs(15),
            answer: Duration::from_mins(1),
        }
    }

    /// Open connections of one address at most: whatever one client does, half is left to all others.
    pub fn per_address(&self) -> usize {
        (self.connections / 2).max(1)
    }
}
