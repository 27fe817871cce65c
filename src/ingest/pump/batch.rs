use std::{sync::Arc, time::Instant};

use tokio_tungstenite::tungstenite::Bytes;

use crate::{
    apply::{Batch, Gap, GapChange, Origin, Proof, Reached},
    atproto::Timestamp,
    decode::{self, Frame, Item, RawFormat, Reject, firehose, jetstream_v1, jetstream_v2},
    ingest::{
        failover::Monitor,
        gaps::Continuities,
        observe,
        verify::{Claim, Claims, Heard, Read},
    },
    model::{Collections, Event, EventBody, PositionKind},
    source::{Dialect, SourceSpec},
};

/// Where deliveries come from.
#[derive(Debug, Clone)]
pub struct Feeder {
    /// The source's name in tables and metrics.
    pub name: Arc<str>,
    /// The number space of its positions; none for a recorded log, which is always read from its start.
    pub kind: Option<PositionKind>,
}

impl Feeder {
    /// The feeder that a source of the settings is.
    pub fn of_source(spec: &SourceSpec) -> Self {
        Self { name: spec.name(), kind: Some(spec.dialect.position_kind()) }
    }

    /// The feeder that a recorded log is.
    pub fn of_log() -> Self {
        Self { name: "replay".into(), kind: None }
    }
}

/// The message that an event came in, to make a reject of when Postgres refuses it.
#[derive(Debug, Clone)]
pub struct Trace {
    /// Which feeder.
    pub feeder: usize,
    /// The number of the message.
    pub position: Option<i64>,
    /// How to read it.
    pub format: RawFormat,
    /// The message.
    pub message: Bytes,
}

/// A batch in the making.
#[derive(Debug)]
pub struct Pending {
    collections: Collections,
    feeders: Arc<[Feeder]>,
    batch: Batch,
    traces: Vec<Trace>,
    bytes: usize,
    reached: Vec<Option<Reached>>,
    continuities: Continuities,
    claims: Claims,
    received_at: Option<Instant>,
    now: Timestamp,
    is_rewound: bool,
    monitor: Option<Monitor>,
}

/// Which of our collections a message told of, in the order of [`Collection::ALL`](crate::model::Collection::ALL).
#[derive(Debug, Default, Clone, Copy)]
struct Told([bool; 4]);

impl Told {
    fn is_any(self) -> bool {
        self.0.contains(&true)
    }
}

/// A batch to apply.
#[derive(Debug)]
pub struct Shipment {
    /// What to apply.
    pub batch: Batch,
    /// The message of each event, in the same order.
    pub traces: Vec<Trace>,
    /// When its first message arrived.
    pub received_at: Option<Instant>,
}

/// Events in a batch at most.
const EVENTS_MAX: usize = 20_000;
/// Microseconds that a host's clock may be ahead of ours.
const AHEAD_MAX_US: i64 = 60_000_000;
/// Links that wait for something of ours, or for the next idle position, at most.
const LINKS_WAITING: usize = 2_000;
/// Bytes of messages in a batch at most, beyond which no further delivery is taken in.
const BYTES_MAX: usize = 16 << 20;

impl Pending {
    /// An empty one.
    pub fn new(
        collections: Collections,
        feeders: Arc<[Feeder]>,
        (continuities, monitor, claims): (Continuities, Option<Monitor>, Claims),
    ) -> Self {
        let reached = vec![None; feeders.len()];
        Self {
            collections,
            feeders,
            batch: Batch::default(),
            traces: Vec::new(),
            bytes: 0,
            reached,
            continuities,
            claims,
            received_at: None,
            now: Timestamp::from_utc(chrono::DateTime::UNIX_EPOCH),
            is_rewound: false,
            monitor,
        }
    }

    /// Whether another delivery may be taken in.
    pub fn has_room(&self) -> bool {
        self.batch.events.len() + self.batch.rejects.len() + self.batch.links.len() < EVENTS_MAX
            && self.bytes < BYTES_MAX
    }

    /// Whether there is anything but positions that can wait, or so many links that they should not wait for it.
    pub fn has_rows(&self) -> bool {
        self.is_rewound
            || !self.batch.events.is_empty()
            || !self.batch.rejects.is_empty()
            || !self.batch.gaps.is_empty()
            || self.batch.links.len() >= LINKS_WAITING
    }

    /// Whether there is nothing at all.
    pub fn is_empty(&self) -> bool {
        !self.has_rows() && self.reached.iter().all(Option::is_none) && self.batch.rests.is_empty()
    }

    /// Takes a delivery into the batch, and decodes what of it is not decoded yet.
    ///
    /// `now` bounds what is believed of microsecond positions: a host's stamp from the future would later be
    /// answered with silence.
    pub fn absorb(&mut self, Heard { delivery, read }: Heard, now: Timestamp) {
        self.received_at.get_or_insert(delivery.received_at);
        self.now = now;
        if let Some(value) = delivery.rewound_to {
            self.rewind(delivery.source, value);
            return;
        }
        if let Some(monitor) = &mut self.monitor {
            monitor.begin(&delivery);
        }
        if let Some(until) = self.continuities.take(&delivery, now, &mut self.batch.gaps) {
            self.batch.rests.push((self.feeders[delivery.source].name.clone(), until));
        }
        let is_empty = delivery.messages.is_empty();
        let mut read = read.into_iter();
        for message in delivery.messages {
            self.bytes += message.len();
            let (decoded, format) = match (read.next(), delivery.dialect) {
                (Some(Read { message: decoded, unproven }), _) => {
                    let source = &self.feeders[delivery.source].name;
                    let gap = |(did, rev)| Gap { source: source.clone(), change: GapChange::Unproven { did, rev } };
                    self.batch.gaps.extend(unproven.map(gap));
                    (decoded, RawFormat::Firehose)
                }
                (None, Dialect::JetstreamV1) => {
                    let frame = jetstream_v1::decode_message(&self.collections, &message);
                    (decode::Message::Frame(frame), RawFormat::JetstreamV1)
                }
                (None, Dialect::JetstreamV2) => {
                    (jetstream_v2::decode_message(&self.collections, &message), RawFormat::JetstreamV2)
                }
                (None, Dialect::Firehose) => {
                    (firehose::decode_message(&self.collections, &message), RawFormat::Firehose)
                }
            };
            let frame = match decoded {
                decode::Message::Frame(frame) => frame,
                decode::Message::Info { name, message } => {
                    tracing::warn!(source = %self.feeders[delivery.source].name, name, message, "upstream says");
                    self.hear(delivery.source, &name);
                    continue;
                }
                decode::Message::Error { error, message } => {
                    tracing::warn!(source = %self.feeders[delivery.source].name, error, message, "upstream fails");
                    self.hear(delivery.source, &error);
                    continue;
                }
            };
            self.take_frame(frame, &Trace { feeder: delivery.source, position: None, format, message });
        }
        if let (false, Some(monitor), Some(Some(reached))) =
            (is_empty, &mut self.monitor, self.reached.get(delivery.source))
        {
            monitor.end(delivery.source, reached.event_at);
        }
    }

    fn take_frame(&mut self, frame: Frame, trace: &Trace) {
        let feeder = &self.feeders[trace.feeder];
        let mut ours = Told::default();
        let mut is_legible = true;
        self.batch.links.extend(frame.link.map(|link| (feeder.name.clone(), link)));
        for item in frame.items {
            match item {
                Item::Event(event) => {
                    if let EventBody::Commit(commit) = &event.body {
                        if !ours.is_any() && trace.format == RawFormat::Firehose {
                            self.claims.leave(|| Claim {
                                source: feeder.name.clone(),
                                did: event.did.clone(),
                                rev: commit.rev,
                                message: trace.message.clone(),
                            });
                        }
                        ours.0[commit.collection as usize] = true;
                        if let Some(monitor) = &mut self.monitor {
                            monitor.delivered(trace.feeder, &event.did, commit.collection, &commit.rkey, commit.rev);
                        }
                    }
                    self.batch.gaps.extend(sync(&feeder.name, &event, frame.time));
                    observe::received(&event);
                    self.batch.events.push(event);
                    self.traces.push(Trace { position: frame.position, ..trace.clone() });
                }
                Item::Reject(reject) => {
                    observe::rejected(reject.reason);
                    is_legible &= reject.path.is_some() || reject.reason.is_about_proof();
                    if let (Some(monitor), Some(path)) = (&mut self.monitor, &reject.path) {
                        monitor.delivered(trace.feeder, &path.did, path.collection, &path.rkey, path.rev);
                    }
                    let origin = Origin {
                        source: feeder.name.clone(),
                        kind: feeder.kind.map(PositionKind::as_str),
                        position: frame.position,
                    };
                    self.batch.rejects.push((origin, *reject));
                }
            }
        }
        // A message that can't be read does not say where we are either: a number out of it may be any.
        if let (Some(kind), Some(value), true) = (feeder.kind, frame.position, is_legible) {
            self.advance(trace.feeder, kind, value, (frame.time, ours));
        }
    }

    /// What an upstream tells of a connection may make the position useless: then the oldest takes its place.
    fn hear(&mut self, feeder: usize, name: &str) {
        let restarts = self.continuities.hear(feeder, name, &mut self.batch.gaps);
        if let (true, Some(kind)) = (restarts, self.feeders[feeder].kind) {
            let source = self.feeders[feeder].name.clone();
            self.reached[feeder] = Some(Reached { restarts, ..Reached::to(source, kind.as_str(), 0) });
        }
    }

    fn advance(&mut self, feeder: usize, kind: PositionKind, value: i64, (time, ours): (Option<Timestamp>, Told)) {
        if kind == PositionKind::JetstreamV1Micros && value > self.now.micros().saturating_add(AHEAD_MAX_US) {
            return;
        }
        let restarts = self.continuities.pass(feeder, (value, time), self.now, &mut self.batch.gaps);
        let name = &self.feeders[feeder].name;
        let reached = self.reached[feeder].get_or_insert_with(|| Reached::to(name.clone(), kind.as_str(), value));
        reached.value = if restarts { value } else { reached.value.max(value) };
        reached.restarts |= restarts;
        reached.event_at = time.or(reached.event_at);
        for (proof, told) in reached.proofs.iter_mut().zip(ours.0) {
            if told {
                reached.ours_at = time.or(reached.ours_at);
                *proof = Some(Proof { value, event_at: time });
            }
        }
    }

    /// What was read of a source beyond this number will be read again.
    fn rewind(&mut self, feeder: usize, value: i64) {
        let Some(Feeder { name, kind: Some(kind) }) = self.feeders.get(feeder) else { return };
        let reached = self.reached[feeder].get_or_insert_with(|| Reached::to(name.clone(), kind.as_str(), value));
        reached.value = value;
        // Microseconds say it themselves; a sequence number's time comes with the next message.
        reached.event_at = (*kind == PositionKind::JetstreamV1Micros).then(|| Timestamp::from_micros(value)).flatten();
        reached.restarts = true;
        self.is_rewound = true;
    }

    /// Finds what the sources have missed. To be called about once in a second, when nothing waits to be taken in.
    pub fn tick(&mut self) {
        if let Some(monitor) = &mut self.monitor {
            monitor.tick();
        }
    }

    /// Hands the batch over and starts another.
    pub fn take(&mut self) -> Shipment {
        self.bytes = 0;
        self.is_rewound = false;
        let mut batch = std::mem::take(&mut self.batch);
        batch.positions = self.reached.iter_mut().filter_map(Option::take).collect();
        Shipment { batch, traces: std::mem::take(&mut self.traces), received_at: self.received_at.take() }
    }
}

impl Shipment {
    /// Cuts the shipment in two; gaps and positions go with the second half, which must come last.
    pub fn split(self) -> (Self, Self) {
        let middle = self.batch.events.len() / 2;
        let mut first = self;
        let later_events = first.batch.events.split_off(middle);
        let later_traces = first.traces.split_off(middle);
        let earlier = Batch { events: std::mem::take(&mut first.batch.events), ..Batch::default() };
        let second = Self {
            batch: Batch { events: later_events, ..std::mem::replace(&mut first.batch, earlier) },
            traces: later_traces,
            received_at: first.received_at,
        };
        (first, second)
    }

    /// What is left when the only event has become a reject.
    pub fn refused(self, reject: (Origin, Reject)) -> Self {
        let mut batch = Batch { events: Vec::new(), ..self.batch };
        batch.rejects.push(reject);
        Self { batch, traces: Vec::new(), received_at: self.received_at }
    }

    /// The only event, and the message that it came in.
    pub fn single(&self) -> Option<(&Event, &Trace)> {
        match (self.batch.events.as_slice(), self.traces.as_slice()) {
            ([event], [trace]) => Some((event, trace)),
            _ => None,
        }
    }
}

/// What an event says of gaps by itself.
fn sync(source: &Arc<str>, event: &Event, at: Option<Timestamp>) -> Option<Gap> {
    let EventBody::Sync { rev } = event.body else { return None };
    Some(Gap { source: source.clone(), change: GapChange::Syncs { did: event.did.clone(), rev, at } })
}
