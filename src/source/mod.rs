//! Upstreams: one file per dialect, each a task that connects, reads, reconnects and hands over what it read.
//!
//! Contract: a source hands over messages in the order of its connection, waits when the queue is full, never gives up on
//! a transient fault, and resumes from the last *committed* position of its own number space. Does not know that a
//! database exists, nor what the messages mean, but for the
//! first of a connection, which shows whether it began where it was asked to.

mod compression;
mod connection;
mod cursor_strategy;
mod disconnect;
mod firehose;
mod first_message;
mod follow;
mod handshake;
mod jetstream_v1;
mod jetstream_v2;
mod log;
mod outage;
mod spec;
mod tls;
mod tuning;

pub use compression::{Compression, Dictionary, NoDictionary};
pub use firehose::FirehoseSeq;
pub use follow::{Follow, follow};
pub use handshake::probe;
pub use jetstream_v1::JetstreamMicros;
pub use jetstream_v2::JetstreamSeq;
pub use log::{LINE_BYTES_MAX, LogError, LogSummary, OpenLog, open_log, read_log};
pub use spec::{Dialect, SourceSpec, SpecError};
pub use tuning::{Start, Tuning};

use std::sync::Arc;

use tokio_tungstenite::tungstenite::Bytes;

use crate::model::Position;

/// A position of one source was given where another's is meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a position of {} ({} {}) is of no use to {wanted}", found.source, found.kind.as_str(), found.value)]
pub struct ForeignPosition {
    /// The source that was to be asked.
    pub wanted: Arc<str>,
    /// What was given.
    pub found: Position,
}

/// What a source hands over: messages of one dialect, in order, as they came (decompressed).
#[derive(Debug)]
pub struct Delivery {
    /// Which of the sources, by its place in the settings.
    pub source: usize,
    /// How to read the messages.
    pub dialect: Dialect,
    /// How the connection began, with the first delivery of each connection.
    pub opening: Option<Opening>,
    /// From here on the source is read again from this position of its own, behind what has been read of it. Such a delivery
    /// holds nothing else.
    pub rewound_to: Option<i64>,
    /// May be empty where there is an opening. Without one, an empty delivery means that nothing had come between
    /// two pings, and that the upstream answered the second.
    pub messages: Vec<Bytes>,
    /// When the first of them, or the answer, arrived.
    pub received_at: std::time::Instant,
}

/// How a connection began: what its first messages are checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// The last committed position of this source when the connection was made; none where there was none.
    pub committed: Option<Position>,
    /// What the upstream was asked for.
    pub asked: Asked,
    /// Why it was not asked for what follows the committed position.
    pub lost: Option<Lost>,
}

/// Where an upstream was asked to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// With this number, in the source's own number space.
    From(i64),
    /// With the oldest that it keeps.
    Oldest,
    /// With what happens from now on.
    Live,
}

/// Why what follows a committed position is not to be had from this upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// The upstream says that it no longer keeps what follows the position.
    TooOld,
    /// The upstream, or our clock, says that the position lies in the future.
    Future,
    /// The stored position is of another number space or host.
    Mismatch,
    /// The upstream started a new sequence: it began below the number that it was asked for.
    Reset,
}

/// The state of a source's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// Not yet tried.
    Starting,
    /// Not followed at present: a standby, or one that was incomplete.
    Paused,
    /// The upstream accepted us.
    Connected,
    /// Waiting to try again, with the reason in one sentence.
    Waiting {
        /// What went wrong.
        reason: String,
    },
    /// The upstream said that we will never be accepted like this: the settings must change.
    Refused {
        /// What it said.
        reason: String,
    },
}
