//! Case H4: untrusted hosts that are slow or lie on purpose, and others' repos, which are read meanwhile.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use plyr_likes::{
    atproto::{Did, Tid},
    clock::Clock,
    crawl::{Context, Until, resync},
    identity::{Identities, IdentityOptions},
    model::{Collections, ResyncCause},
    pds::{Client, Directory, HostUrl, NameError, Names},
    store::repos,
};
use serde_json::json;
use sqlx::PgPool;
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    pipeline::pds::options,
    support::{
        database::{TestDatabase, fresh},
        host::{Asked, Host, Reply},
        run::until,
    },
};

const CID: &str = "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a";
/// As in the program.
const READERS: usize = 24;
/// As long as it is taken to be read.
const LEASE: Duration = Duration::from_secs(4);
/// What is read in a fraction of a second alone.
const SOON: Duration = Duration::from_secs(6);

/// The account of a number: a letter names it.
fn did(number: usize) -> Did {
    let letter = char::from(b'a' + u8::try_from(number).expect("few accounts"));
    Did::parse(&format!("did:plc:{}", letter.to_string().repeat(24))).expect("a DID")
}

/// The account that is no attacker's.
const GOOD: usize = 25;

/// A host of names: each leads to an address and a port.
#[derive(Clone, Copy)]
struct Named<'a> {
    name: &'a str,
    at: &'a Host,
}

/// An index that reads repos, and the directory that says where each lies.
struct Reading {
    database: TestDatabase,
    _plc: Host,
    cancel: CancellationToken,
    running: JoinHandle<Result<resync::Done, resync::ResyncError>>,
}

impl Reading {
    /// `places` has the host of each account.
    async fn start(places: &[(usize, Named<'_>)]) -> Self {
        let database = fresh().await;
        let mut addresses: HashMap<String, IpAddr> = HashMap::new();
        let mut urls: HashMap<String, String> = HashMap::new();
        for (number, Named { name, at }) in places {
            addresses.insert((*name).to_owned(), at.address.ip());
            urls.insert(did(*number).to_string(), format!("http://{name}:{}", at.address.port()));
        }
        let plc = Host::start(move |asked| document(&urls, asked)).await;
        let names = Names::of(
            move |name| {
                let found = addresses.get(&name).copied().ok_or(NameError("no such host".to_owned()));
                Box::pin(async move { Ok(vec![found?]) })
            },
            |_| Box::pin(async { Ok(Vec::new()) }),
        );
        let clock = Clock::system();
        let client = Client::new(options(true), &names, clock.clone(), || 1.0).expect("a client");
        let directory = Directory::new(client, names, HostUrl::parse(&plc.url()).expect("a URL"));
        let pool = database.pool.clone();
        let identities = Identities::new(pool.clone(), directory, clock.clone(), IdentityOptions::default());
        let resync = resync::Options {
            collections: Collections::of_namespace("fm.plyr").expect("a namespace"),
            audit_every: None,
            in_all: READERS,
            per_host: 4,
            lease: LEASE,
            until: Until::Cancelled,
        };
        let cancel = CancellationToken::new();
        let context = Context { pool, identities, clock };
        let running = tokio::spawn(resync::run(context, resync, |_| {}, cancel.clone()));
        Self { database, _plc: plc, cancel, running }
    }

    fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    async fn enqueue(&self, numbers: impl Iterator<Item = usize>) {
        let dids: Vec<Did> = numbers.map(did).collect();
        let dids: Vec<&str> = dids.iter().map(Did::as_str).collect();
        let mut connection = self.pool().acquire().await.expect("a connection");
        let now = Clock::system().now().utc();
        repos::enqueue(&mut connection, &dids, ResyncCause::FirstSeen, now).await.expect("the table is there");
    }

    async fn stop(self) {
        self.cancel.cancel();
        self.running.await.expect("it does not panic").expect("it ends well");
    }
}

fn document(urls: &HashMap<String, String>, asked: &Asked) -> Reply {
    let did = asked.target.trim_start_matches('/');
    let Some(url) = urls.get(did) else { return Reply::status(404) };
    let service = json!([{"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": url}]);
    let key = "zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme";
    let method = json!([{"id": "#atproto", "type": "Multikey", "controller": did, "publicKeyMultibase": key}]);
    Reply::ok(json!({"id": did, "service": service, "verificationMethod": method}).to_string())
}

fn head() -> Reply {
    let rev = Tid::from_number(0x6_0000_0000_0000).to_string();
    Reply::ok(json!({"cid": CID, "rev": rev}).to_string())
}

/// A host with an empty repo of each account.
fn honest(asked: &Asked) -> Reply {
    if asked.target.contains("getLatestCommit") { head() } else { Reply::ok(r#"{"records":[]}"#) }
}

/// One that does to each account something else; whatever it is, it goes on for ever.
fn wicked(asked: &Asked) -> Reply {
    let repo = asked.target.split("did%3Aplc%3A").nth(1).and_then(|id| id.bytes().next()).unwrap_or_default();
    match asked.target.as_str() {
        target if target.contains("getLatestCommit") => head(),
        target if target.contains("getRepo") => Reply::Drip,
        _ => match repo % 4 {
            0 => Reply::Hang,
            1 => Reply::Drip,
            2 => Reply::ok(same_record(asked).to_string()),
            _ => Reply::ok(json!({"records": [], "cursor": "c".repeat(60_000)}).to_string()),
        },
    }
}

/// The same record on each page, and ever another cursor.
fn same_record(asked: &Asked) -> serde_json::Value {
    let query = asked.target.replace("%3A", ":");
    let value = |name: &str| query.split(name).nth(1).and_then(|rest| rest.split('&').next()).unwrap_or_default();
    let uri = format!("at://{}/{}/3l3qo2vuowo2c", value("repo="), value("collection="));
    json!({"records": [{"uri": uri, "cid": CID, "value": {}}], "cursor": asked.number.to_string()})
}

/// Requests that hang or drip.
fn occupied(hosts: &[Host]) -> usize {
    hosts.iter().map(Host::unanswered).sum()
}

/// However its names and addresses are shared out, an attacker's 24 repos leave readers for others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h4_repos_of_slow_hosts_leave_readers_for_others() {
    let domains = [
        "one.evil.example",
        "two.evil.example",
        "three.evil.example",
        "four.evil.example",
        "five.evil.example",
        "six.evil.example",
    ];
    let owners = ["evil.example", "worse.example", "bad.example", "wicked.example", "vile.example", "nasty.example"];
    // Names of one domain on many addresses, names of many domains on one address, and all of them different: then the first reading of a host that
    // is as unknown waits for one of theirs to be cut, and no longer.
    let cases = [
        (domains, 6, READERS / 4, Duration::ZERO),
        (owners, 1, READERS / 4, Duration::ZERO),
        (owners, 6, READERS / 2, Duration::from_secs(10)),
    ];
    for (names, addresses, readers, patience) in cases {
        let mut evil = Vec::new();
        for address in 0..addresses {
            evil.push(Host::start_on(&format!("127.0.0.{}", 10 + address), wicked).await);
        }
        let good = Host::start_on("127.0.0.9", honest).await;
        let mut places: Vec<_> =
            (0..READERS).map(|at| (at, Named { name: names[at % 6], at: &evil[at % addresses] })).collect();
        places.push((GOOD, Named { name: "pds.good.example", at: &good }));
        let reading = Reading::start(&places).await;
        reading.enqueue(0..READERS).await;
        let begun = Instant::now();
        while occupied(&evil) < readers {
            assert!(begun.elapsed() < SOON, "{} requests hang", occupied(&evil));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let begun = Instant::now();
        reading.enqueue([GOOD].into_iter()).await;
        until(reading.pool(), "SELECT count(*) = 25 FROM identities WHERE fetched_at IS NOT NULL").await;
        // All are found by then, and none is cut yet.
        assert_eq!(occupied(&evil), readers);
        until(reading.pool(), "SELECT count(*) = 1 FROM repos WHERE state = 'done'").await;
        let took = begun.elapsed();
        println!("{names:?} on {addresses}: read after {took:?}, while {} requests hang", occupied(&evil));
        assert!(took < patience + SOON, "read after {took:?}");
        reading.stop().await;
    }
}

/// A reading keeps its lease as long as it lasts, and ends when another process has taken the repo.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h4_a_reading_renews_its_lease_and_ends_when_it_has_lost_it() {
    let slow = Host::start_on("127.0.0.9", |asked| if asked.number < 1 { head() } else { Reply::Hang }).await;
    let reading = Reading::start(&[(0, Named { name: "pds.example", at: &slow })]).await;
    reading.enqueue(0..1).await;
    until(reading.pool(), "SELECT leased_until IS NOT NULL FROM repos").await;
    let taken_until: chrono::DateTime<chrono::Utc> =
        sqlx::query_scalar("SELECT leased_until FROM repos").fetch_one(reading.pool()).await.expect("a lease");
    loop {
        let renewed = sqlx::query_scalar("SELECT leased_until > $1 FROM repos").bind(taken_until);
        if renewed.fetch_one(reading.pool()).await.expect("a lease") {
            break;
        }
        assert!(Clock::system().now().utc() < taken_until, "the lease has run out while the repo is read");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(slow.unanswered(), 1);
    let taken = "UPDATE repos SET leased_until = now() + interval '1 hour' RETURNING true";
    assert!(sqlx::query_scalar::<_, bool>(taken).fetch_one(reading.pool()).await.expect("a statement"));
    let begun = Instant::now();
    while slow.unanswered() > 0 {
        assert!(begun.elapsed() < LEASE, "what another has taken is read on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until(
        reading.pool(),
        "SELECT state = 'pending' AND tries = 0 AND leased_until > now() + interval '59 min' FROM repos",
    )
    .await;
    reading.stop().await;
}
