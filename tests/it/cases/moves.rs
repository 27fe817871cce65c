//! Cases A2 and A5 over the network: what an account's own server answers when it is asked, and which server that is.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use plyr_likes::{
    atproto::Timestamp,
    crawl::{Context, Until, accounts},
    identity::{Identities, IdentityOptions},
    pds::{Directory, HostUrl},
};
use plyr_likes_sim::{
    sim::{HostOptions, Options, Sim},
    world::{Mix, Shape},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::{
    database::fresh,
    dump,
    history::{START_US, did, key, tid, track_uri},
    host::{Host, Reply},
    program::Program,
    run::until,
    wire::{self, Commit, Operation, like},
    world::World,
};
use crate::{
    cases::backfill::{of_sim, wrong},
    pipeline::pds::{ManualClock, names, open_client},
};

/// Of whom all this is.
const WHO: usize = 1;

/// What the directory and the server answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Net {
    /// The server says this of the repo: whether it is active, and why not.
    Status(bool, Option<&'static str>),
    /// The server answers with this error.
    Error(&'static str),
    /// The server fails with this status.
    Fails(u16),
    /// No process listens where the server should be.
    Unreachable,
    /// The document names no server.
    NoServer,
    /// The directory answers with this status.
    Directory(u16),
}

fn say_of_repo(net: Net) -> Reply {
    match net {
        Net::Status(active, status) => {
            let mut body = json!({"did": did(WHO), "active": active});
            if let Some(status) = status {
                body["status"] = status.into();
            }
            Reply::ok(body.to_string())
        }
        Net::Error(error) => Reply::Answer(400, Vec::new(), json!({"error": error}).to_string().into_bytes()),
        Net::Fails(status) => Reply::status(status),
        other => panic!("{other:?}: the server should not be asked"),
    }
}

fn document(net: Net, pds: &str) -> Reply {
    let pds = match net {
        Net::Directory(status) => return Reply::status(status),
        Net::NoServer => return Reply::ok(json!({"id": did(WHO), "service": []}).to_string()),
        Net::Unreachable => "http://127.0.0.1:9",
        _ => pds,
    };
    let service = json!({"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": pds});
    Reply::ok(json!({"id": did(WHO), "alsoKnownAs": [], "service": [service]}).to_string())
}

/// An index in which an account likes a track, and the hosts that can be asked about it.
struct Fixture {
    world: World,
    net: Arc<Mutex<Net>>,
    pds: Host,
    manual_clock: ManualClock,
    identities: Identities,
    second: i64,
    _plc: Host,
}

impl Fixture {
    async fn new() -> Self {
        let net = Arc::new(Mutex::new(Net::Unreachable));
        let shared = net.clone();
        let pds = Host::start(move |asked| {
            assert!(asked.target.starts_with("/xrpc/com.atproto.sync.getRepoStatus?"), "{asked:?}");
            say_of_repo(*shared.lock().unwrap())
        })
        .await;
        let (shared, url) = (net.clone(), pds.url());
        let plc = Host::start(move |_| document(*shared.lock().unwrap(), &url)).await;
        let manual_clock = ManualClock::new();
        let directory =
            Directory::new(open_client(&manual_clock), names(&[], &[]), HostUrl::parse(&plc.url()).unwrap());
        let world = World::new().await;
        let options = IdentityOptions { pace: Duration::from_millis(1), jitter: || 1.0, ..IdentityOptions::default() };
        let identities = Identities::new(world.database.pool.clone(), directory, manual_clock.clock(), options);
        Self { world, net, pds, manual_clock, identities, second: 0, _plc: plc }
    }

    /// Begins again: a like, and this word on its actor.
    async fn begin(&mut self, word: (bool, Option<&'static str>)) {
        self.world.clear().await;
        self.world.play();
        self.second += 4 * 3_600;
        self.manual_clock.set(Timestamp::from_micros(START_US + (self.second + 60) * 1_000_000).unwrap());
        let rev = tid(START_US + self.second * 1_000_000, 1);
        let body = like(&track_uri(0, 0), "2025-01-01T00:00:00Z");
        self.world.commit(&[Commit::new(&did(WHO), rev, vec![Operation::like(&key(1, 0), body)])]).await;
        let at_us = START_US + (self.second + 1) * 1_000_000;
        self.world.advance_to(at_us);
        self.world.raw(wire::v1_account(&did(WHO), word, (at_us, at_us)), Vec::new()).await;
    }

    /// Asks while this is so. Answers whether the actor is shown, and whether anything of them is kept.
    async fn ask(&mut self, net: Net) -> (bool, bool) {
        *self.net.lock().unwrap() = net;
        let pool = self.world.database.pool.clone();
        let context =
            Context { pool: pool.clone(), identities: self.identities.clone(), clock: self.manual_clock.clock() };
        let asked = accounts::run(context, Until::NothingIsDue, CancellationToken::new()).await.unwrap();
        assert_eq!(asked, 1, "{net:?}");
        let pool = &pool;
        self.world.follow().await;
        let is_shown = !dump::hidden(pool).await.contains(&did(WHO));
        assert_eq!(dump::miscounted(pool).await, Vec::<String>::new());
        assert_eq!(self.world.like_count(&track_uri(0, 0)).await, i64::from(is_shown), "{net:?}");
        let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM likes").fetch_one(pool).await.unwrap();
        (is_shown, kept == 1)
    }

    /// Whether an account is still to be asked about.
    async fn has_check(&self) -> bool {
        let pool = &self.world.database.pool;
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM account_checks)").fetch_one(pool).await.unwrap()
    }
}

#[tokio::test]
async fn a2_what_each_answer_of_an_accounts_server_does() {
    let mut fixture = Fixture::new().await;
    let (hidden, deleted) = ((false, Some("deactivated")), (false, Some("deleted")));
    let (throttled, gone) = ((false, Some("throttled")), (false, false));
    // The event that led to the check; what was answered; whether the account is shown, whether it is kept; and whether a check is left.
    let cases = [
        (hidden, Net::Status(true, None), (true, true), false),
        (hidden, Net::Status(false, Some("deactivated")), (false, true), false),
        (hidden, Net::Status(false, Some("takendown")), (false, true), false),
        (hidden, Net::Status(false, Some("suspended")), (false, true), false),
        (hidden, Net::Status(false, None), (false, true), false),
        (hidden, Net::Status(false, Some("deleted")), gone, false),
        // Slowed down: the server says nothing of visibility.
        (throttled, Net::Status(false, Some("throttled")), (true, true), false),
        (throttled, Net::Status(false, Some("takendown")), (false, true), false),
        (throttled, Net::Status(false, Some("deleted")), gone, false),
        (hidden, Net::Error("RepoTakendown"), (false, true), false),
        (throttled, Net::Error("RepoSuspended"), (false, true), false),
        (throttled, Net::Error("RepoDeactivated"), (false, true), false),
        // A server that has lost track of an account says the same as one that has deleted it.
        (hidden, Net::Error("RepoNotFound"), (false, true), true),
        (throttled, Net::Error("RepoNotFound"), (true, true), true),
        (deleted, Net::Error("RepoNotFound"), gone, false),
        (deleted, Net::Status(true, None), (true, true), false),
        (deleted, Net::NoServer, gone, false),
        (throttled, Net::NoServer, (true, true), true),
        // No host answers: everything stays as it is.
        (deleted, Net::Fails(500), (false, true), true),
        (throttled, Net::Fails(500), (true, true), true),
        (hidden, Net::Unreachable, (false, true), true),
        (throttled, Net::Unreachable, (true, true), true),
        (deleted, Net::Directory(500), (false, true), true),
        (throttled, Net::Directory(500), (true, true), true),
        (throttled, Net::Directory(404), (true, true), true),
        (hidden, Net::Directory(410), gone, false),
    ];
    for (word, net, expected, has_check_left) in cases {
        fixture.begin(word).await;
        let found = fixture.ask(net).await;
        assert_eq!((found, fixture.has_check().await), (expected, has_check_left), "{word:?}, then {net:?}");
        if has_check_left {
            // When a host answers, that stands.
            fixture.manual_clock.advance(Duration::from_hours(2));
            fixture.world.advance_to(fixture.manual_clock.now().micros());
            assert_eq!(fixture.ask(Net::Status(true, None)).await, (true, true), "{word:?}, {net:?}, and all is well");
            assert!(!fixture.has_check().await);
        }
    }
    assert!(fixture.pds.asked().len() > 15, "the server was asked");
}

/// A world of two hosts, and who of the first one has likes to lose.
async fn two_hosts(seed: u64) -> (Sim, u32) {
    let shape = Shape { seed, actors: 8, tracks: 16, events: 500, mix: Mix::LIFE, ..Shape::default() };
    let hosts = vec![HostOptions { announces: true, ..HostOptions::default() }; 2];
    let sim = Sim::start(Options { shape, hosts, web: 0, rate: 0 }).await.expect("a free port");
    let mover = {
        let state = sim.state();
        let here = (0..8).filter(|actor| state.world.actor(*actor).pds == 0);
        here.max_by_key(|actor| state.world.actor(*actor).likes.len()).expect("four live there")
    };
    (sim, mover)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a5_an_account_that_moves_is_read_where_it_lives_by_now() {
    for active_last in [true, false] {
        let seed = u64::from(std::process::id()) + u64::from(active_last);
        println!("seed {seed}, active last: {active_last}");
        let ((sim, mover), database) = (two_hosts(seed).await, fresh().await);
        let settings = of_sim(&database, &sim).with("PLYR_SOURCES", format!("firehose+ws://{}", sim.address(0)));
        let program = Program::serve(&settings).await;
        until(&database.pool, "SELECT count(*) = 8 AND bool_and(state = 'done') FROM repos").await;
        assert_eq!(wrong(&sim, &database).await, "");
        let likes_of =
            "SELECT count(*) FROM likes l JOIN actors a ON a.id = l.actor_id WHERE a.did = $1 AND l.cid IS NOT NULL";
        let who = sim.state().world.did(mover).to_owned();
        let count =
            async || -> i64 { sqlx::query_scalar(likes_of).bind(&who).fetch_one(&database.pool).await.unwrap() };
        let before = count().await;
        assert!(before > 2, "{before} likes");

        // The new host is away: neither the old one, which knows the account no more, nor silence removes anything.
        sim.set_down(1, true);
        sim.happen(|world| world.move_to(mover, (1, active_last)));
        until(&database.pool, "SELECT count(*) > 0 FROM gaps WHERE reason = 'sync'").await;
        until(&database.pool, "SELECT bool_or(state = 'failed') FROM repos").await;
        assert_eq!(count().await, before);
        drop(program);
        sim.set_down(1, false);
        let program = Program::serve(&settings).await;
        // As if an hour had passed: what failed is tried again.
        let again = "UPDATE repos SET due_at = now() WHERE state <> 'done'";
        let make_due = "UPDATE account_checks SET due_at = now()";
        program
            .wait_until("the mover is shown as the new host says", async |_| {
                for statement in [again, make_due] {
                    sqlx::query(statement).execute(&database.pool).await.expect("a statement");
                }
                let wrong = wrong(&sim, &database).await;
                let hidden: BTreeSet<String> = dump::hidden(&database.pool).await;
                let is_done = wrong.is_empty() && hidden.is_empty();
                if is_done { Ok(()) } else { Err(format!("hidden: {hidden:?}; {wrong}")) }
            })
            .await;
        assert_eq!(count().await, before - 2, "what was lost on the way is gone, and nothing else");
        let host: String = sqlx::query_scalar("SELECT host FROM repos WHERE did = $1")
            .bind(&who)
            .fetch_one(&database.pool)
            .await
            .unwrap();
        assert_eq!(host.trim_end_matches('/'), sim.url(1).trim_end_matches('/'));
        assert_eq!(dump::miscounted(&database.pool).await, Vec::<String>::new());
    }
}
