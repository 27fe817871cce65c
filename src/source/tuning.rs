use std::time::Duration;

use super::Compression;

/// What to ask for when there is no position yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// All that the upstream still keeps.
    #[default]
    Oldest,
    /// What happens from now on.
    Live,
}

/// How patient a source is, and how it reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuning {
    /// For name resolution, TCP, TLS and upgrade together.
    pub connect_timeout: Duration,
    /// Between our pings.
    pub ping_interval: Duration,
    /// With neither a message nor a ping nor a pong for so long, the connection is taken for dead.
    pub silence_max: Duration,
    /// The shortest wait before connecting again.
    pub backoff_min: Duration,
    /// The longest.
    pub backoff_max: Duration,
    /// The longest that we let an upstream make us wait by `Retry-After`.
    pub retry_after_max: Duration,
    /// How far behind the committed position a Jetstream v1 is asked to start again.
    pub rewind: Duration,
    /// How many events behind it a Jetstream v2 is asked, unless it closed the last connection in order.
    pub rewind_events: i64,
    /// Whether to ask for compressed messages.
    pub compression: Compression,
    /// Between two warnings about one upstream.
    pub warn_interval: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(30),
            silence_max: Duration::from_mins(1),
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_secs(30),
            retry_after_max: Duration::from_mins(1),
            rewind: Duration::from_secs(5),
            rewind_events: 10_000,
            compression: Compression::Auto { jetstream_v1: None },
            warn_interval: Duration::from_mins(1),
        }
    }
}
