use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::{
    Compression, Connection, Delivery, Dialect, Opening, SourceSpec,
    approach::{Approach, Margin},
    compression::{self, Agreement, Inflater},
    connection::{self, Meters, Outlet, Reader, Session},
    ended::Ended,
    first::FirstLook,
    jetstream_v2,
    outage::Outage,
};
use crate::{
    clock::Clock,
    model::{Collections, Position},
    retry::Backoff,
};

/// One upstream to follow, and how it is tied to the rest.
#[derive(Debug, Clone)]
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

/// How often in a row a connection is made again at once: each way to ask is tried once, with room to spare.
const HURRIES_MAX: u32 = 8;

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
    agreement: Agreement,
    /// What to offer, as long as the upstream takes it.
    subprotocol: Option<&'static str>,
    /// How the last connection ended; of the one before our start nothing is known.
    closed_in_order: bool,
    /// Connections in a row that were made again at once, because something else was to be asked for.
    hurries: u32,
    name: Arc<str>,
    meters: Meters,
    backoff: Backoff,
    /// Connections in a row that brought nothing.
    failures: u32,
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
                detour: None,
            },
            agreement: Agreement::new(follow.tuning.compression.clone(), follow.spec.dialect),
            subprotocol: (follow.spec.dialect == Dialect::JetstreamV2).then_some(jetstream_v2::SUBPROTOCOL),
            closed_in_order: false,
            hurries: 0,
            meters: Meters::of_source(&name),
            backoff: Backoff::new(follow.tuning.backoff_min, follow.tuning.backoff_max),
            failures: 0,
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
            let margin = self.margin();
            let (url, opening) = self.approach.next(committed, margin);
            self.asked.clone_from(&opening.committed);
            let began = Instant::now();
            let (ended, messages) = self.connect(url, opening.clone()).await;
            self.closed_in_order = matches!(ended, Ended::Closed(_));
            let lasted = began.elapsed();
            // A single message may be the error before a close: hurrying back would only bring it again.
            if messages > 1 || lasted >= self.follow.tuning.backoff_max {
                self.failures = 0;
                self.hurries = 0;
            }
            let (reason, delay) = match self.judge(ended, &opening) {
                Ok(waiting) => waiting,
                Err(left) => return left,
            };
            self.tell_waiting(reason);
            time::sleep(delay).await;
            self.count_stalls(messages);
        }
    }

    /// One connection from its address to its end.
    async fn connect(&mut self, mut url: String, opening: Opening) -> (Ended, u64) {
        let timeout = self.follow.tuning.connect_timeout;
        let dictionary = self.agreement.dictionary(&self.follow.spec, timeout).await;
        let inflater = dictionary.and_then(|dictionary| {
            let inflater = Inflater::new(dictionary.clone()).ok()?;
            url.push_str(&compression::parameter(self.follow.spec.dialect, &dictionary));
            Some(inflater)
        });
        let socket = match connection::open(&url, self.subprotocol, timeout).await {
            Ok(socket) => socket,
            Err(ended) => return (ended, 0),
        };
        self.tell_connected(&url);
        let (dialect, collections) = (self.follow.spec.dialect, &self.follow.collections);
        let first_look = self.approach.least(&opening).map(|least| FirstLook { dialect, collections, least });
        let outlet = Outlet {
            source: self.follow.index,
            dialect: self.follow.spec.dialect,
            deliveries: &self.follow.deliveries,
            meters: &self.meters,
        };
        let session = Session { opening, tuning: &self.follow.tuning, inflater, first_look };
        let ended = Reader::new(socket, outlet, session).run().await;
        self.meters.connected.set(0.0);
        ended
    }

    /// What follows from an end: a reason and a wait, or giving up.
    fn judge(&mut self, ended: Ended, opening: &Opening) -> Result<(String, Duration), Left> {
        match ended {
            Ended::TooOld(said) => {
                self.approach.too_old(opening, &said);
                Ok(self.hurry(format!("it no longer keeps what follows our position: {said}")))
            }
            Ended::Ahead(lost) => {
                self.approach.ahead(opening, lost);
                Ok(self.hurry("our position is not in its past: it counts anew, or we were set back".to_owned()))
            }
            Ended::UnknownDictionary(reason) => {
                self.agreement.refused(&self.follow.spec);
                Ok(self.hurry(reason))
            }
            Ended::Undecodable(reason) => {
                self.agreement.go_plain(&self.follow.spec, &reason);
                Ok(self.hurry(reason))
            }
            Ended::NoSubprotocol => {
                self.subprotocol = None;
                Ok(self.hurry("it names no subprotocol".to_owned()))
            }
            Ended::Closed(reason) | Ended::Broken(reason) => Ok((reason, self.back_off())),
            Ended::Rejected(reason) => {
                // It will hardly change its mind soon.
                self.failures = u32::MAX;
                Ok((reason, self.back_off()))
            }
            Ended::Busy(reason, asked_for) => {
                let asked_for = asked_for.unwrap_or_default().min(self.follow.tuning.retry_after_max);
                Ok((reason, self.back_off().max(asked_for)))
            }
            Ended::Refused(reason) => {
                error!(source = %self.name, reason, "the upstream refuses what we ask for; the settings must change");
                self.follow.connection.send_replace(Connection::Refused { reason });
                Err(Left::Refused)
            }
            Ended::Unwanted => Err(Left::Unwanted),
        }
    }

    /// The pause before the next connection: longer after each failure.
    fn back_off(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.backoff.pause(self.failures, rand::random())
    }

    /// At once, since something else will be asked for; but not for ever.
    fn hurry(&mut self, reason: String) -> (String, Duration) {
        self.hurries += 1;
        let delay = if self.hurries > HURRIES_MAX { self.back_off() } else { Duration::ZERO };
        (reason, delay)
    }

    /// How far behind the committed position to ask.
    fn margin(&self) -> Margin {
        let share = self.stalls.min(31);
        let events = if self.closed_in_order { 0 } else { self.follow.tuning.rewind_events >> share };
        Margin { time: self.follow.tuning.rewind / 2_u32.pow(share), events }
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
