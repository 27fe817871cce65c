//! Decode and apply over a real database, with the referee beside them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use plyr_likes::{
    apply::{Applied, Applier, Batch, Gap, GapChange, Origin, Reached},
    atproto::{Did, Timestamp},
    clock::Clock,
    crawl::resync::{Both, Ours, load_ours, plan},
    decode::{Frame, Item, firehose, jetstream_v1},
    model::{Collections, EventBody, PositionKind},
};
use sqlx::PgConnection;

use super::{
    account_model::AccountModel,
    database::{TestDatabase, fresh},
    dump,
    history::{Dialect, Message},
    model::{Model, Write, differences},
    wire::{self, Commit},
};

/// An index, and what should be in it.
pub struct World {
    pub database: TestDatabase,
    pub model: Model,
    pub accounts: AccountModel,
    pub(super) connection: PgConnection,
    pub(super) clock: Clock,
    /// What the clock says; zero: what the machine's says.
    pub(super) now_us: Arc<AtomicI64>,
    collections: Collections,
    applier: Applier,
    positions: BTreeMap<usize, i64>,
    time_us: i64,
}

/// A clock that says this, or while it is zero what the machine's says.
fn a_clock(now_us: Arc<AtomicI64>) -> Clock {
    let machine = Clock::system();
    Clock::of(move || match now_us.load(Ordering::Relaxed) {
        0 => machine.now(),
        now_us => Timestamp::from_micros(now_us).expect("a moment of our days"),
    })
}

fn collections() -> Collections {
    Collections::of_namespace("fm.plyr").expect("a valid namespace")
}

impl World {
    pub async fn new() -> Self {
        let database = fresh().await;
        let connection = database.pool.acquire().await.expect("a connection").detach();
        let now_us = Arc::new(AtomicI64::new(0));
        let clock = a_clock(now_us.clone());
        let applier = Applier::new(collections(), clock.clone());
        let time_us = super::history::START_US;
        let (model, accounts, positions) = (Model::default(), AccountModel::default(), BTreeMap::new());
        Self {
            database,
            model,
            accounts,
            connection,
            clock,
            now_us,
            collections: collections(),
            applier,
            positions,
            time_us,
        }
    }

    /// From here on the clock says the time of the last that was delivered.
    pub fn play(&mut self) {
        self.now_us.store(super::history::START_US, Ordering::Relaxed);
    }

    /// The clock goes on, if it is not that of the machine, and never back.
    pub fn advance_to(&self, at_us: i64) {
        let go = |now_us| (0 < now_us && now_us < at_us).then_some(at_us);
        self.now_us.fetch_update(Ordering::Relaxed, Ordering::Relaxed, go).ok();
    }

    /// Forgets everything, as if the database were new and the program had just started.
    pub async fn clear(&mut self) {
        self.empty().await;
        self.restart();
    }

    /// As if a database without a row had been restored below the program, which knows that its connection has been away.
    pub async fn lose(&mut self) {
        self.empty().await;
        self.applier.forget();
    }

    async fn empty(&mut self) {
        // Small tables are emptied much faster row by row than by TRUNCATE, which makes new files.
        sqlx::raw_sql(
            "DELETE FROM likes; DELETE FROM track_counts; DELETE FROM tracks; DELETE FROM lists; DELETE FROM profiles;
             DELETE FROM subject_cids; DELETE FROM positions; DELETE FROM rejects; DELETE FROM uncounted_actors;
             DELETE FROM commit_chains; DELETE FROM gaps; DELETE FROM repos; DELETE FROM identities;
             DELETE FROM hidden_tracks; DELETE FROM account_tombstones; DELETE FROM account_checks;
             DELETE FROM bluesky_profiles; DELETE FROM actors",
        )
        .execute(&self.database.pool)
        .await
        .expect("the tables are there");
        self.model = Model::default();
        self.accounts = AccountModel::default();
        self.now_us.store(0, Ordering::Relaxed);
        self.positions.clear();
    }

    /// A new program over the same database: what the old one remembered is lost.
    pub fn restart(&mut self) {
        self.applier = Applier::new(collections(), self.clock.clone());
        self.accounts.forget_unknown();
    }

    /// Decodes and applies messages as one batch.
    pub async fn deliver(&mut self, messages: &[Message]) -> Applied {
        let mut batch = Batch::default();
        for message in messages {
            self.take(message);
            let source: Arc<str> = format!("host {}", message.host).into();
            let (frame, kind) = decode(&self.collections, message);
            let origin = Origin { source, kind: Some(kind), position: frame.position };
            batch.links.extend(frame.link.map(|link| (origin.source.clone(), link)));
            for item in frame.items {
                match item {
                    Item::Event(event) => {
                        if let EventBody::Sync { rev } = event.body {
                            let change = GapChange::Syncs { did: event.did.clone(), rev, at: frame.time };
                            batch.gaps.push(Gap { source: origin.source.clone(), change });
                        }
                        batch.events.push(event);
                    }
                    Item::Reject(reject) => batch.rejects.push((origin.clone(), *reject)),
                }
            }
            let reached = self.positions.entry(message.host).or_default();
            *reached = message.position.max(*reached);
            let value = *reached;
            batch.positions.retain(|earlier| earlier.source != origin.source);
            batch.positions.push(Reached { event_at: frame.time, ..Reached::to(origin.source, kind, value) });
        }
        let events = messages.iter().filter_map(|message| message.account_event.as_ref());
        events.for_each(|event| self.accounts.take_event(event));
        self.applier.apply(&mut self.connection, &batch).await.expect("the database takes the batch")
    }

    /// What the referee makes of a message's writes; events about accounts are taken after all the writes that came with them.
    fn take(&mut self, message: &Message) {
        for write in &message.writes {
            self.advance_to((write.rev >> 10) + 1);
            self.accounts.take_write(write);
            if !self.accounts.voids(write) {
                self.model.take(write);
            }
        }
        if let Some(event) = &message.account_event {
            self.advance_to(event.at_us + 1);
        }
    }

    /// What the index holds of a repo, as a reader loads it before it reads.
    pub async fn ours(&mut self, did: &Did) -> Ours {
        load_ours(&mut self.connection, &self.collections, did).await.expect("the tables are there")
    }

    /// Mends the index by a read of a repo, compared with what was loaded before it. Returns how many paths differed.
    pub async fn repair(&mut self, did: &Did, both: Both<'_>) -> usize {
        let repair = plan(&self.collections, did, both);
        self.applier.apply(&mut self.connection, &repair.batch).await.expect("the database takes the batch");
        repair.paths.len()
    }

    /// The operations of these commits as Jetstream v1 messages, in one batch.
    pub async fn commit(&mut self, commits: &[Commit]) -> Applied {
        let messages = self.v1_messages(commits);
        self.deliver(&messages).await
    }

    /// One batch for each commit.
    pub async fn commit_each(&mut self, commits: &[Commit]) {
        for commit in commits {
            self.commit(std::slice::from_ref(commit)).await;
        }
    }

    /// The messages by which a Jetstream v1 host sends these commits.
    pub fn v1_messages(&mut self, commits: &[Commit]) -> Vec<Message> {
        let mut messages = Vec::new();
        for commit in commits {
            for at in 0..commit.operations.len() {
                self.time_us += 1;
                messages.push(Message {
                    host: 0,
                    dialect: Dialect::JetstreamV1,
                    position: self.time_us,
                    bytes: wire::v1_message(commit, at, self.time_us),
                    writes: commit.write(at).into_iter().collect(),
                    account_event: None,
                    garbage: false,
                });
            }
        }
        messages
    }

    /// One message with these bytes, meaning these writes.
    pub async fn raw(&mut self, bytes: Vec<u8>, writes: Vec<Write>) -> Applied {
        let message = self.v1_message(bytes, writes);
        self.deliver(&[message]).await
    }

    /// The same, to be delivered with others.
    pub fn v1_message(&mut self, bytes: Vec<u8>, writes: Vec<Write>) -> Message {
        self.time_us += 1;
        let (position, dialect) = (self.time_us, Dialect::JetstreamV1);
        Message { host: 0, dialect, position, bytes, writes, account_event: None, garbage: false }
    }

    /// The commit as one firehose message, in a batch of its own.
    pub async fn firehose(&mut self, commit: &Commit) -> Applied {
        self.time_us += 1;
        let bytes = wire::firehose_message(commit, self.time_us, self.time_us);
        let (position, writes) = (self.time_us, commit.writes());
        self.deliver(&[Message {
            host: 1,
            dialect: Dialect::Firehose,
            position,
            bytes,
            writes,
            account_event: None,
            garbage: false,
        }])
        .await
    }

    /// What index and referee disagree about, in lines.
    pub async fn disagreements(&self) -> Vec<String> {
        let mut lines =
            differences(&self.model.state_without(&self.accounts.hidden()), &dump::state(&self.database.pool).await);
        lines.extend(dump::miscounted(&self.database.pool).await);
        let refused = dump::refused(&self.database.pool).await;
        let missing = self.model.refused().difference(&refused).map(|path| format!("no reject for {path:?}"));
        lines.extend(missing);
        lines.extend(refused.difference(self.model.refused()).map(|path| format!("an unjust reject of {path:?}")));
        lines
    }

    /// Fails with the differences when index and referee disagree.
    pub async fn check(&self) {
        let lines = self.disagreements().await;
        assert!(lines.is_empty(), "the index is not as the referee says:\n{}", lines.join("\n"));
    }

    /// The like count that the index keeps for a track.
    pub async fn like_count(&self, uri: &str) -> i64 {
        sqlx::query_scalar("SELECT like_count FROM track_counts c JOIN tracks t ON t.id = c.track_id WHERE t.uri = $1")
            .bind(uri)
            .fetch_optional(&self.database.pool)
            .await
            .expect("the tables are there")
            .unwrap_or(0)
    }

    /// The reasons in the rejects table, each with its field.
    pub async fn reasons(&self) -> Vec<(String, Option<String>)> {
        sqlx::query_as("SELECT reason, field FROM rejects ORDER BY id")
            .fetch_all(&self.database.pool)
            .await
            .expect("the table is there")
    }
}

/// What a message holds, and its number space.
fn decode(collections: &Collections, message: &Message) -> (Frame, PositionKind) {
    match message.dialect {
        Dialect::JetstreamV1 => {
            (jetstream_v1::decode_message(collections, &message.bytes), PositionKind::JetstreamV1Micros)
        }
        Dialect::Firehose => match firehose::decode_message(collections, &message.bytes) {
            firehose::Message::Frame(frame) => (frame, PositionKind::FirehoseSeq),
            other => panic!("the tests send no such message: {other:?}"),
        },
    }
}
