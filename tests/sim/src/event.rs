//! One thing that happened in one repo, kept in few bytes, since a world holds millions of them.

use crate::{
    model::Write,
    wire::{self, Body, Commit, Operation, time_text},
    world::World,
};

/// One event of one actor.
#[derive(Debug)]
pub struct Event {
    /// Whose, by number.
    pub actor: u32,
    /// The number of the TID that its commit has; of what is no commit, when it happened.
    pub rev: i64,
    /// The rev of the repo before it; 0 if there was none.
    pub since: i64,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Debug)]
pub enum What {
    /// A like was put: by far the most frequent, and so kept as three numbers.
    Like {
        /// The number of its TID.
        rkey: i64,
        /// Which track of the world.
        track: u32,
        /// Whether it was there before.
        update: bool,
    },
    /// A like was deleted.
    Unlike {
        /// The number of its TID.
        rkey: i64,
    },
    /// Any other commit.
    Commit(Box<[Operation]>),
    /// The account became active, or inactive with a status.
    Account {
        /// None: active.
        status: Option<&'static str>,
    },
    /// The DID document or the handle has changed.
    Identity {
        /// Whether the event names the handle.
        names_handle: bool,
    },
    /// The repo was put in another state without events for it: these operations happened, and no event carries them.
    Sync {
        /// What happened in silence.
        silent: Box<[Operation]>,
    },
}

impl Event {
    /// Microseconds since 1970.
    pub fn time_us(&self) -> i64 {
        self.rev >> 10
    }

    /// How many rows a Jetstream makes of it.
    pub fn rows(&self) -> usize {
        match &self.what {
            What::Commit(operations) => operations.len(),
            _ => 1,
        }
    }

    /// Whether it is a commit that hosts send.
    pub fn is_commit(&self) -> bool {
        matches!(self.what, What::Like { .. } | What::Unlike { .. } | What::Commit(_))
    }

    /// The commit as the other parts of this crate take it. What is no commit has no operations, but for the silent ones.
    pub fn commit(&self, world: &World) -> Commit {
        let did = world.did(self.actor);
        let one = |operation| Commit::new(did, self.rev, vec![operation]);
        match &self.what {
            What::Like { rkey, track, update } => {
                let body = wire::like(&world.track_uri(*track), &time_text(self.time_us()));
                let body = if *update { wire::updated(body) } else { body };
                one(Operation::like(&crate::model::tid_text(*rkey), body))
            }
            What::Unlike { rkey } => one(Operation::like(&crate::model::tid_text(*rkey), Body::Delete)),
            What::Commit(operations) | What::Sync { silent: operations } => {
                Commit::new(did, self.rev, operations.to_vec())
            }
            What::Account { .. } | What::Identity { .. } => Commit::new(did, self.rev, Vec::new()),
        }
    }

    /// What it means to the referee.
    pub fn writes(&self, world: &World) -> Vec<Write> {
        self.commit(world).writes()
    }
}

impl Event {
    /// Whether it put or deleted something in a collection.
    pub fn concerns(&self, collection: &str) -> bool {
        match &self.what {
            What::Like { .. } | What::Unlike { .. } => collection == "fm.plyr.like",
            What::Commit(operations) | What::Sync { silent: operations } => {
                operations.iter().any(|operation| operation.collection == collection)
            }
            What::Account { .. } | What::Identity { .. } => false,
        }
    }
}
