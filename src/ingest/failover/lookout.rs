use std::time::Duration;

use tokio::{sync::watch, time::Instant};

use super::{
    comparison::{Comparison, Heard, Moment, Score},
    patience::Patience,
};
use crate::{
    atproto::{Did, RecordKey, Tid, Timestamp},
    clock::Clock,
    model::Collection,
    source::{Connection, Delivery},
};

/// Feeds the comparison with what is read, and tells the scores.
#[derive(Debug)]
pub struct Lookout {
    comparison: Comparison,
    connections: Vec<watch::Receiver<Connection>>,
    scores: watch::Sender<Vec<Score>>,
    clock: Clock,
    pace: Duration,
    awake: Duration,
    looked_at: Instant,
    now: Moment,
}

/// A source as the comparison sees it.
#[derive(Debug)]
pub struct Watched {
    /// How its connection is.
    pub connection: watch::Receiver<Connection>,
    /// Whether it carries the whole network. One that does not is a witness only.
    pub is_whole: bool,
}

impl Lookout {
    /// Compares these sources, in the order of their places.
    pub fn new(watched: Vec<Watched>, scores: watch::Sender<Vec<Score>>, (patience, clock): (Patience, Clock)) -> Self {
        let pace = (patience.grace / 4).min(Duration::from_secs(1));
        let is_whole = watched.iter().map(|source| source.is_whole).collect();
        let now = Moment { awake: Duration::ZERO, wall_us: clock.now().micros() };
        Self {
            comparison: Comparison::new(is_whole, patience),
            connections: watched.into_iter().map(|source| source.connection).collect(),
            scores,
            clock,
            pace,
            awake: Duration::ZERO,
            looked_at: Instant::now(),
            now,
        }
    }

    /// How often [`Lookout::settle`] wants to be called.
    pub fn pace(&self) -> Duration {
        self.pace
    }

    /// A delivery begins.
    pub fn begin(&mut self, delivery: &Delivery) {
        self.look();
        if delivery.opening.is_some() {
            self.comparison.reconnected(delivery.source, self.now);
        }
    }

    /// A delivery brought a commit of ours, be it valid or not.
    pub fn hear(&mut self, source: usize, did: &Did, (collection, rkey, rev): (Collection, &RecordKey, Tid)) {
        let key = self.comparison.key(did, collection, (rkey, rev));
        self.comparison.hear(Heard { source, key, collection, written_us: rev.time().micros() }, self.now);
    }

    /// A delivery has ended; `told_at` is when its upstream saw the last of it.
    pub fn end(&mut self, source: usize, told_at: Option<Timestamp>) {
        self.comparison.delivery(source, told_at.map(Timestamp::micros), self.now);
    }

    /// Judges what is due, and tells the scores if they have changed.
    pub fn settle(&mut self) {
        self.look();
        self.awake = self.now.awake;
        self.looked_at = Instant::now();
        for (source, connection) in self.connections.iter().enumerate() {
            let is_connected = *connection.borrow() == Connection::Connected;
            self.comparison.connection(source, is_connected, self.now);
        }
        self.comparison.settle(self.now);
        let scores = self.comparison.scores();
        self.scores.send_if_modified(|told| {
            let is_new = *told != scores;
            *told = scores;
            is_new
        });
    }

    /// Time in which nothing could be read counts as little: a source can't be blamed for what we did not take from it.
    fn look(&mut self) {
        let elapsed = self.looked_at.elapsed().min(self.pace * 2);
        self.now = Moment { awake: self.awake + elapsed, wall_us: self.clock.now().micros() };
    }
}
