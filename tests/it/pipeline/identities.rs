//! Identities: the table, what keeps it young, and what is shown. The directory and the domains are scripted hosts; `.test`
//! handles are asked of the PDS, as in development.

mod late;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use plyr_likes::{
    atproto::Did,
    crawl::identity,
    identity::{Failure, Identities, IdentityError, IdentityOptions},
    model::Collections,
    pds::{Directory, HostUrl},
    store::{self, actors::NewActor},
};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    pipeline::pds::{ManualClock, names, open_client},
    support::{
        database::{self, TestDatabase},
        host::{Host, Reply},
    },
};

const PATIENCE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

/// The network: the handle that each document claims (none: no document), and the owner of each handle.
#[derive(Default)]
struct World {
    documents: HashMap<String, Option<String>>,
    owners: HashMap<String, String>,
    /// What the directory answers instead.
    outage: Option<u16>,
    /// What the domains answer instead.
    domains_out: Option<u16>,
    /// How long the directory takes for an answer that it has made.
    slow_by: Duration,
}

/// A world, an index, and what keeps them together.
struct Case {
    database: TestDatabase,
    world: Arc<Mutex<World>>,
    plc: Host,
    domains: Host,
    manual_clock: ManualClock,
    identities: Identities,
    running: Option<(CancellationToken, JoinHandle<sqlx::Result<()>>)>,
}

fn did(number: usize) -> Did {
    let letter = char::from(b'a' + u8::try_from(number).unwrap());
    Did::parse(&format!("did:plc:{}", letter.to_string().repeat(24))).unwrap()
}

impl Case {
    async fn new() -> Self {
        let database = database::fresh().await;
        let world: Arc<Mutex<World>> = Arc::default();
        let shared = world.clone();
        let domains = Host::start(move |asked| {
            let world = shared.lock().unwrap();
            match (world.domains_out, world.owners.get(&asked.host)) {
                (Some(status), _) => Reply::status(status),
                (None, Some(owner)) => Reply::ok(owner.clone()),
                (None, None) => Reply::status(404),
            }
        })
        .await;
        let (shared, pds) = (world.clone(), domains.url());
        let plc = Host::start(move |asked| {
            let world = shared.lock().unwrap();
            let did = asked.target.trim_start_matches('/');
            match (world.outage, world.documents.get(did)) {
                (Some(status), _) => Reply::status(status),
                (None, Some(handle)) => Reply::After(
                    world.slow_by,
                    json!({
                        "id": did,
                        "alsoKnownAs": handle.iter().map(|handle| format!("at://{handle}")).collect::<Vec<_>>(),
                        "service": [
                            {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": pds}
                        ],
                    })
                    .to_string()
                    .into(),
                ),
                (None, None) => Reply::status(404),
            }
        })
        .await;
        let manual_clock = ManualClock::new();
        let directory =
            Directory::new(open_client(&manual_clock), names(&[], &[]), HostUrl::parse(&plc.url()).unwrap());
        let options = IdentityOptions {
            pace: Duration::from_millis(1),
            tick: Duration::from_millis(10),
            jitter: || 1.0,
            ..IdentityOptions::default()
        };
        let identities = Identities::new(database.pool.clone(), directory, manual_clock.clock(), options);
        Self { database, world, plc, domains, manual_clock, identities, running: None }
    }

    fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// An account whose document claims a handle, and whose handle says the same.
    fn set_handle(&self, number: usize, handle: &str) {
        let mut world = self.world();
        world.documents.insert(did(number).to_string(), Some(handle.to_owned()));
        world.owners.insert(handle.to_owned(), did(number).to_string());
    }

    /// Actors as if their records had come.
    async fn meet(&self, numbers: std::ops::Range<usize>) {
        let dids: Vec<Did> = numbers.map(did).collect();
        let actors: Vec<_> = dids.iter().map(|did| NewActor { did: did.as_str(), is_author: true }).collect();
        store::actors::insert(&mut self.database.pool.acquire().await.unwrap(), &actors).await.unwrap();
    }

    fn run(&mut self) {
        let cancel = CancellationToken::new();
        let task = tokio::spawn(identity::run(self.identities.clone(), cancel.clone()));
        self.running = Some((cancel, task));
    }

    async fn stop(&mut self) {
        let (cancel, task) = self.running.take().unwrap();
        cancel.cancel();
        task.await.unwrap().unwrap();
    }

    /// What is shown of each actor, by number.
    async fn shown(&self) -> BTreeMap<usize, Option<String>> {
        let rows: Vec<(String, Option<String>)> =
            sqlx::query_as("SELECT did, handle FROM actors").fetch_all(&self.database.pool).await.unwrap();
        rows.into_iter().map(|(text, handle)| ((0..26).find(|n| did(*n).as_str() == text).unwrap(), handle)).collect()
    }

    async fn wait_until_shown(&self, expected: &[Option<&str>]) {
        let expected: BTreeMap<usize, Option<String>> =
            expected.iter().map(|handle| handle.map(str::to_owned)).enumerate().collect();
        let begun = Instant::now();
        loop {
            let shown = self.shown().await;
            if shown == expected {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{shown:?} is shown, and not {expected:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
            // What is due while a directory is probed for the first time after it was away is postponed for some seconds.
            self.manual_clock.advance(Duration::from_secs(1));
        }
    }

    /// Waits until none is due.
    async fn wait_until_done(&self) {
        let begun = Instant::now();
        loop {
            let (due, unknown): (i64, i64) = sqlx::query_as(
                "SELECT (SELECT count(*) FROM identities WHERE failure IS NULL AND due_at <= $1 + interval '6 min'),
                    (SELECT count(*) FROM actors a WHERE NOT EXISTS (SELECT FROM identities i WHERE i.did = a.did))",
            )
            .bind(self.manual_clock.now().utc())
            .fetch_one(&self.database.pool)
            .await
            .unwrap();
            if (due, unknown) == (0, 0) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{due} are due, {unknown} unknown");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// An `#identity` event about an account, as it comes in a batch.
    async fn identity_event(&self, number: usize) -> u64 {
        let now = self.manual_clock.now();
        let bytes = crate::support::wire::v1_identity(did(number).as_str(), Some("claimed.test"), now.micros());
        let collections = Collections::of_namespace("fm.plyr").unwrap();
        let frame = plyr_likes::decode::jetstream_v1::decode_message(&collections, &bytes);
        let events: Vec<_> = frame
            .items
            .into_iter()
            .map(|item| match item {
                plyr_likes::decode::Item::Event(event) => event,
                other @ plyr_likes::decode::Item::Reject(_) => panic!("{other:?}"),
            })
            .collect();
        let mut applier = plyr_likes::apply::Applier::new(collections, self.manual_clock.clock());
        let batch = plyr_likes::apply::Batch { events, ..Default::default() };
        let mut connection = self.database.pool.acquire().await.unwrap();
        applier.apply(&mut connection, &batch).await.unwrap().applied
    }

    fn asked(&self) -> usize {
        self.plc.asked().len()
    }
}

#[tokio::test]
async fn a8_a_handle_is_shown_when_both_sides_agree() {
    let mut case = Case::new().await;
    case.set_handle(0, "alice.test");
    case.set_handle(1, "bob.test");
    // The handle is another's; the document claims none; there is no document.
    case.world().documents.insert(did(2).to_string(), Some("alice.test".to_owned()));
    case.world().documents.insert(did(3).to_string(), None);
    case.meet(0..5).await;
    case.run();
    case.wait_until_shown(&[Some("alice.test"), Some("bob.test"), None, None, None]).await;
    case.wait_until_done().await;
    assert_eq!(case.asked(), 5, "once each");
    let known = case.identities.find(&did(0)).await.unwrap();
    assert_eq!(known.handle.unwrap().as_str(), "alice.test");
    assert_eq!(known.pds.unwrap().to_string(), case.domains.url());
    assert_eq!(case.identities.find(&did(2)).await.unwrap().handle, None);
    let absent = case.identities.find(&did(4)).await;
    assert!(matches!(absent, Err(IdentityError::Unresolved { failure: Failure::NotFound, .. })), "{absent:?}");
    assert_eq!(case.asked(), 5, "all of it from the table");
    // Those who come later are found too.
    case.set_handle(5, "fay.test");
    case.meet(5..6).await;
    let all = [Some("alice.test"), Some("bob.test"), None, None, None, Some("fay.test")];
    case.wait_until_shown(&all).await;
    case.stop().await;
}

#[tokio::test]
async fn a8_a_handle_belongs_to_one_at_a_time() {
    let mut case = Case::new().await;
    case.set_handle(0, "name.test");
    case.set_handle(1, "other.test");
    case.meet(0..2).await;
    case.run();
    case.wait_until_shown(&[Some("name.test"), Some("other.test")]).await;
    case.wait_until_done().await;
    // The name goes from the first to the second; an identity event comes only for the second.
    case.set_handle(1, "name.test");
    case.manual_clock.advance(Duration::from_mins(1));
    assert_eq!(case.identity_event(1).await, 1);
    case.wait_until_shown(&[None, Some("name.test")]).await;
    // And back, with both claiming it.
    case.set_handle(0, "name.test");
    case.manual_clock.advance(Duration::from_mins(1));
    assert_eq!(case.identity_event(0).await, 1);
    case.wait_until_shown(&[Some("name.test"), None]).await;
    case.stop().await;
}

#[tokio::test]
async fn a8_the_directory_is_away_for_an_hour() {
    let mut case = Case::new().await;
    case.set_handle(0, "alice.test");
    case.set_handle(1, "bob.test");
    case.meet(0..2).await;
    case.run();
    case.wait_until_shown(&[Some("alice.test"), Some("bob.test")]).await;
    case.wait_until_done().await;
    let fetched_at = case.identities.find(&did(0)).await.unwrap().fetched_at;

    case.world().outage = Some(503);
    case.manual_clock.advance(3 * DAY);
    // For an hour, all are due and no host can be asked; others come meanwhile.
    case.meet(2..20).await;
    let before = case.asked();
    for _ in 0..60 {
        case.manual_clock.advance(Duration::from_mins(1));
        let begun = Instant::now();
        let known = case.identities.find(&did(0)).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing waits for the directory");
        assert_eq!((known.fetched_at, known.handle.unwrap().as_str()), (fetched_at, "alice.test"), "with its age");
    }
    let asked = case.asked() - before;
    assert!((1..=60).contains(&asked), "{asked} requests to a directory that fails");
    let shown = case.shown().await;
    assert_eq!((shown[&0].as_deref(), shown[&1].as_deref()), (Some("alice.test"), Some("bob.test")));

    case.world().outage = None;
    for number in 2..20 {
        case.set_handle(number, &format!("late{number}.test"));
    }
    let all: Vec<String> = ["alice.test".to_owned(), "bob.test".to_owned()]
        .into_iter()
        .chain((2..20).map(|number| format!("late{number}.test")))
        .collect();
    case.manual_clock.advance(DAY);
    case.wait_until_shown(&all.iter().map(|handle| Some(handle.as_str())).collect::<Vec<_>>()).await;
    case.wait_until_done().await;
    assert!(case.identities.find(&did(0)).await.unwrap().fetched_at > fetched_at, "young again");
    case.stop().await;
}

#[tokio::test]
async fn a8_a_domain_that_does_not_answer() {
    let mut case = Case::new().await;
    case.set_handle(0, "alice.test");
    case.meet(0..1).await;
    case.run();
    case.wait_until_shown(&[Some("alice.test")]).await;
    case.wait_until_done().await;
    case.world().domains_out = Some(500);
    for _ in 0..5 {
        let asked = case.asked();
        case.manual_clock.advance(DAY + Duration::from_hours(1));
        while case.asked() == asked {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        case.wait_until_done().await;
        assert_eq!(case.shown().await[&0].as_deref(), Some("alice.test"), "for a week");
    }
    case.manual_clock.advance(3 * DAY);
    case.wait_until_shown(&[None]).await;
    case.world().domains_out = None;
    case.manual_clock.advance(DAY);
    case.wait_until_shown(&[Some("alice.test")]).await;
    // What the domain denies is gone at once.
    case.world().owners.clear();
    case.manual_clock.advance(DAY);
    case.wait_until_shown(&[None]).await;
    case.stop().await;
}

#[tokio::test]
async fn many_who_ask_are_one_request() {
    let case = Case::new().await;
    case.set_handle(0, "alice.test");
    let answers = join_all((0..50).map(|_| {
        let identities = case.identities.clone();
        async move { identities.find(&did(0)).await }
    }))
    .await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(case.asked(), 1);
    // Likewise for those who doubt, soon after.
    case.identities.refresh(&did(0)).await.unwrap();
    assert_eq!(case.asked(), 1);
    case.manual_clock.advance(Duration::from_secs(11));
    case.identities.refresh(&did(0)).await.unwrap();
    assert_eq!(case.asked(), 2);
    // A document is read and stored, whichever caller asked; its handle waits for the crawler.
    assert_eq!(case.identities.find(&did(0)).await.unwrap().handle, None);
}

#[tokio::test]
async fn a_failure_is_not_repeated_at_once() {
    let case = Case::new().await;
    for wait in [48, 96, 192] {
        let asked = case.asked();
        let Err(IdentityError::Unresolved { failure: Failure::NotFound, retry_at, .. }) =
            case.identities.find(&did(0)).await
        else {
            panic!("no account is there");
        };
        // The jitter of these tests is one, so that each time is whole.
        assert_eq!((retry_at.utc() - case.manual_clock.now().utc()).num_seconds(), wait * 60 / 48);
        for _ in 0..10 {
            case.identities.find(&did(0)).await.unwrap_err();
            case.identities.refresh(&did(0)).await.unwrap_err();
        }
        assert_eq!(case.asked(), asked + 1);
        case.manual_clock.set(retry_at);
    }
    case.set_handle(0, "alice.test");
    case.identities.find(&did(0)).await.unwrap();
}

/// However many events name an account, it is looked at a few times a minute; and an unknown account stays unknown.
#[tokio::test]
async fn a_flood_of_identity_events() {
    let mut case = Case::new().await;
    case.set_handle(0, "alice.test");
    case.meet(0..1).await;
    case.run();
    case.wait_until_shown(&[Some("alice.test")]).await;
    case.wait_until_done().await;
    case.manual_clock.advance(Duration::from_mins(1));
    let asked = case.asked();
    for _ in 0..120 {
        case.identity_event(0).await;
        assert_eq!(case.identity_event(1).await, 0, "an unknown account");
        case.manual_clock.advance(Duration::from_millis(500));
    }
    case.manual_clock.advance(Duration::from_mins(1));
    while case.asked() == asked {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    case.stop().await;
    let asked = case.asked() - asked;
    assert!((1..=8).contains(&asked), "{asked} requests in two minutes");
    let unknown: i64 = sqlx::query_scalar("SELECT count(*) FROM identities WHERE did = $1")
        .bind(did(1).as_str())
        .fetch_one(&case.database.pool)
        .await
        .unwrap();
    assert_eq!(unknown, 0);
}
