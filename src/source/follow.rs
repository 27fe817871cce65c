use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::{
    Connection, Delivery, Opening, Position, SourceSpec,
    approach::Approach,
    backoff::Backoff,
    connection::{self, Meters, Outlet, Reader},
    ended::Ended,
    outage::Outage,
};
use crate::{clock::Clock, decode::Collections};

/// One upstream to follow, and how it is tied to the rest.
#[derive(Debug)]
pub struct Follow {
    /// Which of the sources, by its place in the settings: [`Delivery::source`].
    pub index: usize,
    /// Which upstream.
    pub spec: SourceSpec,
    /// What to ask for, where the upstream can be asked.
    pub collections: Collections,
    /// What to ask for when there is no position yet.
    pub start: Start,
    /// The last position of this source that is in the database. Read whenever a connection is made.
    pub committed: watch::Receiver<Option<Position>>,
    /// Where messages go. When it is full, reading stops.
    pub deliveries: mpsc::Sender<Delivery>,
    /// Tells how the connection is.
    pub connection: watch::Sender<Connection>,
    /// How patient to be.
    pub tuning: Tuning,
    /// The time.
    pub clock: Clock,
}

/// What to ask for when there is no position yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// All that the upstream still keeps.
    #[default]
    Oldest,
    /// What happens from now on.
    Live,
}

/// How patient a source is.
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
    /// How far behind the committed position a Jetstream is asked to start again.
    pub rewind: Duration,
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
            warn_interval: Duration::from_mins(1),
        }
    }
}

/// Follows an upstream until cancelled. Connects again after every fault, from the last committed position; only when the
/// upstream refuses what we ask for does it stay away, says so, and waits to be cancelled. Ends early only when the
/// receiver of the deliveries is gone. Prompt to end wherever it waits; what was read and not yet handed over is dropped then,
/// since no position stands for it.
pub async fn follow(follow: Follow, cancel: CancellationToken) {
    let mut follower = Follower::new(follow);
    let ended = cancel.run_until_cancelled(Box::pin(follower.run())).await;
    follower.meters.connected.set(0.0);
    if ended == Some(Left::Refused) {
        cancel.cancelled().await;
    }
}

/// Why a follower gave up.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    Refused,
    Unwanted,
}

#[derive(Debug)]
struct Follower {
    follow: Follow,
    approach: Approach,
    name: Arc<str>,
    meters: Meters,
    backoff: Backoff,
    outage: Outage,
    /// Where the last connection started from.
    asked: Option<Position>,
    /// Connections in a row that brought something, but no progress.
    stalls: u32,
    connections: u64,
}

impl Follower {
    fn new(follow: Follow) -> Self {
        let name = follow.spec.name();
        Self {
            approach: Approach {
                spec: follow.spec.clone(),
                collections: follow.collections.clone(),
                start: follow.start,
                clock: follow.clock.clone(),
            },
            meters: Meters::of_source(&name),
            backoff: Backoff::new(follow.tuning.backoff_min, follow.tuning.backoff_max),
            outage: Outage::new(follow.tuning.warn_interval),
            name,
            follow,
            asked: None,
            stalls: 0,
            connections: 0,
        }
    }

    async fn run(&mut self) -> Left {
        self.meters.connected.set(0.0);
        loop {
            let committed = self.follow.committed.borrow().clone();
            let rewind = self.follow.tuning.rewind / 2_u32.pow(self.stalls.min(31));
            let (url, opening) = self.approach.next(committed, rewind);
            self.asked.clone_from(&opening.committed);
            let began = Instant::now();
            let (ended, messages) = self.connect(&url, opening).await;
            let lasted = began.elapsed();
            // A single message may be the error before a close: hurrying back would only bring it again.
            if messages > 1 || lasted >= self.follow.tuning.backoff_max {
                self.backoff.reset();
            }
            let (reason, delay) = match self.judge(ended) {
                Ok(waiting) => waiting,
                Err(left) => return left,
            };
            self.tell_waiting(reason);
            time::sleep(delay).await;
            self.count_stalls(messages);
        }
    }

    /// One connection from its address to its end.
    async fn connect(&mut self, url: &str, opening: Opening) -> (Ended, u64) {
        let socket = match connection::open(url, self.follow.tuning.connect_timeout).await {
            Ok(socket) => socket,
            Err(ended) => return (ended, 0),
        };
        self.tell_connected(url);
        let outlet = Outlet {
            source: self.follow.index,
            dialect: self.follow.spec.dialect,
            deliveries: &self.follow.deliveries,
            meters: &self.meters,
        };
        let ended = Reader::new(socket, outlet, (opening, &self.follow.tuning)).run().await;
        self.meters.connected.set(0.0);
        ended
    }

    /// What follows from an end: a reason and a wait, or giving up.
    fn judge(&mut self, ended: Ended) -> Result<(String, Duration), Left> {
        let jitter = rand::random();
        match ended {
            Ended::Broken(reason) => Ok((reason, self.backoff.next(jitter))),
            Ended::Rejected(reason) => Ok((reason, self.backoff.longest(jitter))),
            Ended::Busy(reason, asked_for) => {
                let asked_for = asked_for.unwrap_or_default().min(self.follow.tuning.retry_after_max);
                Ok((reason, self.backoff.next(jitter).max(asked_for)))
            }
            Ended::Refused(reason) => {
                error!(source = %self.name, reason, "the upstream refuses what we ask for; the settings must change");
                self.follow.connection.send_replace(Connection::Refused { reason });
                Err(Left::Refused)
            }
            Ended::Unwanted => Err(Left::Unwanted),
        }
    }

    /// An upstream that always closes before it has passed the margin would send the same messages for ever. So the margin
    /// is halved as long as connections bring messages and the position stays. If messages of ours still wait in the
    /// queue, the position stays because of us, and that does not count.
    fn count_stalls(&mut self, messages: u64) {
        let progress = *self.follow.committed.borrow() > self.asked;
        let queue_is_empty = self.follow.deliveries.capacity() == self.follow.deliveries.max_capacity();
        if progress {
            self.stalls = 0;
        } else if messages > 0 && queue_is_empty {
            self.stalls = self.stalls.saturating_add(1);
        }
    }

    fn tell_connected(&mut self, url: &str) {
        self.meters.connected.set(1.0);
        if self.connections > 0 {
            self.meters.reconnects.increment(1);
        }
        self.connections += 1;
        if self.outage.connected() {
            info!(source = %self.name, url, connections = self.connections, "connected");
        } else {
            debug!(source = %self.name, url, connections = self.connections, "connected again");
        }
        self.follow.connection.send_replace(Connection::Connected);
    }

    fn tell_waiting(&mut self, reason: String) {
        if let Some(failures) = self.outage.failed(Instant::now()) {
            warn!(source = %self.name, reason, failures, "no connection; trying again");
        } else {
            debug!(source = %self.name, reason, "no connection; trying again");
        }
        self.follow.connection.send_replace(Connection::Waiting { reason });
    }
}
