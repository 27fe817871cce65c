//! The world: actors, what they did, and what they do next. All from one seed.

use std::collections::{BTreeSet, HashMap};

use crate::{
    event::{Event, What},
    history::tid,
    making,
    model::{Write, tid_text},
    random::Random,
    wire::some_cid,
};

/// How often each thing happens, relative to the others.
#[derive(Debug, Clone, Copy)]
pub struct Mix {
    /// A new like, at times of a track that the actor likes already.
    pub likes: usize,
    /// A like is deleted.
    pub unlikes: usize,
    /// A deleted like is put again under its old key.
    pub likes_again: usize,
    /// A like is updated, to another track.
    pub moves: usize,
    /// A track is made, edited, deleted, made again.
    pub tracks: usize,
    /// A list is put or deleted.
    pub lists: usize,
    /// A profile is put or deleted.
    pub profiles: usize,
    /// Several operations in one commit.
    pub several: usize,
    /// A record that breaks its lexicon.
    pub broken: usize,
    /// A commit of a collection that is not ours.
    pub foreign: usize,
    /// An account is deactivated, taken down, suspended, deleted, or comes back.
    pub accounts: usize,
    /// An identity event.
    pub identities: usize,
    /// A repo is put in another state, in silence, and a `#sync` says that something happened.
    pub syncs: usize,
}

impl Mix {
    /// As on the network, but with more of what is rare.
    pub const LIFE: Self = Self {
        likes: 600,
        unlikes: 130,
        likes_again: 30,
        moves: 20,
        tracks: 30,
        lists: 40,
        profiles: 10,
        several: 30,
        broken: 10,
        foreign: 90,
        accounts: 0,
        identities: 8,
        syncs: 0,
    };
    /// Nothing but new likes.
    pub const LIKES: Self = Self {
        likes: 1,
        unlikes: 0,
        likes_again: 0,
        moves: 0,
        tracks: 0,
        lists: 0,
        profiles: 0,
        several: 0,
        broken: 0,
        foreign: 0,
        accounts: 0,
        identities: 0,
        syncs: 0,
    };
    /// Likewise, with accounts that come and go and repos that change in silence.
    pub const UNREST: Self = Self { accounts: 12, syncs: 6, identities: 16, ..Self::LIFE };
}

/// How large a world is, and how it lives.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Everything comes from it.
    pub seed: u64,
    /// Accounts.
    pub actors: usize,
    /// Tracks that there are in the beginning; each artist has a few.
    pub tracks: usize,
    /// What has happened before the first connection, besides the making of the tracks.
    pub events: usize,
    /// What happens how often.
    pub mix: Mix,
    /// Whether commits are signed and their trees true. Costly: for small worlds.
    pub signed: bool,
    /// When it begins, in microseconds since 1970.
    pub start_us: i64,
    /// Between two events of the past, at most, in microseconds.
    pub step_us_max: i64,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            seed: 1,
            actors: 100,
            tracks: 50,
            events: 1_000,
            mix: Mix::LIFE,
            signed: false,
            start_us: crate::history::START_US,
            step_us_max: 20_000,
        }
    }
}

/// How an account stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Seen by all.
    Active,
    /// Hidden, with this status.
    Inactive(&'static str),
}

/// What is known of an actor.
#[derive(Debug)]
pub struct Actor {
    /// Live likes: their keys, and which track.
    pub likes: Vec<(i64, u32)>,
    /// Keys of likes that were deleted: the last few.
    pub unliked: Vec<i64>,
    /// The paths of its records that are no likes.
    pub others: BTreeSet<Box<str>>,
    /// The last rev.
    pub rev: i64,
    /// The last rev of a commit; 0 before the first.
    pub commit_rev: i64,
    /// Which events are its own.
    pub events: Vec<u32>,
    /// Whether its repo is shown.
    pub standing: Standing,
    /// Which host serves its repo.
    pub pds: u32,
}

/// A track that there is, or was.
#[derive(Debug)]
pub struct Track {
    /// By number.
    pub artist: u32,
    /// The number of its TID.
    pub rkey: i64,
    /// Whether its repo holds it.
    pub live: bool,
}

/// A world.
pub struct World {
    /// How it was asked for.
    pub shape: Shape,
    pub(crate) random: Random,
    dids: Vec<Box<str>>,
    numbers: HashMap<Box<str>, u32>,
    pub(crate) actors: Vec<Actor>,
    pub(crate) tracks: Vec<Track>,
    pub(crate) events: Vec<Event>,
    /// The time of the last event.
    pub(crate) now_us: i64,
    pub(crate) trees: crate::signing::Trees,
}

impl World {
    /// A world with its past. `hosts` serve its repos; the actors that live at a `did:web` are the first ones, by these DIDs.
    pub fn new(shape: Shape, hosts: usize, web: &[String]) -> Self {
        let random = Random::new(shape.seed);
        let did = |number: usize| match web.get(number) {
            Some(did) => did.as_str().into(),
            None => format!("did:plc:{}", &some_cid(&format!("{} {number}", shape.seed))[10..34]).into_boxed_str(),
        };
        let actor = |number: usize| Actor {
            likes: Vec::new(),
            unliked: Vec::new(),
            others: BTreeSet::new(),
            rev: 0,
            commit_rev: 0,
            events: Vec::new(),
            standing: Standing::Active,
            pds: u32::try_from(number % hosts.max(1)).expect("few hosts"),
        };
        let dids: Vec<Box<str>> = (0..shape.actors).map(did).collect();
        let mut world = Self {
            random,
            numbers: dids.iter().cloned().zip(0..).collect(),
            dids,
            actors: (0..shape.actors).map(actor).collect(),
            tracks: Vec::new(),
            events: Vec::new(),
            now_us: shape.start_us,
            trees: crate::signing::Trees::default(),
            shape,
        };
        for _ in 0..world.shape.tracks {
            let artist = world.random.below(world.shape.actors.div_ceil(4));
            world.pass_time();
            making::make_track(&mut world, u32::try_from(artist).expect("fewer than 2^32"));
        }
        for _ in 0..world.shape.events {
            world.pass_time();
            making::step(&mut world);
        }
        world
    }

    fn pass_time(&mut self) {
        self.now_us += self.random.between(1, self.shape.step_us_max);
    }

    /// One more thing happens, at this time or, when that is past, a moment after the last.
    pub fn live(&mut self, now_us: i64) {
        self.now_us = now_us.max(self.now_us + 1);
        making::step(self);
    }

    /// An actor moves to another host, where its repo arrives without some of its likes. The host that it left says of it that it is
    /// inactive, and the new one that it is active, in one order or the other.
    pub fn move_to(&mut self, actor: u32, (pds, active_last): (u32, bool)) {
        self.actors[index(actor)].pds = pds;
        let statuses = if active_last { [Some("deactivated"), None] } else { [None, Some("deactivated")] };
        self.pass_time();
        self.add(actor, What::Identity { names_handle: false });
        for status in statuses {
            self.pass_time();
            self.add(actor, What::Account { status });
        }
        self.pass_time();
        making::lose_likes(self, actor, 2);
    }

    /// An event is added. Its rev is greater than all before it of that actor.
    pub fn add(&mut self, actor: u32, what: What) {
        let clock = self.random.between(0, 1023);
        let held = &mut self.actors[index(actor)];
        let rev = tid(self.now_us, clock).max(held.rev + 1);
        held.rev = rev;
        held.events.push(u32::try_from(self.events.len()).expect("fewer than 2^32 events"));
        let event = Event { actor, rev, since: held.commit_rev, what };
        if event.is_commit() || matches!(event.what, What::Sync { .. }) {
            held.commit_rev = rev;
        }
        self.events.push(event);
        if self.shape.signed {
            crate::signing::sign_last(self);
        }
    }

    /// All that happened, in order.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// How many actors there are.
    pub fn actor_count(&self) -> usize {
        self.actors.len()
    }

    /// An actor by number.
    pub fn actor(&self, number: u32) -> &Actor {
        &self.actors[index(number)]
    }

    /// An actor's DID.
    pub fn did(&self, actor: u32) -> &str {
        &self.dids[index(actor)]
    }

    /// All DIDs, by number.
    pub fn dids(&self) -> impl Iterator<Item = &str> {
        self.dids.iter().map(|did| &**did)
    }

    /// The actor of a DID.
    pub fn find_actor(&self, did: &str) -> Option<u32> {
        self.numbers.get(did).copied()
    }

    /// An actor's handle.
    pub fn handle(&self, actor: u32) -> String {
        format!("actor{actor}.test")
    }

    /// A track's URI.
    pub fn track_uri(&self, track: u32) -> String {
        let Track { artist, rkey, .. } = &self.tracks[index(track)];
        format!("at://{}/fm.plyr.track/{}", self.did(*artist), tid_text(*rkey))
    }

    /// The URIs of all tracks that there ever were.
    pub fn track_uris(&self) -> impl Iterator<Item = String> {
        (0..self.tracks.len()).map(|track| self.track_uri(u32::try_from(track).expect("few tracks")))
    }

    /// All that happened in the repos, for the referee; also what no host sends.
    pub fn writes(&self) -> impl Iterator<Item = Write> {
        self.events.iter().flat_map(|event| event.writes(self))
    }

    /// Only what the upstreams send.
    pub fn sent_writes(&self) -> impl Iterator<Item = Write> {
        self.events.iter().filter(|event| event.is_commit()).flat_map(|event| event.writes(self))
    }
}

/// A number as a place in a list.
pub(crate) fn index(number: u32) -> usize {
    usize::try_from(number).expect("at least 32 bits")
}
