use std::{sync::Arc, time::Instant};

use tokio_tungstenite::tungstenite::Bytes;

use super::{
    prepared::{PreparedBatch, Provenance},
    source_key::SourceKey,
};
use crate::{
    apply::{Batch, Delivered, Gap, GapChange, Origin, Quiet, Reached},
    atproto::Timestamp,
    decode::{self, Frame, Item, RawFormat, Reject, Undelivered, firehose, jetstream_v1, jetstream_v2},
    ingest::{
        failover::Monitor,
        gaps::Continuities,
        observe,
        received::{DecodedMessage, Received},
        verify::{VerifyJob, VerifyJobs},
    },
    model::{CollectionMap, Collections, Commit, Event, EventBody, GapReason, PositionKind, RejectReason},
    source::{Delivery, Dialect},
    store::gaps::End,
};

/// A batch in the making.
#[derive(Debug)]
pub struct BatchBuilder {
    collections: Collections,
    sources: Arc<[SourceKey]>,
    detectors: Detectors,
    batch: Batch,
    provenance: Vec<Provenance>,
    bytes: usize,
    reached: Vec<Option<Reached>>,
    received_at: Option<Instant>,
    now: Timestamp,
    is_rewound: bool,
}

/// What looks at each message on its way into a batch.
#[derive(Debug, Default)]
pub struct Detectors {
    /// Whether what a source delivers follows on what we have of it.
    pub continuities: Continuities,
    /// Compares the sources, where there are several.
    pub monitor: Option<Monitor>,
    /// Where commits are enqueued to be verified beside the stream.
    pub verify: VerifyJobs,
}

/// Of which of our collections a message holds a commit.
type Ours = CollectionMap<bool>;

/// Events in a batch at most.
const EVENTS_MAX: usize = 20_000;
/// Microseconds that a host's clock may be ahead of ours.
const AHEAD_MAX_US: i64 = 60_000_000;
/// Links that wait for something of ours, or for the next idle position, at most.
const LINKS_WAITING: usize = 2_000;
/// Bytes of messages in a batch at most, beyond which no further delivery is taken in.
const BYTES_MAX: usize = 16 << 20;

impl BatchBuilder {
    /// An empty one.
    pub fn new(collections: Collections, sources: Arc<[SourceKey]>, detectors: Detectors) -> Self {
        let reached = vec![None; sources.len()];
        Self {
            collections,
            sources,
            detectors,
            batch: Batch::default(),
            provenance: Vec::new(),
            bytes: 0,
            reached,
            received_at: None,
            now: Timestamp::from_utc(chrono::DateTime::UNIX_EPOCH),
            is_rewound: false,
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
        !self.has_rows() && self.reached.iter().all(Option::is_none) && self.batch.quiet.is_empty()
    }

    /// How often [`BatchBuilder::compare_sources`] wants to be called; none where there is nothing to compare.
    pub fn monitor_pace(&self) -> Option<std::time::Duration> {
        self.detectors.monitor.as_ref().map(Monitor::pace)
    }

    /// Looks for sources that do not deliver what others deliver. To be called when no delivery waits.
    pub fn compare_sources(&mut self) {
        if let Some(monitor) = &mut self.detectors.monitor {
            monitor.tick();
        }
    }

    /// Takes a delivery into the batch, and decodes what of it is not decoded yet.
    ///
    /// `now` is the ceiling of microsecond positions: a host's stamp from the future would later be answered with silence.
    pub fn add(&mut self, Received { delivery, decoded }: Received, now: Timestamp) {
        self.received_at.get_or_insert(delivery.received_at);
        self.now = now;
        if let Some(value) = delivery.rewound_to {
            self.rewind(delivery.source, value);
            return;
        }
        if let Some(monitor) = &mut self.detectors.monitor {
            monitor.begin(&delivery);
        }
        if let Some(until) = self.detectors.continuities.on_delivery(&delivery, now, &mut self.batch.gaps) {
            self.batch.quiet.push(Quiet { source: self.sources[delivery.source].name.clone(), until });
        }
        let Delivery { source, dialect, messages, .. } = delivery;
        let is_empty = messages.is_empty();
        let mut decoded = decoded.into_iter();
        for message in messages {
            self.bytes += message.len();
            let content = match decoded.next() {
                Some(decoded) => self.take_verified(source, decoded),
                None => decode(&self.collections, dialect, &message),
            };
            let provenance = Provenance { source, position: None, format: format_of(dialect), message };
            self.add_message(content, &provenance);
        }
        if let (false, Some(monitor), Some(Some(reached))) =
            (is_empty, &mut self.detectors.monitor, self.reached.get(source))
        {
            monitor.end(source, reached.event_at);
        }
    }

    /// What was decoded while it was verified; a commit that failed means that its repo is to be read.
    fn take_verified(&mut self, source: usize, decoded: DecodedMessage) -> decode::Message {
        if let Some((did, rev)) = decoded.unverified {
            let source = self.sources[source].name.clone();
            let change = GapChange::Repo { reason: GapReason::Proof, did, rev: Some(rev), is_ours: true };
            self.batch.gaps.push(Gap { source, change });
        }
        decoded.message
    }

    fn add_message(&mut self, message: decode::Message, provenance: &Provenance) {
        let source = &self.sources[provenance.source].name;
        match message {
            decode::Message::Frame(frame) => self.add_frame(frame, provenance),
            decode::Message::Info { name, message } => {
                tracing::warn!(%source, name, message, "upstream info");
                self.on_notice(provenance.source, &name);
            }
            decode::Message::Error { error, message } => {
                tracing::warn!(%source, error, message, "upstream error");
                self.on_notice(provenance.source, &error);
            }
        }
    }

    fn add_frame(&mut self, mut frame: Frame, provenance: &Provenance) {
        let source = self.sources[provenance.source].clone();
        self.refuse_future(&mut frame, provenance);
        self.batch.gaps.extend(frame.undelivered.take().map(|Undelivered { did, rev, is_ours }| {
            let change = GapChange::Repo { reason: GapReason::Undelivered, did, rev, is_ours };
            Gap { source: source.name.clone(), change }
        }));
        let mut ours = Ours::default();
        let mut is_legible = true;
        self.batch.links.extend(frame.link.map(|link| (source.name.clone(), link)));
        for item in frame.items {
            match item {
                Item::Event(event) => {
                    if let EventBody::Commit(commit) = &event.body {
                        let is_first = ours == Ours::default();
                        ours[commit.collection] = true;
                        self.on_commit(&event, commit, is_first, provenance);
                    }
                    self.batch.gaps.extend(sync_gap(&source.name, &event, frame.time));
                    observe::received(&event);
                    self.batch.events.push(event);
                    self.provenance.push(Provenance { position: frame.position, ..provenance.clone() });
                }
                Item::Reject(reject) => {
                    is_legible &= reject.path.is_some() || reject.reason.is_about_whole_commit();
                    self.add_reject(*reject, frame.position, provenance);
                }
            }
        }
        // A message that can't be read does not say where we are either: a number out of it may be any.
        if let (Some(kind), Some(value), true) = (source.kind, frame.position, is_legible) {
            self.advance(provenance.source, kind, Message { value, time: frame.time, ours });
        }
    }

    /// A greater rev wins for ever, so that one from the future would pin what it names. Nothing of such a frame is taken.
    fn refuse_future(&self, frame: &mut Frame, provenance: &Provenance) {
        let Some((did, rev)) = frame.rev().filter(|(_, rev)| rev.is_from_future(self.now)) else { return };
        let is_ours = frame.items.iter().any(Item::is_about_record);
        let undelivered = Undelivered { did: did.clone(), rev: Some(rev), is_ours };
        let detail = format!("the rev {rev} of {did} is of {}, which is in the future", rev.time());
        (frame.link, frame.undelivered) = (None, Some(undelivered));
        if !frame.items.is_empty() {
            let reject = Reject::of_message(RejectReason::FutureRev, detail, provenance.format, &provenance.message);
            frame.items = vec![Item::Reject(Box::new(reject))];
        }
    }

    fn on_commit(&mut self, event: &Event, commit: &Commit, is_first: bool, provenance: &Provenance) {
        if is_first && provenance.format == RawFormat::Firehose {
            self.detectors.verify.enqueue(|| VerifyJob {
                source: self.sources[provenance.source].name.clone(),
                did: event.did.clone(),
                rev: commit.rev,
                message: provenance.message.clone(),
            });
        }
        if let Some(monitor) = &mut self.detectors.monitor {
            monitor.delivered(provenance.source, &event.did, commit.collection, &commit.rkey, commit.rev);
        }
    }

    fn add_reject(&mut self, reject: Reject, position: Option<i64>, provenance: &Provenance) {
        observe::rejected(reject.reason);
        if let (Some(monitor), Some(path)) = (&mut self.detectors.monitor, &reject.path) {
            monitor.delivered(provenance.source, &path.did, path.collection, &path.rkey, path.rev);
        }
        let source = &self.sources[provenance.source];
        let origin = Origin { source: source.name.clone(), kind: source.kind, position };
        self.batch.rejects.push((origin, reject));
    }

    /// An upstream's `#info` or error may make the position useless: then the oldest takes its place.
    fn on_notice(&mut self, source: usize, name: &str) {
        let restarts = self.detectors.continuities.on_notice(source, name, &mut self.batch.gaps);
        if let (true, SourceKey { name, kind: Some(kind) }) = (restarts, &self.sources[source]) {
            self.reached[source] = Some(Reached { restarts, ..Reached::to(name.clone(), *kind, 0) });
        }
    }

    /// A message has been taken in: the position of its source moves.
    fn advance(&mut self, source: usize, kind: PositionKind, message: Message) {
        let Message { value, time, ours } = message;
        if kind == PositionKind::JetstreamV1Micros && value > self.now.micros().saturating_add(AHEAD_MAX_US) {
            return;
        }
        let at = End { value: Some(value), at: time };
        let restarts = self.detectors.continuities.on_message(source, at, self.now, &mut self.batch.gaps);
        let reached = self.reached(source, kind, value);
        reached.value = if restarts { value } else { reached.value.max(value) };
        reached.restarts |= restarts;
        reached.event_at = time.or(reached.event_at);
        for (collection, is_ours) in ours.iter() {
            if *is_ours {
                reached.ours_at = time.or(reached.ours_at);
                reached.delivered[collection] = Some(Delivered { value, event_at: time });
            }
        }
    }

    /// What was read of a source beyond this number will be read again.
    fn rewind(&mut self, source: usize, value: i64) {
        let Some(kind) = self.sources.get(source).and_then(|source| source.kind) else { return };
        let reached = self.reached(source, kind, value);
        reached.value = value;
        // Microseconds say it themselves; a sequence number's time comes with the next message.
        reached.event_at = (kind == PositionKind::JetstreamV1Micros).then(|| Timestamp::from_micros(value)).flatten();
        reached.restarts = true;
        self.is_rewound = true;
    }

    fn reached(&mut self, source: usize, kind: PositionKind, value: i64) -> &mut Reached {
        let name = &self.sources[source].name;
        self.reached[source].get_or_insert_with(|| Reached::to(name.clone(), kind, value))
    }

    /// When the upstream saw the last event in the batch of the source at a place.
    pub fn last_event_at(&self, source: usize) -> Option<Timestamp> {
        self.reached.get(source)?.as_ref()?.event_at
    }

    /// Hands the batch over and starts another.
    pub fn take(&mut self) -> PreparedBatch {
        self.bytes = 0;
        self.is_rewound = false;
        let mut batch = std::mem::take(&mut self.batch);
        batch.positions = self.reached.iter_mut().filter_map(Option::take).collect();
        let provenance = std::mem::take(&mut self.provenance);
        PreparedBatch { batch, provenance, received_at: self.received_at.take() }
    }
}

/// What a message says of its source's position.
#[derive(Clone, Copy)]
struct Message {
    value: i64,
    time: Option<Timestamp>,
    ours: Ours,
}

fn decode(collections: &Collections, dialect: Dialect, message: &Bytes) -> decode::Message {
    match dialect {
        Dialect::JetstreamV1 => decode::Message::Frame(jetstream_v1::decode_message(collections, message)),
        Dialect::JetstreamV2 => jetstream_v2::decode_message(collections, message),
        Dialect::Firehose => firehose::decode_message(collections, message),
    }
}

fn format_of(dialect: Dialect) -> RawFormat {
    match dialect {
        Dialect::JetstreamV1 => RawFormat::JetstreamV1,
        Dialect::JetstreamV2 => RawFormat::JetstreamV2,
        Dialect::Firehose => RawFormat::Firehose,
    }
}

/// A `#sync` is a gap of one repo.
fn sync_gap(source: &Arc<str>, event: &Event, at: Option<Timestamp>) -> Option<Gap> {
    let EventBody::Sync { rev } = event.body else { return None };
    Some(Gap { source: source.clone(), change: GapChange::Syncs { did: event.did.clone(), rev, at } })
}
