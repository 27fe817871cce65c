use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::{
    Connection, Delivery, Dialect, Opening, SourceSpec, Start, Tuning,
    compression::{self, Agreement, Inflater},
    connection::{self, ConnectionMetrics, Reader, Session, Sink},
    cursor_strategy::{CursorStrategy, Margin},
    disconnect::Disconnect,
    first_message::FirstMessageCheck,
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
    /// How the connection is.
    pub connection: watch::Sender<Connection>,
    /// How patient to be.
    pub tuning: Tuning,
    /// The time.
    pub clock: Clock,
}

/// Follows an upstream until cancelled. Connects again after every fault, from the last committed position; only when the
/// upstream refuses what we ask for does it stay away, says so, and waits to be cancelled. Ends early only when the
/// receiver of the deliveries is gone. Prompt to end wherever it waits; what was read and not yet handed over is dropped then,
/// since no position stands for it.
pub async fn follow(follow: Follow, cancel: CancellationToken) {
    let mut follower = Follower::new(follow);
    let ended = cancel.run_until_cancelled(Box::pin(follower.run())).await;
    follower.metrics.connected.set(0.0);
    if ended == Some(GaveUp::Refused) {
        cancel.cancelled().await;
    }
}

/// How often in a row a connection is made again at once: each way to ask is tried once, with room to spare.
const IMMEDIATE_MAX: u32 = 8;

/// Why a follower gave up.
#[derive(Debug, PartialEq, Eq)]
enum GaveUp {
    Refused,
    ReceiverGone,
}

#[derive(Debug)]
struct Follower {
    follow: Follow,
    cursors: CursorStrategy,
    agreement: Agreement,
    /// What to offer, as long as the upstream takes it.
    subprotocol: Option<&'static str>,
    /// How the last connection ended; of the one before our start nothing is known.
    closed_in_order: bool,
    /// Connections in a row that were made again at once, because something else was to be asked for.
    immediate: u32,
    name: Arc<str>,
    metrics: ConnectionMetrics,
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
            cursors: CursorStrategy {
                spec: follow.spec.clone(),
                collections: follow.collections.clone(),
                start: follow.start,
                clock: follow.clock.clone(),
                fallback: None,
            },
            agreement: Agreement::new(follow.tuning.compression.clone(), follow.spec.dialect),
            subprotocol: (follow.spec.dialect == Dialect::JetstreamV2).then_some(jetstream_v2::SUBPROTOCOL),
            closed_in_order: false,
            immediate: 0,
            metrics: ConnectionMetrics::of_source(&name),
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

    async fn run(&mut self) -> GaveUp {
        self.metrics.connected.set(0.0);
        loop {
            let committed = self.follow.committed.borrow().clone();
            let margin = self.margin();
            let (url, opening) = self.cursors.next(committed, margin);
            self.asked.clone_from(&opening.committed);
            let began = Instant::now();
            let (ended, messages) = self.connect(url, opening.clone()).await;
            self.closed_in_order = matches!(ended, Disconnect::Closed(_));
            let lasted = began.elapsed();
            // A single message may be the error before a close: coming back at once would only bring it again.
            if messages > 1 || lasted >= self.follow.tuning.backoff_max {
                self.failures = 0;
                self.immediate = 0;
            }
            let (reason, delay) = match self.after(ended, &opening) {
                Ok(waiting) => waiting,
                Err(gave_up) => return gave_up,
            };
            self.report_waiting(reason);
            time::sleep(delay).await;
            self.count_stalls(messages);
        }
    }

    /// One connection from its address to its end.
    async fn connect(&mut self, mut url: String, opening: Opening) -> (Disconnect, u64) {
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
        self.report_connected(&url);
        let (dialect, collections) = (self.follow.spec.dialect, &self.follow.collections);
        let first_message = self.cursors.least(&opening).map(|least| FirstMessageCheck { dialect, collections, least });
        let sink = Sink {
            source: self.follow.index,
            dialect: self.follow.spec.dialect,
            deliveries: &self.follow.deliveries,
            metrics: &self.metrics,
        };
        let session = Session { opening, tuning: &self.follow.tuning, inflater, first_message };
        let ended = Reader::new(socket, sink, session).run().await;
        self.metrics.connected.set(0.0);
        ended
    }

    /// What follows from an end: a reason and a wait, or giving up.
    fn after(&mut self, ended: Disconnect, opening: &Opening) -> Result<(String, Duration), GaveUp> {
        match ended {
            Disconnect::TooOld(message) => {
                self.cursors.on_too_old(opening, &message);
                Ok(self.at_once(format!("it no longer keeps what follows our position: {message}")))
            }
            Disconnect::Ahead(lost) => {
                self.cursors.on_ahead(opening, lost);
                Ok(self.at_once(
                    "our position is not in its past: it started a new sequence, or our database was restored"
                        .to_owned(),
                ))
            }
            Disconnect::UnknownDictionary(reason) => {
                self.agreement.refused(&self.follow.spec);
                Ok(self.at_once(reason))
            }
            Disconnect::Undecodable(reason) => {
                self.agreement.go_plain(&self.follow.spec, &reason);
                Ok(self.at_once(reason))
            }
            Disconnect::NoSubprotocol => {
                self.subprotocol = None;
                Ok(self.at_once("it names no subprotocol".to_owned()))
            }
            Disconnect::Closed(reason) | Disconnect::Broken(reason) => Ok((reason, self.back_off())),
            Disconnect::Rejected(reason) => {
                // It will hardly change its mind soon.
                self.failures = u32::MAX;
                Ok((reason, self.back_off()))
            }
            Disconnect::Busy(reason, asked_for) => {
                let asked_for = asked_for.unwrap_or_default().min(self.follow.tuning.retry_after_max);
                Ok((reason, self.back_off().max(asked_for)))
            }
            Disconnect::Refused(reason) => {
                error!(source = %self.name, reason, "the upstream refuses what we ask for; the settings must change");
                self.follow.connection.send_replace(Connection::Refused { reason });
                Err(GaveUp::Refused)
            }
            Disconnect::ReceiverGone => Err(GaveUp::ReceiverGone),
        }
    }

    /// The pause before the next connection: longer after each failure.
    fn back_off(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.backoff.pause(self.failures, rand::random())
    }

    /// At once, since something else will be asked for; but not for ever.
    fn at_once(&mut self, reason: String) -> (String, Duration) {
        self.immediate += 1;
        let delay = if self.immediate > IMMEDIATE_MAX { self.back_off() } else { Duration::ZERO };
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

    fn report_connected(&mut self, url: &str) {
        self.metrics.connected.set(1.0);
        if self.connections > 0 {
            self.metrics.reconnects.increment(1);
        }
        self.connections += 1;
        if self.outage.connected() {
            info!(source = %self.name, url, connections = self.connections, "connected");
        } else {
            debug!(source = %self.name, url, connections = self.connections, "connected again");
        }
        self.follow.connection.send_replace(Connection::Connected);
    }

    fn report_waiting(&mut self, reason: String) {
        if let Some(failures) = self.outage.failed(Instant::now()) {
            warn!(source = %self.name, reason, failures, "no connection; trying again");
        } else {
            debug!(source = %self.name, reason, "no connection; trying again");
        }
        self.follow.connection.send_replace(Connection::Waiting { reason });
    }
}
