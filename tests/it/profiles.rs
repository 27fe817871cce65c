//! Name and picture of artists and likers: asked for, kept, and shown. The directory and the PDSes are scripted hosts, the clock is
//! moved by hand; the real network is at the end.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use plyr_likes::{
    apply::{Answer, Decision, settle},
    atproto::Timestamp,
    identity::{self, Identities, IdentityOptions},
    ingest::settle_accounts,
    pds::{Directory, HostUrl},
    profiles::{self, Options},
    store::account_checks,
};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    cases_backfill::of_network,
    pds::{Hands, names, open_client},
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

/// What a PDS says of somebody's profile.
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

/// Where somebody lives, by the number of the PDS, and what is said of them there.
type People = Arc<Mutex<HashMap<String, (usize, Page)>>>;

/// An index with its API, the hosts around it, and what reads profiles.
struct Case {
    world: World,
    people: People,
    pdses: Vec<Host>,
    hands: Hands,
    options: Options,
    api: String,
    stop_api: CancellationToken,
    client: reqwest::Client,
    running: Option<(CancellationToken, [JoinHandle<()>; 2])>,
    revs: i64,
}

impl Drop for Case {
    fn drop(&mut self) {
        self.stop_api.cancel();
    }
}

fn pds(people: &People, number: usize) -> impl Fn(&super::support::host::Asked) -> Reply + Send + Sync + 'static {
    let people = people.clone();
    move |asked| {
        let query = asked.target.split_once('?').map_or("", |(_, query)| query).replace("%3A", ":");
        let parameter = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let is_ours = asked.target.starts_with("/xrpc/com.atproto.repo.getRecord?")
            && (parameter("collection"), parameter("rkey")) == (Some("app.bsky.actor.profile"), Some("self"));
        let repo = parameter("repo").unwrap_or_default();
        let refused = |error: &str| Reply::Answer(400, Vec::new(), json!({"error": error}).to_string().into_bytes());
        match people.lock().unwrap().get(repo).filter(|(home, _)| is_ours && *home == number) {
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
        let people = People::default();
        let mut hosts = Vec::new();
        for number in 0..pdses {
            hosts.push(Host::start(pds(&people, number)).await);
        }
        let (told, urls) = (people.clone(), hosts.iter().map(Host::url).collect::<Vec<_>>());
        let plc = Host::start(move |asked| {
            let did = asked.target.trim_start_matches('/');
            let people = told.lock().unwrap();
            let Some((home, _)) = people.get(did) else { return Reply::status(404) };
            let service =
                json!({"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": urls[*home]});
            Reply::ok(json!({"id": did, "service": [service]}).to_string())
        })
        .await;
        let hands = Hands::new();
        let directory = Directory::new(open_client(&hands), names(&[], &[]), HostUrl::parse(&plc.url()).unwrap());
        hosts.push(plc);
        let quick = (Duration::from_millis(1), Duration::from_millis(10));
        let identity_options = IdentityOptions { pace: quick.0, tick: quick.1, ..IdentityOptions::default() };
        let pool = world.database.pool.clone();
        let identities = Identities::new(pool.clone(), directory, hands.clock(), (identity_options, || 1.0));
        let options = Options { pace: quick.0, tick: quick.1, told_every: quick.1, ..Options::new(identities) };
        let (api, stop_api) = start(pool, settings()).await;
        let client = http::client(Duration::from_secs(30));
        Self { world, people, pdses: hosts, hands, options, api, stop_api, client, running: None, revs: 0 }
    }

    /// An artist (0) with a track on which 1 is featured, a liker (1) of it, and somebody with a list alone (3); all on the first PDS.
    async fn with_a_song() -> Self {
        let mut case = Self::new(2).await;
        for (number, name) in [(0, "Ann"), (1, "Bob"), (3, "Cat")] {
            case.settle(number, 0, page(name));
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
        let rev = tid(self.hands.now().micros() - 1_000_000_000 + self.revs, 17);
        self.world.commit(&[Commit::new(&did(who), rev, vec![operation])]).await;
    }

    /// So many likers of the song, from this number on, on a PDS.
    async fn add_likers(&mut self, numbers: std::ops::Range<usize>, home: usize) {
        for number in numbers {
            self.settle(number, home, page(&format!("Liker {number}")));
            self.write(number, Operation::like(&key(1, 0), like(&track_uri(0, 0), AT))).await;
        }
    }

    fn settle(&self, number: usize, home: usize, page: Page) {
        self.people.lock().unwrap().insert(did(number), (home, page));
    }

    fn pool(&self) -> &PgPool {
        &self.world.database.pool
    }

    fn run(&mut self) {
        let cancel = CancellationToken::new();
        let tasks = [
            tokio::spawn(identity::run(self.options.identities.clone(), cancel.clone())),
            tokio::spawn(profiles::run(
                self.pool().clone(),
                self.options.clone(),
                self.hands.clock(),
                cancel.clone(),
            )),
        ];
        self.running = Some((cancel, tasks));
    }

    async fn stop(&mut self) {
        let (cancel, tasks) = self.running.take().unwrap();
        cancel.cancel();
        for task in tasks {
            task.await.unwrap();
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

    /// How often somebody's profile was asked for, on all PDSes.
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
        let card = self.get(&format!("/artists/{}", did(number)), &[]).await;
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

    /// What is shown of somebody of this name whose picture lies on this PDS.
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

    /// Waits until somebody was asked about so often.
    async fn wait_until_asked(&self, number: usize, times: usize) {
        let begun = Instant::now();
        while self.asked(number) < times {
            assert!(begun.elapsed() < PATIENCE, "asked {} times, and not {times}", self.asked(number));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until everybody has an answer that was asked for since this moment, and nobody is taken or due.
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
            .bind(self.hands.now().utc())
            .fetch_one(self.pool())
            .await
            .unwrap();
            if answered == i64::try_from(who.len()).unwrap() {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{answered} of {} answered", who.len());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the table has been looked at a few more times, with nobody due.
    async fn wait_until_idle(&self) {
        let due = "SELECT count(*) = 0 FROM bluesky_profiles WHERE due_at <= ";
        let begun = Instant::now();
        for _ in 0..5 {
            let question = sqlx::AssertSqlSafe(format!("{due}'{}'", self.hands.now()));
            while !sqlx::query_scalar::<_, bool>(question.clone()).fetch_one(self.pool()).await.unwrap() {
                assert!(begun.elapsed() < PATIENCE, "somebody is always due");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            tokio::time::sleep(self.options.tick).await;
        }
    }

    /// An `#account` or `#identity` event, as it comes in a batch.
    async fn tell(&mut self, number: usize, kind: &str, mut body: Value) {
        body["did"] = did(number).into();
        self.revs += 1;
        let time_us = self.hands.now().micros() + self.revs;
        (body["seq"], body["time"]) = (self.revs.into(), wire::time_text(time_us).into());
        let message = json!({"did": did(number), "time_us": time_us, "kind": kind, kind: body});
        self.world.raw(message.to_string().into_bytes(), Vec::new()).await;
    }

    async fn answer_check(&self, answer: Answer) -> Decision {
        let mut connection = self.pool().acquire().await.unwrap();
        let far = Timestamp::parse("2100-01-01T00:00:00Z").unwrap();
        let due = account_checks::list_due(&mut connection, far.utc(), 10).await.unwrap();
        let [check] = due.as_slice() else { panic!("one check should be due: {due:?}") };
        // Events are kept with the machine's clock, and what is said of an account later must be later.
        let now = self.hands.now().max(plyr_likes::clock::Clock::system().now());
        settle((&mut connection, None), check, answer, (now, now)).await.unwrap()
    }

    async fn outcomes(&self) -> BTreeMap<String, Option<String>> {
        let rows: Vec<(String, Option<String>)> = sqlx::query_as(
            "SELECT a.did, b.outcome FROM bluesky_profiles b JOIN actors a ON a.id = b.actor_id",
        )
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
