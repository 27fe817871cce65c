//! Following an upstream, whatever it does, and reading recorded logs.

mod asking;
mod compression;
mod faults;
mod flow;
mod jetstream_v2;
mod log;
mod reporting;

use std::{future::Future, time::Duration};

use plyr_likes::{
    atproto::Timestamp,
    clock::Clock,
    model::{Collections, Position},
    source::{Connection, Delivery, Dialect, Follow, SourceSpec, Start, Tuning, follow},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::support::upstream::Upstream;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// What the sources think that it is: a day after the positions that these tests use.
const NOW_US: i64 = 1_726_000_000_000_000;

/// A source that is being followed, and the ends that the rest of the program would hold.
struct Followed {
    spec: SourceSpec,
    deliveries: mpsc::Receiver<Delivery>,
    committed: watch::Sender<Option<Position>>,
    connection: watch::Receiver<Connection>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

/// What differs between the tests.
struct Setting {
    dialect: Dialect,
    /// A number of this source itself..
    committed: Option<i64>,
    /// ..or any position at all.
    stored: Option<Position>,
    start: Start,
    queue: usize,
    tuning: Tuning,
}

impl Setting {
    fn of(dialect: Dialect) -> Self {
        Self { dialect, committed: None, stored: None, start: Start::Oldest, queue: 64, tuning: quick() }
    }

    fn follow(self, upstream: &Upstream) -> Followed {
        let spec = format!("{}+ws://{}", self.dialect.scheme(), upstream.address);
        self.follow_spec(&spec)
    }

    fn follow_spec(self, spec: &str) -> Followed {
        let (sender, deliveries) = mpsc::channel(self.queue);
        let spec = SourceSpec::parse(spec).expect("a source");
        let committed = self.stored.or_else(|| Some(spec.position(self.committed?)));
        let committed = watch::Sender::new(committed);
        let (status, connection) = watch::channel(Connection::Starting);
        let cancel = CancellationToken::new();
        let settings = Follow {
            index: 3,
            spec: spec.clone(),
            collections: Collections::of_namespace("fm.plyr").expect("a namespace"),
            start: self.start,
            committed: committed.subscribe(),
            deliveries: sender,
            connection: status,
            tuning: self.tuning,
            clock: Clock::of(|| Timestamp::from_micros(NOW_US).expect("a time")),
        };
        let task = tokio::spawn(follow(settings, cancel.clone()));
        Followed { spec, deliveries, committed, connection, cancel, task }
    }
}

/// Patient where nothing is expected to happen, quick to come back.
fn quick() -> Tuning {
    Tuning { backoff_min: Duration::from_millis(1), backoff_max: Duration::from_millis(20), ..Tuning::default() }
}

impl Followed {
    /// Says that this number is in the database.
    fn commit(&self, value: i64) {
        self.committed.send_replace(Some(self.spec.position(value)));
    }

    async fn delivery(&mut self) -> Delivery {
        soon(self.deliveries.recv()).await.expect("the source runs")
    }

    /// The next so many messages as text; more is a fault.
    async fn texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        while texts.len() < count {
            let delivery = self.delivery().await;
            assert_eq!(delivery.source, 3);
            assert!(!delivery.messages.is_empty());
            texts.extend(delivery.messages.iter().map(|message| String::from_utf8_lossy(message).into_owned()));
        }
        assert_eq!(texts.len(), count, "{texts:?}");
        texts
    }

    async fn wait_for(&mut self, what: impl FnMut(&Connection) -> bool) -> Connection {
        soon(self.connection.wait_for(what)).await.expect("the source runs").clone()
    }

    async fn wait_for_reason(&mut self, part: &str) {
        self.wait_for(|connection| matches!(connection, Connection::Waiting { reason } if reason.contains(part))).await;
    }

    /// Cancels, and sees that it ends at once.
    async fn stop(self) {
        self.cancel.cancel();
        timeout(Duration::from_secs(10), self.task).await.expect("it ends promptly").expect("no panic");
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it happens in time")
}
