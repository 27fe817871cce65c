//! The life of one connection: open it, hand over what it brings, notice when it dies.

use std::time::{Duration, Instant};

use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::{
    sync::mpsc,
    time::{self, MissedTickBehavior},
};
use tokio_tungstenite::tungstenite::{Bytes, Message, protocol::WebSocketConfig};

use super::{
    Delivery, Dialect, Opening, Tuning,
    compression::{Inflated, Inflater},
    disconnect::Disconnect,
    first_message::{FirstMessageCheck, Seen},
    handshake::{self, Socket},
};

/// The greatest message that is read at all. Honest ones end at 5 MB; what is a little larger is left to the decoder,
/// which can say what is wrong with it.
const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// A delivery is closed at this many messages..
const DELIVERY_MESSAGES_MAX: usize = 512;
/// ..or once it holds this many bytes.
const DELIVERY_BYTES_MAX: usize = 1 << 20;

/// Connects: name resolution, TCP, TLS and upgrade within one time-out.
pub(super) async fn open(
    url: &str,
    subprotocol: Option<&'static str>,
    timeout: Duration,
) -> Result<Socket, Disconnect> {
    let config =
        WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES_MAX)).max_frame_size(Some(MESSAGE_BYTES_MAX));
    Ok(handshake::open(url, subprotocol, config, timeout).await?.socket)
}

/// Counts what a connection brings.
#[derive(Debug)]
pub(super) struct ConnectionMetrics {
    pub(super) connected: metrics::Gauge,
    pub(super) reconnects: metrics::Counter,
    messages: metrics::Counter,
    bytes: metrics::Counter,
}

impl ConnectionMetrics {
    pub(super) fn of_source(name: &str) -> Self {
        let name = name.to_owned();
        Self {
            connected: metrics::gauge!("plyr_source_connected", "source" => name.clone()),
            reconnects: metrics::counter!("plyr_source_reconnects_total", "source" => name.clone()),
            messages: metrics::counter!("plyr_source_messages_total", "source" => name.clone()),
            bytes: metrics::counter!("plyr_source_bytes_total", "source" => name),
        }
    }
}

/// Where what was read goes.
#[derive(Debug)]
pub(super) struct Sink<'a> {
    pub(super) source: usize,
    pub(super) dialect: Dialect,
    pub(super) deliveries: &'a mpsc::Sender<Delivery>,
    pub(super) metrics: &'a ConnectionMetrics,
}

/// What one connection is to be read by.
#[derive(Debug)]
pub(super) struct Session<'a> {
    pub(super) opening: Opening,
    pub(super) tuning: &'a Tuning,
    /// Reads what comes compressed.
    pub(super) inflater: Option<Inflater>,
    /// Until a message has shown where the upstream begins.
    pub(super) first_message: Option<FirstMessageCheck<'a>>,
}

/// Reads one open connection to its end.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    socket: Socket,
    sink: Sink<'a>,
    opening: Option<Opening>,
    tuning: &'a Tuning,
    inflater: Option<Inflater>,
    first_message: Option<FirstMessageCheck<'a>>,
    pending: Vec<Bytes>,
    pending_bytes: usize,
    received_at: Instant,
    received_any_at: time::Instant,
    messages: u64,
    /// How many messages there had been at the last ping.
    messages_at_ping: u64,
    /// Nothing came between the last two pings.
    was_quiet: bool,
    /// A pong has come while nothing else did, which is to be delivered.
    is_quiet: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(socket: Socket, sink: Sink<'a>, session: Session<'a>) -> Self {
        Self {
            socket,
            sink,
            opening: Some(session.opening),
            tuning: session.tuning,
            inflater: session.inflater,
            first_message: session.first_message,
            pending: Vec::new(),
            pending_bytes: 0,
            received_at: Instant::now(),
            received_any_at: time::Instant::now(),
            messages: 0,
            messages_at_ping: 0,
            was_quiet: false,
            is_quiet: false,
        }
    }

    /// Reads until the connection ends, and hands over all that it brought. Gives the end and the number of messages.
    pub(super) async fn run(mut self) -> (Disconnect, u64) {
        let ended = self.read().await;
        if !self.pending.is_empty() {
            let rest = self.take_delivery();
            if self.sink.deliveries.send(rest).await.is_err() {
                return (Disconnect::ReceiverGone, self.messages);
            }
        }
        (ended, self.messages)
    }

    /// The order of the branches matters. What can be read at once is read first, so that a delivery holds all of it; when
    /// nothing is left to read at once, the delivery goes, be it of one message. While the queue is full, reading goes on
    /// until the delivery is full too; after that the upstream has to wait. The watchdog comes last: what lies ready after
    /// such a wait, at least the answers to our pings, is read before silence is noticed.
    async fn read(&mut self) -> Disconnect {
        let mut pings = time::interval_at(time::Instant::now() + self.tuning.ping_interval, self.tuning.ping_interval);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let deliveries = self.sink.deliveries;
        loop {
            let has_room = self.pending.len() < DELIVERY_MESSAGES_MAX && self.pending_bytes < DELIVERY_BYTES_MAX;
            tokio::select! {
                biased;
                _ = pings.tick() => {
                    if let Err(ended) = self.send_ping().await {
                        return ended;
                    }
                }
                message = self.socket.next(), if has_room => {
                    if let Err(ended) = self.take_message(message) {
                        return ended;
                    }
                }
                permit = deliveries.reserve(), if !self.pending.is_empty() || self.is_quiet || self.has_loss() => match permit {
                    Ok(permit) => permit.send(self.take_delivery()),
                    Err(_) => return Disconnect::ReceiverGone,
                },
                () = time::sleep_until(self.received_any_at + self.tuning.silence_max), if has_room => {
                    return Disconnect::Broken(format!("nothing was received for {:?}", self.tuning.silence_max));
                }
            }
        }
    }

    fn take_message(
        &mut self,
        message: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>,
    ) -> Result<(), Disconnect> {
        self.received_any_at = time::Instant::now();
        let bytes: Bytes = match message {
            // The dialect says which of the two it should be; the decoder is the one to refuse the other.
            Some(Ok(Message::Text(text))) => self.count(text.into()),
            Some(Ok(Message::Binary(bytes))) => {
                let bytes = self.count(bytes);
                self.inflate(bytes)?
            }
            Some(Ok(Message::Close(frame))) => {
                // The answer to the close is six bytes and needs no waiting.
                let _ = self.socket.flush().now_or_never();
                return Err(Disconnect::of_close(frame.as_ref()));
            }
            Some(Ok(Message::Pong(_))) => {
                self.on_pong();
                return Ok(());
            }
            Some(Ok(_)) => return Ok(()),
            Some(Err(error)) => return Err(Disconnect::of_error(&error)),
            None => return Err(Disconnect::Broken("the connection ended".to_owned())),
        };
        match self.first_message.as_ref().map(|look| look.see(&bytes)) {
            Some(Seen::Ahead(lost)) => return Err(Disconnect::Ahead(lost)),
            Some(Seen::Fits) => self.first_message = None,
            Some(Seen::Nothing) | None => {}
        }
        if self.pending.is_empty() {
            self.received_at = Instant::now();
        }
        self.pending_bytes += bytes.len();
        self.pending.push(bytes);
        Ok(())
    }

    fn count(&mut self, bytes: Bytes) -> Bytes {
        self.messages += 1;
        self.sink.metrics.messages.increment(1);
        self.sink.metrics.bytes.increment(bytes.len() as u64);
        bytes
    }

    /// What would be too large to hold is handed over as it came, for the decoder to refuse.
    fn inflate(&mut self, bytes: Bytes) -> Result<Bytes, Disconnect> {
        let Some(inflater) = &mut self.inflater else { return Ok(bytes) };
        match inflater.inflate(&bytes, MESSAGE_BYTES_MAX) {
            Inflated::Message(plain) => Ok(plain),
            Inflated::TooLarge => Ok(bytes),
            Inflated::Broken(why) => {
                Err(Disconnect::Undecodable(format!("a compressed message cannot be read: {why}")))
            }
        }
    }

    /// All that the upstream had sent before this pong has been read.
    fn on_pong(&mut self) {
        if self.was_quiet && self.messages == self.messages_at_ping && self.pending.is_empty() {
            self.received_at = Instant::now();
            self.is_quiet = true;
        }
    }

    /// A loss is delivered at once, and not with the first message, which may be hours away.
    fn has_loss(&self) -> bool {
        self.opening.as_ref().is_some_and(|opening| opening.lost.is_some())
    }

    async fn send_ping(&mut self) -> Result<(), Disconnect> {
        self.was_quiet = self.messages == self.messages_at_ping;
        self.messages_at_ping = self.messages;
        match time::timeout(self.tuning.silence_max, self.socket.send(Message::Ping(Bytes::new()))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Disconnect::of_error(&error)),
            Err(_) => Err(Disconnect::Broken("it takes no pings".to_owned())),
        }
    }

    fn take_delivery(&mut self) -> Delivery {
        self.pending_bytes = 0;
        self.is_quiet = false;
        Delivery {
            source: self.sink.source,
            dialect: self.sink.dialect,
            opening: self.opening.take(),
            rewound_to: None,
            messages: std::mem::take(&mut self.pending),
            received_at: self.received_at,
        }
    }
}
