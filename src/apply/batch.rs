use std::sync::Arc;

use crate::{
    atproto::Timestamp,
    decode::{Event, Reject},
};

/// What goes into one transaction.
#[derive(Debug, Default)]
pub struct Batch {
    /// In the order of arrival; the order does not matter.
    pub events: Vec<Event>,
    /// What was refused, and where it came from.
    pub rejects: Vec<(Origin, Reject)>,
    /// How far each source has been read once this batch is in; each source at most once.
    pub positions: Vec<Reached>,
}

/// Where a reject came from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The source's name.
    pub source: Arc<str>,
    /// The number space of `position`, as the positions table names it.
    pub kind: Option<&'static str>,
    /// The number of the message.
    pub position: Option<i64>,
}

/// How far a source has been read.
#[derive(Debug, Clone)]
pub struct Reached {
    /// The source's name.
    pub source: Arc<str>,
    /// The number space.
    pub kind: &'static str,
    /// The number of the last message that was read.
    pub value: i64,
    /// When the upstream saw that message.
    pub event_at: Option<Timestamp>,
    /// When the upstream saw the last message of our collections, if this batch holds one.
    pub ours_at: Option<Timestamp>,
}

/// What a batch did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// Events that changed a row.
    pub applied: u64,
    /// Events that changed nothing: seen before, overtaken by a later rev, or of strangers.
    pub ignored: u64,
    /// Rejects in the batch, new or not.
    pub rejected: u64,
    /// Paths whose record was replaced by one that was refused, so that what stood there is gone.
    pub buried: u64,
    /// Operations with the rev of the stored row and another CID: the first stays.
    pub anomalies: u64,
}

impl std::ops::AddAssign for Applied {
    fn add_assign(&mut self, more: Self) {
        self.applied += more.applied;
        self.ignored += more.ignored;
        self.rejected += more.rejected;
        self.buried += more.buried;
        self.anomalies += more.anomalies;
    }
}
