use std::{hash::BuildHasher as _, time::Duration};

use foldhash::fast::RandomState;
use tokio::sync::watch;

use super::{
    Patience,
    detect::{Delivered, Detector, Score},
};
use crate::{
    atproto::{Did, RecordKey, Tid, Timestamp},
    clock::Clock,
    model::Collection,
    source::{Connection, Delivery},
};

/// Feeds the detector with what is read, and publishes the scores.
#[derive(Debug)]
pub struct Monitor {
    detector: Detector,
    connections: Vec<watch::Receiver<Connection>>,
    scores: watch::Sender<Vec<Score>>,
    clock: Clock,
    hasher: RandomState,
    pace: Duration,
}

/// A source as the monitor sees it.
#[derive(Debug)]
pub struct Monitored {
    /// How its connection is.
    pub connection: watch::Receiver<Connection>,
    /// Whether it carries all repos. One that does not is a witness only.
    pub carries_all: bool,
}

impl Monitor {
    /// Compares these sources, in the order of their places.
    pub fn new(sources: Vec<Monitored>, scores: watch::Sender<Vec<Score>>, patience: &Patience, clock: Clock) -> Self {
        let carries_all: Vec<bool> = sources.iter().map(|source| source.carries_all).collect();
        Self {
            detector: Detector::new(&carries_all, patience),
            connections: sources.into_iter().map(|source| source.connection).collect(),
            scores,
            clock,
            hasher: RandomState::default(),
            pace: patience.pace(),
        }
    }

    /// How often [`Monitor::tick`] wants to be called.
    pub fn pace(&self) -> Duration {
        self.pace
    }

    /// A delivery begins.
    pub fn begin(&mut self, delivery: &Delivery) {
        if delivery.opening.is_some() {
            self.detector.begin(delivery.source);
        }
    }

    /// A source delivered a commit of ours, be it valid or not.
    pub fn delivered(&mut self, source: usize, did: &Did, collection: Collection, rkey: &RecordKey, rev: Tid) {
        let key = self.hasher.hash_one((did.as_str(), collection, rkey.as_str(), rev.number()));
        let delivered = Delivered { source, key, collection, written_us: rev.time().micros() };
        self.detector.delivered(delivered, self.clock.now().micros());
    }

    /// A delivery has ended; `event_at` is when its upstream saw the last of it.
    pub fn end(&mut self, source: usize, event_at: Option<Timestamp>) {
        self.detector.end(source, event_at.map(Timestamp::micros), self.clock.now().micros());
    }

    /// Time went by in which all that was delivered has been taken in.
    pub fn tick(&mut self) {
        let is_connected = |connection: &watch::Receiver<Connection>| *connection.borrow() == Connection::Connected;
        let connected: Vec<bool> = self.connections.iter().map(is_connected).collect();
        self.detector.tick(&connected, self.clock.now().micros());
        let scores = self.detector.scores();
        self.scores.send_if_modified(|sent| {
            let is_new = *sent != scores;
            *sent = scores;
            is_new
        });
    }
}
