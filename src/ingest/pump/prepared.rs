use std::time::Instant;

use tokio_tungstenite::tungstenite::Bytes;

use crate::{
    apply::{Batch, Origin},
    decode::{RawFormat, Reject},
    model::Event,
};

/// A batch to apply.
#[derive(Debug)]
pub struct PreparedBatch {
    /// What to apply.
    pub batch: Batch,
    /// The message of each event, in the same order.
    pub provenance: Vec<Provenance>,
    /// When its first message arrived.
    pub received_at: Option<Instant>,
}

/// The message that an event came in, to make a reject of when Postgres refuses it.
#[derive(Debug, Clone)]
pub struct Provenance {
    /// The place of its source.
    pub source: usize,
    /// The number of the message.
    pub position: Option<i64>,
    /// How to read it.
    pub format: RawFormat,
    /// The message.
    pub message: Bytes,
}

impl PreparedBatch {
    /// Two halves; gaps and positions go with the second, which must be applied last.
    pub fn split(self) -> (Self, Self) {
        let middle = self.batch.events.len() / 2;
        let mut first = self;
        let later_events = first.batch.events.split_off(middle);
        let later_provenance = first.provenance.split_off(middle);
        let earlier = Batch { events: std::mem::take(&mut first.batch.events), ..Batch::default() };
        let second = Self {
            batch: Batch { events: later_events, ..std::mem::replace(&mut first.batch, earlier) },
            provenance: later_provenance,
            received_at: first.received_at,
        };
        (first, second)
    }

    /// What is left when the only event has become a reject.
    pub fn refused(self, origin: Origin, reject: Reject) -> Self {
        let mut batch = Batch { events: Vec::new(), ..self.batch };
        batch.rejects.push((origin, reject));
        Self { batch, provenance: Vec::new(), received_at: self.received_at }
    }

    /// The only event, and the message that it came in.
    pub fn single(&self) -> Option<(&Event, &Provenance)> {
        match (self.batch.events.as_slice(), self.provenance.as_slice()) {
            ([event], [provenance]) => Some((event, provenance)),
            _ => None,
        }
    }
}
