//! Name and picture of artists and likers: asked for, kept, and shown. The directory and the PDSes are scripted hosts, the clock is
//! moved by hand; the real network is at the end.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use plyr_likes::{
    apply::{Answer, Answered, Applier, Batch, Decision, act_on_answer},
    atproto::{Did, Timestamp},
    clock::Clock,
    crawl::{
        Context,
        bluesky_profiles::{self, Options},
        identity,
    },
    decode::{Item, jetstream_v1},
    identity::{Identities, IdentityOptions},
    maintenance::follow_accounts,
    model::Collections,
    pds::{Client, ClientOptions, Directory, HostUrl},
    retry::Backoff,
    store::actors::{
        account_checks,
        bluesky_profiles::{Outcome, ProfileAnswer, write_answer},
    },
};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    cases::backfill::of_network,
    pipeline::pds::names,
    support::{
        api::{settings, start},
        database::fresh,
        history::{did, key, tid, track_uri},
        host::{Host, Reply},
        http,
        network::{Network, like as like_of, track as track_of},
        program::Program,
        run::until,
        wire::{self, Commit, Operation, like, list, profile, some_cid, track},
        world::World,
    },
};

const PATIENCE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);
const AT: &str = "2025-01-01T00:00:00Z";

/// The machine's clock, which can be put forward.
#[derive(Clone, Default)]
struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    fn clock(&self) -> Clock {
        let (ahead_s, system) = (self.0.clone(), Clock::system());
        Clock::of(move || system.now().plus(Duration::from_secs(ahead_s.load(Ordering::SeqCst))))
    }

    fn now(&self) -> Timestamp {
        self.clock().now()
    }

    fn advance(&self, time: Duration) {
        self.0.fetch_add(time.as_secs(), Ordering::SeqCst);
    }
}

/// What a PDS says of an account's profile.
#[derive(Clone)]
enum Page {
    Record(Value),
    Nothing,
    Status(u16),
    Throttled(&'static str),
    Hang,
}

fn page(name: &str) -> Page {
    Page::Record(json!({"$type": "app.bsky.actor.profile", "displayName": name, "avatar": picture(name)}))
}

fn picture(name: &str) -> Value {
    json!({"$type": "blob", "ref": {"$link": some_cid(name)}, "mimeType": "image/jpeg", "size": 1000})
}

/// The PDS of each account, by number, and what that PDS answers for its profile.
type Accounts = Arc<Mutex<HashMap<String, (usize, Page)>>>;

/// An index with its API, the hosts around it, and what reads profiles.
struct Case {
    world: World,
    accounts: Accounts,
    pdses: Vec<Host>,
    manual_clock: ManualClock,
    context: Context,
    options: Options,
    api: String,
    stop_api: CancellationToken,
    client: reqwest::Client,
    running: Option<(CancellationToken, [JoinHandle<sqlx::Result<()>>; 2])>,
    revs: i64,
    passed: usize,
}

impl Drop for Case {
    fn drop(&mut self) {
        self.stop_api.cancel();
    }
}

fn pds(accounts: &Accounts, number: usize) -> impl Fn(&crate::support::host::Asked) -> Reply + Send + Sync + 'static {
    let accounts = accounts.clone();
    move |asked| {
        let query = asked.target.split_once('?').map_or("", |(_, query)| query).replace("%3A", ":");
        let parameter = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let is_ours = asked.target.starts_with("/xrpc/com.atproto.repo.getRecord?")
            && (parameter("collection"), parameter("rkey")) == (Some("app.bsky.actor.profile"), Some("self"));
        let repo = parameter("repo").unwrap_or_default();
        let refused = |error: &str| Reply::Answer(400, Vec::new(), json!({"error": error}).to_string().into_bytes());
        match accounts.lock().unwrap().get(repo).filter(|(home, _)| is_ours && *home == number) {
            None => refused("RepoNotFound"),
            Some((_, Page::Nothing)) => refused("RecordNotFound"),
            Some((_, Page::Status(status))) => Reply::status(*status),
            Some((_, Page::Throttled(after))) => {
                Reply::Answer(429, vec![("Retry-After", (*after).to_owned())], Vec::new())
            }
            Some((_, Page::Hang)) => Reply::Hang,
            Some((_, Page::Record(value))) => {
                let uri = format!("at://{repo}/app.bsky.actor.profile/self");
                Reply::ok(json!({"uri": uri, "cid": some_cid(&value.to_string()), "value": value}).to_string())
            }
        }
    }
}

impl Case {
    /// With so many PDSes.
    async fn new(pdses: usize) -> Self {
        let world = World::new().await;
        let accounts = Accounts::default();
        let mut hosts = Vec::new();
        for number in 0..pdses {
            hosts.push(Host::start(pds(&accounts, number)).await);
        }
        let (shared, urls) = (accounts.clone(), hosts.iter().map(Host::url).collect::<Vec<_>>());
        let plc = Host::start(move |asked| {
            let did = asked.target.trim_start_matches('/');
            let accounts = shared.lock().unwrap();
            let Some((home, _)) = accounts.get(did) else { return Reply::status(404) };
            let service =
                json!({"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": urls[*home]});
            Reply::ok(json!({"id": did, "service": [service]}).to_string())
        })
        .await;
        let manual_clock = ManualClock::default();
        let open = ClientOptions { allow_private_hosts: true, ..ClientOptions::default() };
        let client = Client::new(open, &names(&[], &[]), manual_clock.clock(), || 1.0).unwrap();
        let directory = Directory::new(client, names(&[], &[]), HostUrl::parse(&plc.url()).unwrap());
        hosts.push(plc);
        let quick = (Duration::from_millis(1), Duration::from_millis(10));
        let identity_options =
            IdentityOptions { pace: quick.0, tick: quick.1, jitter: || 1.0, ..IdentityOptions::default() };
        let pool = world.database.pool.clone();
        let identities = Identities::new(pool.clone(), directory, manual_clock.clock(), identity_options);
        let context = Context { pool: pool.clone(), identities, clock: manual_clock.clock() };
        let options = Options {
            pace: quick.0,
            backoff: Backoff::new(quick.1, Duration::from_hours(6)),
            tick: quick.1,
            identity_events_every: quick.1,
            ..Options::default()
        };
        let (api, stop_api) = start(pool, settings()).await;
        let client = http::client(Duration::from_secs(30));
        Self {
            world,
            accounts,
            pdses: hosts,
            manual_clock,
            context,
            options,
            api,
            stop_api,
            client,
            running: None,
            revs: 0,
            passed: 0,
        }
    }

    /// An artist (0) with a track on which 1 is featured, a liker (1) of it, and an account with a list alone (3); all on the first PDS.
    async fn with_a_song() -> Self {
        let mut case = Self::new(2).await;
        for (number, name) in [(0, "Ann"), (1, "Bob"), (3, "Cat")] {
            case.set_page(number, 0, page(name));
        }
        let wire::Body::Put { mut json, meaning, created } = track("Song", AT) else { panic!("no record") };
        json["features"] = json!([{"did": did(1)}]);
        let song = wire::Body::Put { json, meaning, created };
        case.write(0, Operation::track(&key(3, 0), song)).await;
        case.write(1, Operation::like(&key(1, 0), like(&track_uri(0, 0), AT))).await;
        let items = [(track_uri(0, 0), some_cid("a track"))];
        case.write(3, Operation::list(&key(2, 0), list(&items, Some("Mine"), Some("playlist"), (AT, None)))).await;
        case
    }

    async fn write(&mut self, who: usize, operation: Operation) {
        self.revs += 1;
        let rev = tid(Clock::system().now().micros() - 1_000_000_000 + self.revs, 17);
        self.world.commit(&[Commit::new(&did(who), rev, vec![operation])]).await;
    }

    /// So many likers of the song, from this number on, on a PDS.
    async fn add_likers(&mut self, numbers: Range<usize>, home: usize) {
        self.add_likers_with(numbers, home, |number| page(&format!("Liker {number}"))).await;
    }

    async fn add_likers_with(&mut self, numbers: Range<usize>, home: usize, page: impl Fn(usize) -> Page) {
        for number in numbers {
            self.set_page(number, home, page(number));
            self.write(number, Operation::like(&key(1, 0), like(&track_uri(0, 0), AT))).await;
        }
    }

    fn set_page(&self, number: usize, home: usize, page: Page) {
        self.accounts.lock().unwrap().insert(did(number), (home, page));
    }

    fn pool(&self) -> &PgPool {
        &self.world.database.pool
    }

    /// Reads accounts' documents, so that what follows does not depend on how soon their hosts are known: until then a profile is
    /// put off, by pauses that double.
    async fn resolve(&self, numbers: &[usize]) {
        for number in numbers {
            let did = Did::parse(&did(*number)).unwrap();
            self.context.identities.find(&did).await.unwrap();
        }
    }

    fn run(&mut self) {
        let cancel = CancellationToken::new();
        let tasks = [
            tokio::spawn(identity::run(self.context.identities.clone(), cancel.clone())),
            tokio::spawn(bluesky_profiles::run(self.context.clone(), self.options, cancel.clone())),
        ];
        self.running = Some((cancel, tasks));
    }

    async fn stop(&mut self) {
        let (cancel, tasks) = self.running.take().unwrap();
        cancel.cancel();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
    }

    /// Ends what runs between two of its steps, as the power does.
    async fn kill(&mut self) {
        let (_, tasks) = self.running.take().unwrap();
        for task in tasks {
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        }
    }

    /// How often an account's profile was asked for, on all PDSes.
    fn asked(&self, number: usize) -> usize {
        let repo = format!("repo={}&", did(number)).replace(':', "%3A");
        let all = self.pdses[..self.pdses.len() - 1].iter().flat_map(Host::asked);
        all.filter(|asked| asked.target.contains(&repo)).count()
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let answer = self.client.get(format!("{}{path}", self.api)).query(query).send().await.unwrap();
        let answer = answer.error_for_status().unwrap();
        answer.json().await.unwrap()
    }

    /// Name and picture on an artist's card.
    async fn card(&self, number: usize) -> (Option<String>, Option<String>) {
        let card = self.get(&format!("/artists/{}", did(number).replace('%', "%25")), &[]).await;
        (text(&card["display_name"]), text(&card["avatar_url"]))
    }

    /// Who likes the song, with name and picture.
    async fn likers(&self) -> BTreeMap<String, (Option<String>, Option<String>)> {
        let song = self.get("/tracks/by-uri", &[("uri", &track_uri(0, 0))]).await;
        let likes = self.get(&format!("/tracks/{}/likes", song["id"]), &[("limit", "100")]).await;
        let user = |user: &Value| {
            (user["did"].as_str().unwrap().to_owned(), (text(&user["display_name"]), text(&user["avatar_url"])))
        };
        likes["users"].as_array().unwrap().iter().map(user).collect()
    }

    /// What is shown of an account of this name whose picture lies on this PDS.
    fn shown(&self, number: usize, home: usize, name: &str) -> (Option<String>, Option<String>) {
        let (url, cid) = (self.pdses[home].url(), some_cid(name));
        let picture = format!("{url}/xrpc/com.atproto.sync.getBlob?did={}&cid={cid}", did(number));
        (Some(name.to_owned()), Some(picture))
    }

    async fn wait_until_shown(&self, number: usize, expected: &(Option<String>, Option<String>)) {
        let begun = Instant::now();
        loop {
            let shown = self.card(number).await;
            if shown == *expected {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{shown:?} is shown, and not {expected:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until an account was asked about so often.
    async fn wait_until_asked(&self, number: usize, times: usize) {
        let begun = Instant::now();
        while self.asked(number) < times {
            assert!(begun.elapsed() < PATIENCE, "asked {} times, and not {times}", self.asked(number));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until all have an answer that was asked for since this moment, and none is taken or due.
    async fn wait_until_answered(&self, who: &[usize], since: Timestamp) {
        let dids: Vec<String> = who.iter().map(|number| did(*number)).collect();
        let begun = Instant::now();
        loop {
            let answered: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM bluesky_profiles b JOIN actors a ON a.id = b.actor_id
                WHERE a.did = ANY ($1) AND b.fetched_at >= $2 AND b.due_at > $3",
            )
            .bind(&dids)
            .bind(since.utc())
            .bind(self.manual_clock.now().utc())
            .fetch_one(self.pool())
            .await
            .unwrap();
            if answered == i64::try_from(who.len()).unwrap() {
                return;
            }
            if begun.elapsed() >= PATIENCE {
                let rows: Vec<String> =
                    sqlx::query_scalar("SELECT b::text FROM bluesky_profiles b").fetch_all(self.pool()).await.unwrap();
                panic!(
                    "{answered} of {} answered since {since}; it is {}: {rows:?}",
                    who.len(),
                    self.manual_clock.now()
                );
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until an account that came just now has been asked about: those that were due before it have had their turn.
    async fn pass(&mut self) {
        self.passed += 1;
        let number = 100 + self.passed;
        self.add_likers(number..number + 1, 0).await;
        self.wait_until_answered(&[number], self.manual_clock.now()).await;
    }

    /// An `#account` event, as it comes in a batch.
    async fn tell_account(&mut self, number: usize, active: bool, status: Option<&str>) {
        self.revs += 1;
        let time_us = self.manual_clock.now().micros() + self.revs;
        let mut account = json!({"did": did(number), "seq": self.revs, "time": wire::time_text(time_us)});
        account["active"] = active.into();
        if let Some(status) = status {
            account["status"] = status.into();
        }
        let message = json!({"did": did(number), "time_us": time_us, "kind": "account", "account": account});
        self.world.raw(message.to_string().into_bytes(), Vec::new()).await;
    }

    /// An `#identity` event, likewise.
    async fn tell_identity(&self, number: usize) {
        let bytes = wire::v1_identity(&did(number), None, self.manual_clock.now().micros());
        let collections = Collections::of_namespace("fm.plyr").unwrap();
        let frame = jetstream_v1::decode_message(&collections, &bytes);
        let event = |item| match item {
            Item::Event(event) => event,
            other @ Item::Reject(_) => panic!("{other:?}"),
        };
        let batch = Batch { events: frame.items.into_iter().map(event).collect(), ..Batch::default() };
        let mut connection = self.pool().acquire().await.unwrap();
        let applied =
            Applier::new(collections, self.manual_clock.clock()).apply(&mut connection, &batch).await.unwrap();
        assert_eq!(applied.applied, 1);
    }

    async fn answer_check(&self, answer: Answer) -> Decision {
        let mut connection = self.pool().acquire().await.unwrap();
        let far = Timestamp::parse("2100-01-01T00:00:00Z").unwrap();
        let due = account_checks::list_due(&mut connection, far.utc(), 10, &[]).await.unwrap();
        let [check] = due.as_slice() else { panic!("one check should be due: {due:?}") };
        let now = self.manual_clock.now();
        act_on_answer(&mut connection, check, Answered { answer, asked_at: now }, now).await.unwrap()
    }

    /// An answer that comes now.
    async fn keep_answer(&self, number: usize) {
        let now = self.manual_clock.now();
        let answer = ProfileAnswer {
            outcome: Outcome::Found,
            display_name: Some("Late"),
            avatar: None,
            host: self.pdses[0].url(),
            detail: None,
            asked_at: now,
            due_at: now,
        };
        let mut connection = self.pool().acquire().await.unwrap();
        let id: i64 = sqlx::query_scalar("SELECT id FROM actors WHERE did = $1")
            .bind(did(number))
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        write_answer(&mut connection, id.into(), &answer).await.unwrap();
    }

    async fn outcomes(&self) -> BTreeMap<String, Option<String>> {
        let rows: Vec<(String, Option<String>)> =
            sqlx::query_as("SELECT a.did, b.outcome FROM bluesky_profiles b JOIN actors a ON a.id = b.actor_id")
                .fetch_all(self.pool())
                .await
                .unwrap();
        rows.into_iter().collect()
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

const NOTHING: (Option<String>, Option<String>) = (None, None);

#[tokio::test]
async fn artists_and_likers_are_shown_with_name_and_picture() {
    let mut case = Case::with_a_song().await;
    assert_eq!((case.card(0).await, case.card(1).await), (NOTHING, NOTHING));
    case.run();
    let (ann, bob) = (case.shown(0, 0, "Ann"), case.shown(1, 0, "Bob"));
    case.wait_until_shown(0, &ann).await;
    case.wait_until_shown(1, &bob).await;
    assert_eq!(case.likers().await, BTreeMap::from([(did(1), bob.clone())]));
    let song = case.get("/tracks/by-uri", &[("uri", &track_uri(0, 0))]).await;
    assert_eq!(text(&song["artist_avatar_url"]), ann.1);
    assert_eq!(song["features"], json!([{"did": did(1), "handle": null, "display_name": "Bob"}]));
    let likes = case.get(&format!("/users/{}/likes", did(1)), &[]).await;
    assert_eq!((text(&likes["user"]["display_name"]), text(&likes["user"]["avatar_url"])), bob);
    // Those who come later are found too; an account with a list alone is neither artist nor liker until it likes something.
    case.pass().await;
    assert_eq!((case.asked(0), case.asked(1), case.asked(3)), (1, 1, 0));
    assert_eq!(case.card(3).await, NOTHING);
    case.write(3, Operation::like(&key(1, 0), like(&track_uri(0, 0), AT))).await;
    case.manual_clock.advance(DAY / 4);
    let cat = case.shown(3, 0, "Cat");
    case.wait_until_shown(3, &cat).await;
    case.stop().await;
}

#[tokio::test]
async fn the_own_profile_wins_field_by_field() {
    let mut case = Case::with_a_song().await;
    let own = Some("https://own.test/picture.png".to_owned());
    case.write(0, Operation::new("fm.plyr.actor.profile", "self", profile(Some("Bio"), own.as_deref(), AT))).await;
    case.write(1, Operation::new("fm.plyr.actor.profile", "self", profile(Some("Bio"), None, AT))).await;
    case.run();
    // It has no name: that can only come from the other.
    case.wait_until_shown(0, &(Some("Ann".to_owned()), own.clone())).await;
    let bob = case.shown(1, 0, "Bob");
    case.wait_until_shown(1, &bob).await;
    assert_eq!(case.get(&format!("/artists/{}", did(0)), &[]).await["bio"], "Bio");
    let song = case.get("/tracks/by-uri", &[("uri", &track_uri(0, 0))]).await;
    assert_eq!(text(&song["artist_avatar_url"]), own);
    // Its picture gone, the other's shows.
    case.write(0, Operation::new("fm.plyr.actor.profile", "self", wire::updated(profile(Some("Bio"), None, AT)))).await;
    let ann = case.shown(0, 0, "Ann");
    assert_eq!(case.card(0).await, ann);
    case.stop().await;
}

#[tokio::test]
async fn a_profile_is_read_again_when_it_is_old() {
    let mut case = Case::with_a_song().await;
    let began = case.manual_clock.now();
    case.run();
    case.wait_until_answered(&[0, 1], began).await;
    case.set_page(0, 0, page("Anna"));
    case.set_page(1, 0, Page::Nothing);
    case.manual_clock.advance(DAY * 5);
    case.pass().await;
    assert_eq!((case.asked(0), case.asked(1)), (1, 1));
    case.manual_clock.advance(DAY * 2);
    case.wait_until_answered(&[0, 1], began.plus(DAY * 7)).await;
    assert_eq!((case.asked(0), case.asked(1)), (2, 2));
    assert_eq!((case.card(0).await, case.card(1).await), (case.shown(0, 0, "Anna"), NOTHING));
    case.stop().await;
}

#[tokio::test]
async fn an_identity_event_has_a_profile_read_again() {
    let mut case = Case::with_a_song().await;
    let began = case.manual_clock.now();
    case.run();
    case.wait_until_answered(&[0, 1], began).await;
    // The artist moves, and takes another name there.
    case.set_page(0, 1, page("Moved"));
    case.manual_clock.advance(Duration::from_mins(1));
    case.tell_identity(0).await;
    case.wait_until_shown(0, &case.shown(0, 1, "Moved")).await;
    case.pass().await;
    assert_eq!((case.asked(0), case.asked(1)), (2, 1));
    // A program that comes back does not begin again.
    case.stop().await;
    case.run();
    case.pass().await;
    assert_eq!((case.asked(0), case.asked(1)), (2, 1));
    case.stop().await;
}

#[tokio::test]
async fn that_there_is_none_is_remembered_for_a_day() {
    let mut case = Case::with_a_song().await;
    case.set_page(1, 0, Page::Nothing);
    let began = case.manual_clock.now();
    case.run();
    case.wait_until_answered(&[0, 1], began).await;
    assert_eq!((case.card(1).await, case.outcomes().await[&did(1)].as_deref()), (NOTHING, Some("absent")));
    case.set_page(1, 0, page("Bob"));
    case.manual_clock.advance(DAY / 2);
    case.pass().await;
    assert_eq!((case.asked(1), case.card(1).await), (1, NOTHING));
    case.manual_clock.advance(DAY / 2);
    case.wait_until_shown(1, &case.shown(1, 0, "Bob")).await;
    assert_eq!(case.asked(1), 2);
    case.stop().await;
}

#[tokio::test]
async fn a_broken_record_shows_nothing() {
    let mut case = Case::with_a_song().await;
    let kind = "app.bsky.actor.profile";
    let broken = [
        json!({"$type": kind, "displayName": "x".repeat(641), "avatar": picture("Bob")}),
        json!({"$type": kind, "displayName": "a\0b"}),
        json!({"$type": "app.bsky.feed.post", "displayName": "Bob"}),
        json!({"$type": kind, "displayName": "Bob", "avatar": "https://elsewhere.test/picture"}),
        json!({"$type": kind, "displayName": ["Bob"]}),
        json!("Bob"),
    ];
    let began = case.manual_clock.now();
    case.run();
    case.wait_until_answered(&[0, 1], began).await;
    assert_eq!(case.card(1).await, case.shown(1, 0, "Bob"));
    for (number, record) in broken.into_iter().enumerate() {
        case.set_page(1, 0, Page::Record(record.clone()));
        let since = case.manual_clock.now();
        case.manual_clock.advance(if number == 0 { DAY * 7 } else { DAY });
        case.wait_until_answered(&[1], since).await;
        assert_eq!(case.outcomes().await[&did(1)].as_deref(), Some("refused"), "{record}");
        assert_eq!(case.card(1).await, NOTHING, "{record}");
    }
    case.set_page(1, 0, page("Bob"));
    case.manual_clock.advance(DAY);
    case.wait_until_shown(1, &case.shown(1, 0, "Bob")).await;
    case.stop().await;
}

#[tokio::test]
async fn r5_a_hidden_account_is_neither_shown_nor_asked_about() {
    let mut case = Case::with_a_song().await;
    case.tell_account(1, false, Some("deactivated")).await;
    let began = case.manual_clock.now();
    case.run();
    case.wait_until_answered(&[0], began).await;
    case.pass().await;
    assert_eq!(case.asked(1), 0);
    // Shown again, they are asked about; hidden while the answer is under way, they keep none.
    case.set_page(1, 0, Page::Hang);
    case.tell_account(1, true, None).await;
    case.manual_clock.advance(DAY / 4);
    case.wait_until_asked(1, 1).await;
    case.tell_account(1, false, Some("takendown")).await;
    let song = case.get("/tracks/by-uri", &[("uri", &track_uri(0, 0))]).await;
    assert_eq!(song["features"], json!([{"did": did(1), "handle": null, "display_name": null}]));
    case.stop().await;
    case.set_page(1, 0, page("Bob"));
    case.keep_answer(1).await;
    case.run();
    case.pass().await;
    assert_eq!(case.outcomes().await[&did(1)], None);
    case.tell_account(1, true, None).await;
    case.manual_clock.advance(DAY / 4);
    case.wait_until_shown(1, &case.shown(1, 0, "Bob")).await;
    // Hidden with a name, featured by others: it is not shown, and not lost.
    case.tell_account(1, false, Some("suspended")).await;
    let song = case.get("/tracks/by-uri", &[("uri", &track_uri(0, 0))]).await;
    assert_eq!(song["features"][0]["display_name"], Value::Null);
    assert!(!case.likers().await.contains_key(&did(1)));
    case.tell_account(1, true, None).await;
    assert_eq!(case.card(1).await, case.shown(1, 0, "Bob"));
    case.stop().await;
}

#[tokio::test]
async fn a1_a_deleted_account_loses_its_profile_and_a_restored_one_gets_it_back() {
    let mut case = Case::with_a_song().await;
    let began = case.manual_clock.now();
    case.run();
    case.wait_until_answered(&[0, 1], began).await;
    case.tell_account(1, false, Some("deleted")).await;
    assert_eq!(case.answer_check(Answer::NotFound).await, Decision::Remove);
    let mut connection = case.pool().acquire().await.unwrap().detach();
    follow_accounts(&mut connection, None).await.unwrap();
    assert!(!case.outcomes().await.contains_key(&did(1)));
    // Not by a look at all actors either.
    case.stop().await;
    case.run();
    case.pass().await;
    assert!(!case.outcomes().await.contains_key(&did(1)));
    assert_eq!(case.asked(1), 1);

    case.tell_account(1, true, None).await;
    assert_eq!(case.answer_check(Answer::Active { rev: None }).await, Decision::Show { rev: None });
    case.write(1, Operation::like(&key(1, 1), like(&track_uri(0, 0), AT))).await;
    case.manual_clock.advance(DAY / 4);
    case.wait_until_shown(1, &case.shown(1, 0, "Bob")).await;
    case.stop().await;
}

#[tokio::test]
async fn b4_a_host_that_hangs_delays_no_other() {
    let mut case = Case::with_a_song().await;
    case.add_likers_with(10..50, 1, |_| Page::Hang).await;
    case.add_likers(50..80, 0).await;
    case.resolve(&(0..2).chain(10..80).collect::<Vec<_>>()).await;
    let began = case.manual_clock.now();
    case.run();
    case.wait_until_answered(&(0..1).chain(50..80).collect::<Vec<_>>(), began).await;
    // After half a minute the first two are given up, and two others asked.
    let asked = case.pdses[1].asked().len();
    assert_eq!(asked, 2, "two at a time are asked of one host, and the others did not wait for them");
    case.stop().await;
}

#[tokio::test]
async fn b4_a_host_that_fails_is_asked_again_later_and_delays_no_other() {
    let mut case = Case::with_a_song().await;
    case.add_likers_with(10..20, 1, |_| Page::Status(500)).await;
    let began = case.manual_clock.now();
    case.run();
    case.wait_until_answered(&[0, 1], began).await;
    until(case.pool(), "SELECT count(*) = 10 FROM bluesky_profiles WHERE tries > 0 AND detail IS NOT NULL").await;
    case.pass().await;
    // Not asked after five failures, but for a probe now and then.
    let asked = case.pdses[1].asked().len();
    assert!((5..10).contains(&asked), "asked {asked} times");
    for number in 10..20 {
        case.set_page(number, 1, page(&format!("Liker {number}")));
    }
    case.manual_clock.advance(Duration::from_mins(30));
    case.wait_until_answered(&(10..20).collect::<Vec<_>>(), began).await;
    assert_eq!(case.card(15).await, case.shown(15, 1, "Liker 15"));
    // What is shown stays while the host fails again.
    case.set_page(15, 1, Page::Status(500));
    case.manual_clock.advance(DAY * 7);
    until(case.pool(), "SELECT count(*) > 0 FROM bluesky_profiles WHERE tries > 0").await;
    assert_eq!(case.card(15).await, case.shown(15, 1, "Liker 15"));
    case.stop().await;
}

#[tokio::test]
async fn b3_a_host_that_throttles_is_not_asked_before_its_time() {
    let mut case = Case::with_a_song().await;
    case.add_likers_with(10..13, 1, |_| Page::Throttled("840")).await;
    case.run();
    until(case.pool(), "SELECT count(*) = 3 FROM bluesky_profiles WHERE detail LIKE '%patience%'").await;
    for number in 10..13 {
        case.set_page(number, 1, page("Patient"));
    }
    case.manual_clock.advance(Duration::from_mins(5));
    case.pass().await;
    let asked = case.pdses[1].asked().len();
    assert!((1..=2).contains(&asked), "asked {asked} times");
    let since = case.manual_clock.now();
    case.manual_clock.advance(Duration::from_mins(10));
    case.wait_until_answered(&[10, 11, 12], since).await;
    assert_eq!(case.pdses[1].asked().len(), asked + 3);
    case.stop().await;
}

#[tokio::test]
async fn b2_a_process_that_died_or_stopped_is_continued() {
    let mut case = Case::with_a_song().await;
    case.add_likers(10..25, 1).await;
    case.add_likers_with(25..40, 1, |_| Page::Hang).await;
    let hanging = |case: &Case| (25..40).map(|number| case.asked(number)).sum::<usize>();
    case.run();
    // Two keep the host's places.
    let begun = Instant::now();
    while hanging(&case) < 2 {
        assert!(begun.elapsed() < PATIENCE, "no request hangs");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    case.kill().await;
    let found: Vec<usize> = (10..25).filter(|number| case.asked(*number) > 0).collect();
    assert!(!found.is_empty(), "some were answered before");
    for number in 25..40 {
        case.set_page(number, 1, page(&format!("Liker {number}")));
    }
    // What a dead one took comes again by time, and so does what it put off.
    case.manual_clock.advance(Duration::from_hours(2));
    case.run();
    case.wait_until_answered(&(10..40).collect::<Vec<_>>(), Timestamp::from_micros(0).unwrap()).await;
    for number in found {
        assert_eq!(case.asked(number), 1, "{number} was answered before");
    }
    let likers = case.likers().await;
    for number in 10..40 {
        assert_eq!(likers[&did(number)], case.shown(number, 1, &format!("Liker {number}")));
    }
    // One that is stopped releases what it took, at once.
    case.add_likers_with(40..42, 1, |_| Page::Hang).await;
    case.wait_until_asked(40, 1).await;
    case.wait_until_asked(41, 1).await;
    case.stop().await;
    for number in 40..42 {
        case.set_page(number, 1, page("Late"));
    }
    case.run();
    case.wait_until_answered(&[40, 41], Timestamp::from_micros(0).unwrap()).await;
    case.stop().await;
}

#[tokio::test]
async fn all_actors_are_enrolled_however_many_there_are() {
    let mut case = Case::with_a_song().await;
    sqlx::query("INSERT INTO actors (did, author_no) SELECT 'did:plc:number' || n, nextval('author_numbers') FROM generate_series(1, 3000) AS n")
        .execute(case.pool())
        .await
        .unwrap();
    case.run();
    until(case.pool(), "SELECT (SELECT count(*) FROM bluesky_profiles) = (SELECT count(author_no) FROM actors)").await;
    case.stop().await;
}

#[tokio::test]
async fn a_did_with_a_port_has_a_picture_too() {
    let mut case = Case::with_a_song().await;
    case.write(2, Operation::like(&key(1, 0), like(&track_uri(0, 0), AT))).await;
    sqlx::query(
        "INSERT INTO bluesky_profiles (actor_id, avatar_cid, host, outcome, fetched_at, due_at)
        SELECT id, decode('01551220' || repeat('ab', 32), 'hex'), 'https://pds.test', 'found', now(), now() FROM actors
        WHERE did = $1",
    )
    .bind(did(2))
    .execute(case.pool())
    .await
    .unwrap();
    let (_, url) = case.card(2).await;
    let url = reqwest::Url::parse(&url.unwrap()).unwrap();
    assert_eq!(url.query_pairs().next().unwrap(), ("did".into(), did(2).into()));
    assert_eq!((url.path(), url.query_pairs().count()), ("/xrpc/com.atproto.sync.getBlob", 2));
}

/// A picture of one point.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89";

#[tokio::test]
async fn on_a_real_network_a_liker_has_name_and_picture() {
    let (network, database) = (Network::start().await, fresh().await);
    let (artist, fan) = (network.account("artist").await, network.account("fan").await);
    let song = artist.create("fm.plyr.track", track_of("One")).await;
    fan.create("fm.plyr.like", like_of(&song)).await;
    let blob = fan.upload_blob("image/png", PNG.to_vec()).await;
    let kind = "app.bsky.actor.profile";
    fan.put(kind, "self", json!({"$type": kind, "displayName": "A fan", "avatar": blob})).await;
    let settings = of_network(&database, &network).with("PLYR_SOURCES", network.source());
    let likers = async |program: &Program| {
        let song = program.get("/tracks/by-uri", &[("uri", &song.uri)]).await?;
        let likes = program.get(&format!("/tracks/{}/likes", song["id"]), &[]).await?;
        likes["users"].get(0).cloned().ok_or_else(|| "no account likes it yet".to_owned())
    };

    let off = settings.with("PLYR_READ_REPOS", "false");
    let program = Program::serve(&off).await;
    program.wait_until("the like is seen", async |program| likers(program).await.map(drop)).await;
    until(&database.pool, "SELECT count(*) = 2 AND bool_and(fetched_at IS NOT NULL) FROM identities").await;
    assert_eq!(
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM bluesky_profiles").fetch_one(&database.pool).await.unwrap(),
        0
    );
    drop(program);

    let program = Program::serve(&off.with("PLYR_READ_REPOS", "true")).await;
    let url = Mutex::new(String::new());
    program
        .wait_until("the fan has a name", async |program| {
            let user = likers(program).await?;
            let (Some("A fan"), Some(picture)) = (user["display_name"].as_str(), user["avatar_url"].as_str()) else {
                return Err(user.to_string());
            };
            picture.clone_into(&mut url.lock().unwrap());
            Ok(())
        })
        .await;
    let url = url.into_inner().unwrap();
    let shown = reqwest::get(&url).await.unwrap().error_for_status().unwrap();
    assert_eq!(shown.bytes().await.unwrap(), PNG);
    until(&database.pool, "SELECT count(*) = 1 FROM bluesky_profiles WHERE outcome = 'absent'").await;
    let metrics = program.metrics().await;
    for (outcome, count) in [("found", 1), ("absent", 1), ("refused", 0)] {
        let line = format!("plyr_bluesky_profiles_total{{outcome=\"{outcome}\"}} {count}");
        assert!(metrics.contains(&line), "no {line} in {metrics}");
    }
}
