//! Cases T12, T13, T15 and T16: several hosts at once, of which one leaves out what the others deliver.

use std::time::{Duration, Instant};

use plyr_likes::{
    clock::Clock,
    ingest::{self, failover::Patience},
    serve,
    source::{SourceSpec, Tuning},
};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::support::{
    api,
    database::{TestDatabase, fresh},
    dump,
    history::{did, key, tid, track_uri},
    model::{Model, Write},
    run::{PATIENCE, Pump, command, until_as},
    upstream::{Act, Line, Told, Upstream},
    wire::{self, Commit, Operation, like},
};

const AT: &str = "2025-01-01T00:00:00Z";

/// A Jetstream v1 host whose log a test writes.
struct Host {
    upstream: Upstream,
    log: watch::Sender<Vec<Line>>,
}

impl Host {
    async fn start() -> Self {
        let log = watch::Sender::new(Vec::new());
        let told = log.clone();
        let upstream =
            Upstream::start(move |request| vec![Act::Tail { log: told.subscribe(), cursor: request.cursor() }]).await;
        Self { upstream, log }
    }

    fn source(&self) -> String {
        format!("jetstream+ws://{}", self.upstream.address)
    }

    fn tell(&self, (time_us, text): &(i64, String), told: Told) {
        self.log.send_modify(|lines| lines.push(Line { time_us: *time_us, text: text.clone(), told }));
    }

    /// From now on everything is told to whoever asks for it.
    fn recover(&self) {
        self.log.send_modify(|lines| lines.iter_mut().for_each(|line| line.told = Told::Always));
    }

    fn requests(&self) -> usize {
        self.upstream.requests().len()
    }

    fn cursor(&self, request: usize) -> i64 {
        self.upstream.requests()[request].cursor().unwrap()
    }
}

fn now_us() -> i64 {
    chrono::Utc::now().timestamp_micros()
}

/// Likes that are written while the test runs.
#[derive(Default)]
struct Fans {
    count: usize,
    writes: Vec<Write>,
}

impl Fans {
    /// Another fan likes the track, now.
    fn like(&mut self) -> (i64, String) {
        self.count += 1;
        let now_us = now_us();
        let operation = Operation::like(&key(1, self.count), like(&track_uri(0, 0), AT));
        let commit = Commit::new(&did(self.count + 3), tid(now_us, 1), vec![operation]);
        self.writes.extend(commit.writes());
        (now_us, String::from_utf8(wire::v1_message(&commit, 0, now_us)).unwrap())
    }

    fn model(&self) -> Model {
        Model::of(&self.writes)
    }
}

/// Something else that a host tells of, now.
fn foreign() -> (i64, String) {
    let (did, now_us) = (did(900), now_us());
    let at = wire::time_text(now_us);
    let text = format!(
        r#"{{"did":"{did}","time_us":{now_us},"kind":"identity","identity":{{"did":"{did}","seq":1,"time":"{at}"}}}}"#
    );
    (now_us, text)
}

fn options(sources: &[&Host], standbys: &[&Host]) -> ingest::Options {
    let names: Vec<String> = sources.iter().map(|host| host.source()).collect();
    let options = Pump::options(&names.iter().map(String::as_str).collect::<Vec<_>>());
    ingest::Options {
        standbys: standbys.iter().map(|host| SourceSpec::parse(&host.source()).unwrap()).collect(),
        patience: Patience {
            grace: Duration::from_millis(600),
            trial: Duration::from_secs(3),
            pause_min: Duration::from_mins(10),
            ..Patience::default()
        },
        // Shorter than it takes to notice an incomplete host: a source that begins at its last event of ours was rewound.
        tuning: Tuning { rewind: Duration::from_millis(50), ..options.tuning },
        ..options
    }
}

async fn ask<T>(pool: &PgPool, question: &str) -> T
where
    T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    sqlx::query_scalar(AssertSqlSafe(question.to_owned())).fetch_one(pool).await.unwrap()
}

/// Waits until a question to the database is answered with yes.
async fn until(pool: &PgPool, question: &str) {
    let started = Instant::now();
    while !ask::<bool>(pool, question).await {
        assert!(started.elapsed() < PATIENCE, "in vain: {question}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// An index that follows two hosts, which are live and known to deliver. A third is there to stand by.
struct Scene {
    database: TestDatabase,
    a: Host,
    b: Host,
    c: Host,
    fans: Fans,
    pump: Pump,
}

impl Scene {
    async fn start(options: impl FnOnce(&Host, &Host, &Host) -> ingest::Options) -> Self {
        let database = fresh().await;
        let (a, b, c) = (Host::start().await, Host::start().await, Host::start().await);
        let pump = Pump::with(&database.pool, options(&a, &b, &c));
        let mut scene = Self { database, a, b, c, fans: Fans::default(), pump };
        scene.tell_both(&foreign());
        until(&scene.pool(), "SELECT count(*) = 2 FROM positions").await;
        let first = scene.fans.like();
        scene.tell_both(&first);
        until(&scene.pool(), "SELECT count(*) = 2 FROM last_delivered WHERE collection = 'like'").await;
        scene
    }

    fn pool(&self) -> PgPool {
        self.database.pool.clone()
    }

    fn tell_both(&self, line: &(i64, String)) {
        self.a.tell(line, Told::Always);
        self.b.tell(line, Told::Always);
    }

    /// More likes are written, of which the second host delivers this much, until it is noticed.
    async fn until_b_is_incomplete(&mut self, told: Told) {
        let question = format!(
            "SELECT count(*) = 1 FROM source_scores WHERE source = '{}' AND incomplete_since IS NOT NULL",
            self.b.source()
        );
        let started = Instant::now();
        while !ask::<bool>(&self.database.pool, &question).await {
            assert!(started.elapsed() < PATIENCE, "the host is incomplete, and it was not noticed");
            let next = self.fans.like();
            self.a.tell(&next, Told::Always);
            self.b.tell(&next, told);
            self.b.tell(&foreign(), Told::Always);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Where the second host stands with the last event of ours that it delivered.
    async fn last_of_b(&self) -> i64 {
        let question = format!("SELECT value FROM last_delivered WHERE source = '{}'", self.b.source());
        ask(&self.database.pool, &question).await
    }

    async fn until_paused(&self, host: &Host) {
        let question =
            format!("SELECT count(*) = 1 FROM sources WHERE source = '{}' AND state = 'paused'", host.source());
        until(&self.database.pool, &question).await;
    }
}

/// The gap of an incomplete host is there, has an end, and was closed by what the host delivered.
const GAP_IS_OPEN: &str = "SELECT count(*) = 1 FROM gaps WHERE reason = 'incomplete' AND to_at IS NULL";
const GAP_HAS_ENDED: &str = "SELECT count(*) = 1 FROM gaps WHERE reason = 'incomplete' AND to_at IS NOT NULL";
const GAP_IS_CLOSED: &str =
    "SELECT count(*) = 1 FROM gaps WHERE reason = 'incomplete' AND state = 'closed' AND closed_by = 'source'";

fn count_done(host: &Host, name: &str) -> usize {
    host.upstream.done().iter().filter(|(_, done)| done == name).count()
}

#[tokio::test]
async fn t12_incomplete_host_is_noticed_rewound_and_replaced() {
    let mut scene = Scene::start(|a, b, c| options(&[a, b], &[c])).await;
    let pool = &scene.pool();
    let last = scene.last_of_b().await;
    assert_eq!(scene.c.requests(), 0, "a standby is not followed before it is needed");
    // The standby has all that there ever was.
    scene.c.tell(&scene.fans.like(), Told::Always);

    scene.until_b_is_incomplete(Told::Never).await;
    assert!(count_done(&scene.b, "hid") >= 3, "the fault did not happen");
    // Noticed: a gap from its last event of ours on.
    let gap = format!("FROM gaps WHERE source = '{}' AND reason = 'incomplete' AND state = 'open'", scene.b.source());
    until(pool, &format!("SELECT count(*) = 1 {gap} AND from_value = {last}")).await;
    // Rewound: asked again from there.
    scene.b.upstream.wait_until(|upstream| upstream.requests().len() == 2).await;
    assert!(scene.b.cursor(1) <= last, "asked from {} although its last event of ours is at {last}", scene.b.cursor(1));
    // Replaced: the standby is followed, and the incomplete one is not any more.
    scene.c.upstream.wait_until(|upstream| upstream.requests().len() == 1).await;
    scene.until_paused(&scene.b).await;
    let next = scene.fans.like();
    scene.c.tell(&next, Told::Always);
    until_as(pool, &scene.fans.model()).await;
    // Once each: no storm.
    assert_eq!((scene.a.requests(), scene.b.requests(), scene.c.requests()), (1, 2, 1));
    assert!(ask::<bool>(pool, &format!("SELECT count(*) = 1 {gap}")).await, "what it missed has not come");
    scene.pump.stop().await;
}

#[tokio::test]
async fn t12_incomplete_host_that_delivers_what_it_missed_closes_its_gap() {
    // However slow the machine, what was missed comes in time.
    let mut scene = Scene::start(|a, b, c| {
        let mut options = options(&[a, b], &[c]);
        options.patience.trial = PATIENCE;
        options
    })
    .await;
    let pool = &scene.pool();
    scene.until_b_is_incomplete(Told::InReplay).await;
    assert!(count_done(&scene.b, "missed") >= 3, "the fault did not happen");
    until(pool, GAP_IS_CLOSED).await;
    until(pool, "SELECT count(*) = 0 FROM source_scores WHERE incomplete_since IS NOT NULL").await;
    assert!(
        ask::<i64>(pool, &format!("SELECT late FROM source_scores WHERE source = '{}'", scene.b.source())).await >= 3
    );
    until_as(pool, &scene.fans.model()).await;
    assert_eq!((scene.a.requests(), scene.b.requests(), scene.c.requests()), (1, 2, 0));
    scene.pump.stop().await;
}

#[tokio::test]
async fn t12_incomplete_host_that_recovers_without_what_it_missed_leaves_its_gap_to_a_resync() {
    let mut scene = Scene::start(|a, b, _| options(&[a, b], &[])).await;
    let pool = &scene.pool();
    scene.until_b_is_incomplete(Told::Never).await;
    until(pool, GAP_IS_OPEN).await;
    let next = scene.fans.like();
    scene.tell_both(&next);
    until(pool, "SELECT count(*) = 0 FROM source_scores WHERE incomplete_since IS NOT NULL").await;
    until(pool, GAP_HAS_ENDED).await;
    assert!(ask::<bool>(pool, "SELECT state = 'open' FROM gaps WHERE reason = 'incomplete'").await, "it is not closed");
    scene.pump.stop().await;
}

#[tokio::test]
async fn t12_gap_of_an_incomplete_host_ends_when_the_index_starts_again() {
    let mut scene = Scene::start(|a, b, _| options(&[a, b], &[])).await;
    let pool = &scene.pool();
    scene.until_b_is_incomplete(Told::Never).await;
    until(pool, GAP_IS_OPEN).await;
    scene.pump.stop().await;
    let pump = Pump::with(pool, options(&[&scene.a, &scene.b], &[]));
    until(pool, GAP_HAS_ENDED).await;
    pump.stop().await;
}

#[tokio::test]
async fn t12_incomplete_host_is_tried_again_later() {
    let mut scene = Scene::start(|a, b, c| {
        let mut options = options(&[a, b], &[c]);
        options.patience.pause_min = Duration::from_secs(1);
        options.patience.trial = Duration::from_secs(1);
        options
    })
    .await;
    let pool = &scene.pool();
    let last = scene.last_of_b().await;
    scene.until_b_is_incomplete(Told::Never).await;
    scene.c.upstream.wait_until(|upstream| upstream.requests().len() == 1).await;
    scene.until_paused(&scene.b).await;
    let asked = scene.b.requests();
    scene.b.recover();
    scene.b.upstream.wait_until(|upstream| upstream.requests().len() > asked).await;
    assert!(
        scene.b.cursor(asked) <= last,
        "asked from {} although its last event of ours is at {last}",
        scene.b.cursor(asked)
    );
    until(pool, GAP_IS_CLOSED).await;
    scene.until_paused(&scene.c).await;
    until_as(pool, &scene.fans.model()).await;
    scene.pump.stop().await;
}

#[tokio::test]
async fn t12_status_shows_it() {
    let mut scene = Scene::start(|a, b, _| options(&[a, b], &[])).await;
    let pool = &scene.pool();
    scene.until_b_is_incomplete(Told::Never).await;
    scene.b.upstream.wait_until(|upstream| upstream.requests().len() == 2).await;
    scene.b.tell(&foreign(), Told::Always);
    until(pool, &format!("SELECT event_at > last_record_at FROM positions WHERE source = '{}'", scene.b.source()))
        .await;

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut settings = api::settings();
    settings.lag_limit_s = 0.05;
    let stop = CancellationToken::new();
    let router = serve::router(pool.clone(), settings, Clock::system());
    // With names, which untrusted clients do not see.
    let router = router.nest("/operator", serve::operator_router(axum::Router::new(), pool.clone(), Clock::system()));
    let server = tokio::spawn(serve::run(listener, router, serve::Limits::api(), stop.clone()));
    let status: Value = reqwest::get(format!("http://{address}/operator/status")).await.unwrap().json().await.unwrap();
    let sources = status["sources"].as_array().unwrap();
    let shown = |host: &Host| sources.iter().find(|source| source["source"] == host.source()).unwrap();
    assert_eq!(shown(&scene.a)["state"], "connected");
    assert_eq!(shown(&scene.a)["score"]["missed"], 0);
    let incomplete = shown(&scene.b);
    assert_eq!(incomplete["state"], "incomplete");
    assert_eq!(incomplete["score"]["incomplete_in"], serde_json::json!(["like"]));
    assert!(incomplete["score"]["missed"].as_i64().unwrap() >= 3, "{incomplete}");
    assert!(incomplete["score"]["incomplete_since"].is_string());
    // What else it delivers does not show that we are up to date.
    let ours_at = chrono::DateTime::parse_from_rfc3339(incomplete["ours_at"].as_str().unwrap()).unwrap();
    let event_at = chrono::DateTime::parse_from_rfc3339(incomplete["event_at"].as_str().unwrap()).unwrap();
    assert!(event_at > ours_at, "it has delivered nothing else: the test is void");
    assert!(incomplete["lag_s"].as_f64().unwrap() >= (event_at - ours_at).as_seconds_f64(), "{incomplete}");

    let output = tokio::task::spawn_blocking({
        let url = scene.database.url.clone();
        move || command(&url).arg("status").output().unwrap()
    })
    .await
    .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("incomplete in like since "), "{said}");
    assert!(said.contains("MISSED"), "{said}");

    // With the other gone, the incomplete one alone does not make the index ready.
    sqlx::query(AssertSqlSafe(format!("DELETE FROM positions WHERE source = '{}'", scene.a.source())))
        .execute(pool)
        .await
        .unwrap();
    scene.b.tell(&foreign(), Told::Always);
    let ready = reqwest::get(format!("http://{address}/ready")).await.unwrap();
    assert_eq!(ready.status(), 503);
    stop.cancel();
    server.await.unwrap().unwrap();
    scene.pump.stop().await;
}

#[tokio::test]
async fn t13_quiet_is_not_incomplete() {
    let mut scene = Scene::start(|a, b, c| options(&[a, b], &[c])).await;
    let pool = &scene.pool();
    // A night of ten graces: one host delivers something else, one nothing at all, and none anything of ours.
    for _ in 0..60 {
        scene.a.tell(&foreign(), Told::Always);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!((scene.a.requests(), scene.b.requests(), scene.c.requests()), (1, 1, 0));
    assert!(ask::<bool>(pool, "SELECT count(*) = 0 FROM gaps WHERE reason = 'incomplete'").await);
    assert!(ask::<bool>(pool, "SELECT count(*) = 3 AND sum(missed) = 0 FROM source_scores").await);
    // They were compared all the time: the same silence is incompleteness once another delivers.
    scene.until_b_is_incomplete(Told::Never).await;
    scene.pump.stop().await;
}

#[tokio::test]
async fn t15_union() {
    let mut scene = Scene::start(|a, b, _| options(&[a, b], &[])).await;
    let pool = &scene.pool();
    for number in 0..60 {
        let next = scene.fans.like();
        let told = |misses: bool| if misses { Told::Never } else { Told::Always };
        scene.a.tell(&next, told(number % 3 == 0));
        scene.b.tell(&next, told(number % 3 == 1));
    }
    let (last_a, last_b) = (foreign(), foreign());
    scene.a.tell(&last_a, Told::Always);
    scene.b.tell(&last_b, Told::Always);
    until_as(pool, &scene.fans.model()).await;
    assert_eq!((count_done(&scene.a, "hid"), count_done(&scene.b, "hid")), (20, 20), "the fault did not happen");
    assert_eq!(dump::miscounted(pool).await, Vec::<String>::new(), "something is counted twice");
    // Each has a position of its own.
    for (host, (time_us, _)) in [(&scene.a, &last_a), (&scene.b, &last_b)] {
        let question = format!("SELECT value = {time_us} FROM positions WHERE source = '{}'", host.source());
        until(pool, &question).await;
    }
    // Both have been judged, and neither is incomplete: each delivers most.
    until(pool, "SELECT count(*) = 2 FROM source_scores WHERE missed = 20").await;
    assert!(ask::<bool>(pool, "SELECT count(*) = 0 FROM source_scores WHERE incomplete_since IS NOT NULL").await);
    assert_eq!((scene.a.requests(), scene.b.requests()), (1, 1));
    scene.pump.stop().await;
}

#[tokio::test]
async fn t16_what_one_host_drops_or_swaps_where_replay_becomes_live_another_has() {
    let database = fresh().await;
    let pool = &database.pool;
    let (a, b) = (Host::start().await, Host::start().await);
    let mut fans = Fans::default();
    let lines: Vec<(i64, String)> = (0..12).map(|_| fans.like()).collect();
    // Before anybody asks there are six; the host drops the sixth, and swaps the next two.
    let seam = |host: &Host, dropped: usize| {
        for (number, line) in lines[..6].iter().enumerate() {
            host.tell(line, if number == dropped { Told::Never } else { Told::Always });
        }
    };
    seam(&a, 5);
    seam(&b, 3);
    let pump = Pump::with(pool, options(&[&a, &b], &[]));
    a.upstream.wait_until(|upstream| upstream.has_done("hid")).await;
    b.upstream.wait_until(|upstream| upstream.has_done("hid")).await;
    for number in [7, 6, 8, 9, 11, 10] {
        a.tell(&lines[number], Told::Always);
    }
    for (number, line) in lines.iter().enumerate().skip(6) {
        b.tell(line, if number == 8 { Told::Never } else { Told::Always });
    }
    until_as(pool, &fans.model()).await;
    pump.stop().await;
}

#[tokio::test]
async fn t16_a_single_host_brings_what_it_dropped_with_the_next_connection() {
    let database = fresh().await;
    let pool = &database.pool;
    let mut fans = Fans::default();
    let lines: Vec<(i64, String)> = (0..8).map(|_| fans.like()).collect();
    let upstream = Upstream::start(move |request| {
        let first = request.connection == 0;
        let cursor = request.cursor().unwrap();
        let told =
            lines.iter().enumerate().filter(|(number, (time_us, _))| *time_us >= cursor && !(first && *number == 4));
        let mut acts: Vec<Act> = told.map(|(_, (_, text))| Act::Text(text.clone())).collect();
        if first {
            acts.extend([Act::WaitForGo, Act::Drop]);
        }
        acts.push(Act::Stay);
        acts
    })
    .await;
    let pump = Pump::start(pool, &format!("jetstream+ws://{}", upstream.address));
    until(pool, "SELECT count(*) = 7 FROM likes").await;
    upstream.go();
    // The margin of some seconds behind the position brings what was dropped a moment ago. Without another connection, and
    // without another source, nothing would.
    until_as(pool, &fans.model()).await;
    assert!(upstream.has_done("drop"), "the connection was not broken");
    pump.stop().await;
}
