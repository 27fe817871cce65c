//! Case H7: those who are only mentioned cost no request, and a flood of one host starves no other.

use std::{net::IpAddr, time::Duration};

use plyr_likes::{
    atproto::Did,
    clock::Clock,
    crawl::{Context, Until, accounts, bluesky_profiles, identity, resync},
    identity::{Identities, IdentityOptions},
    model::{Collections, ResyncCause},
    pds::{Client, Directory, HostUrl, NameError, Names},
    store::{
        LeaseTimes,
        actors::{self, NewActor},
        repos,
    },
};
use serde_json::json;
use sqlx::PgPool;
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    pipeline::pds::options,
    support::{
        database::fresh,
        history::{START_US, key, tid},
        host::{Asked, Host, Reply},
        run::{Pump, until},
        stage::account_message,
        wire::{Commit, Operation, like, v1_identity},
        world::World,
    },
};

const AT: &str = "2025-01-01T00:00:00Z";
const AUTHOR: &str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
/// What takes a fraction of a second alone.
const SOON: Duration = Duration::from_secs(6);

/// Everything that asks hosts, over a database.
struct Crawl {
    cancel: CancellationToken,
    tasks: JoinSet<()>,
}

/// Names of `.example` lead where these say by their last labels.
fn names(leads: Vec<(&'static str, IpAddr)>) -> Names {
    Names::of(
        move |name| {
            let found = leads.iter().find(|(domain, _)| name.ends_with(domain)).map(|(_, address)| vec![*address]);
            Box::pin(async move { found.ok_or(NameError("no such host".to_owned())) })
        },
        |_| Box::pin(async { Ok(Vec::new()) }),
    )
}

fn identities(pool: &PgPool, plc: &Host, names: Names) -> Identities {
    let client = Client::new(options(true), &names, Clock::system(), || 1.0).expect("a client");
    let directory = Directory::new(client, names, HostUrl::parse(&plc.url()).expect("a URL"));
    Identities::new(pool.clone(), directory, Clock::system(), IdentityOptions::default())
}

impl Crawl {
    fn start(pool: &PgPool, identities: Identities) -> Self {
        let cancel = CancellationToken::new();
        let context = Context { pool: pool.clone(), identities: identities.clone(), clock: Clock::system() };
        let resync = resync::Options {
            collections: Collections::of_namespace("fm.plyr").expect("a namespace"),
            audit_every: None,
            in_all: 24,
            per_host: 4,
            lease: Duration::from_mins(2),
            until: Until::Cancelled,
        };
        let mut tasks = JoinSet::new();
        let (of_all, stop) = (context.clone(), cancel.clone());
        tasks.spawn(async move { identity::run(identities, stop).await.expect("the database answers") });
        let stop = cancel.clone();
        tasks.spawn(async move {
            resync::enroll(of_all, None, Duration::from_hours(1), stop).await.expect("the database answers");
        });
        let (of_all, stop) = (context.clone(), cancel.clone());
        tasks.spawn(async move {
            accounts::run(of_all, Until::Cancelled, stop).await.expect("the database answers");
        });
        let (of_all, stop) = (context.clone(), cancel.clone());
        tasks.spawn(async move {
            bluesky_profiles::run(of_all, bluesky_profiles::Options::default(), stop)
                .await
                .expect("the database answers");
        });
        let stop = cancel.clone();
        tasks.spawn(async move { drop(resync::run(context, resync, |_| {}, stop).await.expect("it ends well")) });
        Self { cancel, tasks }
    }

    async fn stop(self) {
        self.cancel.cancel();
        self.tasks.join_all().await;
    }
}

/// A PLC directory in which every account is on this host.
async fn directory_to(host: &Host) -> Host {
    let url = host.url();
    Host::start(move |asked| {
        let did = asked.target.trim_start_matches('/');
        let service = json!([{"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": url}]);
        Reply::ok(json!({"id": did, "service": service}).to_string())
    })
    .await
}

fn empty_repo(asked: &Asked) -> Reply {
    let cid = "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a";
    match asked.target.as_str() {
        target if target.contains("getLatestCommit") => {
            let rev = plyr_likes::atproto::Tid::from_number(0x6_0000_0000_0000).to_string();
            Reply::ok(json!({"cid": cid, "rev": rev}).to_string())
        }
        target if target.contains("listRecords") => Reply::ok(r#"{"records":[]}"#),
        _ => Reply::status(404),
    }
}

async fn count(pool: &PgPool, table: &str) -> i64 {
    let counted = format!("SELECT count(*) FROM {table}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(counted)).fetch_one(pool).await.expect("a count")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h7_a_mention_makes_no_request() {
    let mut world = World::new().await;
    let mentioned = Host::start_on("127.0.0.7", |_| Reply::status(404)).await;
    let pds = Host::start(empty_repo).await;
    let plc = directory_to(&pds).await;
    let did = |number: usize| format!("did:web:n{number}.mentioned.example%3A{}", mentioned.address.port());
    let likes: Vec<_> = (0..200)
        .map(|number| {
            Operation::like(&key(1, number), like(&format!("at://{}/fm.plyr.track/{}", did(number), key(3, 0)), AT))
        })
        .collect();
    let rev = |second: i64| tid(START_US + second * 1_000_000, 17);
    assert_eq!(world.commit(&[Commit::new(AUTHOR, rev(1), likes)]).await.applied, 200);
    // What streams say of them asks nothing either.
    for number in 0..20 {
        world.raw(account_message(&did(number), (number % 2 == 0, None), 2), Vec::new()).await;
        world.raw(v1_identity(&did(number), Some("claimed.test"), START_US + 3_000_000), Vec::new()).await;
    }
    let pool = world.database.pool.clone();
    let crawl =
        Crawl::start(&pool, identities(&pool, &plc, names(vec![("mentioned.example", mentioned.address.ip())])));
    // Its PDS has lost what the stream brought, and cannot give it as its owner signed it: it is asked, and that is all that counts here.
    until(&pool, "SELECT count(*) = 1 FROM repos WHERE tries > 0").await;
    until(&pool, "SELECT count(*) = 1 FROM identities WHERE fetched_at IS NOT NULL").await;
    until(&pool, "SELECT count(*) = 1 FROM bluesky_profiles WHERE outcome IS NOT NULL OR tries > 0").await;
    for table in ["repos", "identities", "bluesky_profiles"] {
        assert_eq!(count(&pool, table).await, 1, "{table}");
    }
    assert_eq!(count(&pool, "account_checks").await, 0);
    assert_eq!(count(&pool, "actors").await, 201);
    assert_eq!(mentioned.connections(), 0, "no request for a mere mention");

    // One who writes is an author from then on.
    let theirs = vec![Operation::like(&key(1, 0), like(&format!("at://{}/fm.plyr.track/{}", did(0), key(3, 0)), AT))];
    world.commit(&[Commit::new(&did(7), rev(9), theirs)]).await;
    until(&pool, "SELECT count(*) = 1 FROM identities WHERE failure = 'not_found'").await;
    let asked = mentioned.asked();
    assert!(!asked.is_empty() && asked.iter().all(|asked| asked.host.starts_with("n7.")), "{asked:?}");
    until(&pool, "SELECT (SELECT count(*) FROM repos) = 2 AND (SELECT count(*) FROM bluesky_profiles) = 2").await;
    crawl.stop().await;
    assert_eq!(count(&pool, "identities").await, 2);
}

/// Two hundred accounts of one domain that hangs are due before others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h7_a_flood_of_one_host_starves_no_other() {
    let database = fresh().await;
    let flood = Host::start_on("127.0.0.7", |_| Reply::Hang).await;
    let web = Host::start_on("127.0.0.8", |_| Reply::status(404)).await;
    let pds = Host::start(empty_repo).await;
    let plc = directory_to(&pds).await;
    let leads = vec![("flood.example", flood.address.ip()), ("good.example", web.address.ip())];
    let identities = identities(&database.pool, &plc, names(leads));
    let (cancel, looking) = (CancellationToken::new(), identities);
    let dids: Vec<String> =
        (0..200).map(|number| format!("did:web:n{number}.flood.example%3A{}", flood.address.port())).collect();
    insert(&database.pool, &dids).await;
    let running = tokio::spawn(identity::run(looking, cancel.clone()));
    let begun = Instant::now();
    while flood.unanswered() < 2 {
        assert!(begun.elapsed() < SOON, "nothing is looked up");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let begun = Instant::now();
    insert(&database.pool, &[AUTHOR.to_owned(), format!("did:web:good.example%3A{}", web.address.port())]).await;
    until(&database.pool, "SELECT count(*) FILTER (WHERE fetched_at IS NOT NULL) = 1 AND count(*) FILTER (WHERE failure = 'not_found') = 1
        FROM identities").await;
    let took = begun.elapsed();
    println!("looked up after {took:?}, while {} requests hang", flood.unanswered());
    assert!(took < SOON, "looked up after {took:?}");
    assert_eq!(flood.unanswered(), 2);
    cancel.cancel();
    running.await.expect("it does not panic").expect("it ends well");
}

async fn insert(pool: &PgPool, dids: &[String]) {
    let actors: Vec<_> = dids.iter().map(|did| NewActor { did, is_author: true }).collect();
    let mut connection = pool.acquire().await.expect("a connection");
    actors::insert(&mut connection, &actors).await.expect("the table is there");
}

/// However many new repos come, those that have waited the longest are read too, and the newest at once.
#[tokio::test]
async fn h7_repos_are_taken_from_both_ends() {
    let database = fresh().await;
    let mut connection = database.pool.acquire().await.expect("a connection");
    let now = Clock::system().now().utc();
    let did = |kind: &str, number: usize| format!("did:web:{kind}{number}.example");
    for (kind, age) in [("old", 60), ("middle", 30), ("new", 1)] {
        let dids: Vec<String> = (0..10).map(|number| did(kind, number)).collect();
        let dids: Vec<&str> = dids.iter().map(String::as_str).collect();
        let at = now - chrono::TimeDelta::minutes(age);
        repos::enqueue(&mut connection, &dids, ResyncCause::FirstSeen, at).await.expect("the table is there");
    }
    let times = LeaseTimes { now, until: now + chrono::TimeDelta::minutes(2) };
    let taken = repos::take_due(&mut connection, 8, times).await.expect("the table is there");
    let of = |kind: &str| taken.iter().filter(|repo| repo.did.as_str().contains(kind)).count();
    assert_eq!((of("new"), of("middle"), of("old")), (4, 0, 4));
    // Each once.
    let rest = repos::take_due(&mut connection, 100, times).await.expect("the table is there");
    let mut dids: Vec<Did> = taken.into_iter().chain(rest).map(|repo| repo.did).collect();
    dids.sort_unstable();
    dids.dedup();
    assert_eq!(dids.len(), 30);
}

#[tokio::test]
async fn h7_closed_gaps_are_kept_for_a_month() {
    let database = fresh().await;
    sqlx::query(
        "INSERT INTO gaps (source, reason, did, detail, opened_at, state, closed_at, closed_by)
        SELECT 'firehose+wss://relay.example', 'sync', 'did:web:n' || n || '.example', 'it diverged', now() - interval '1 year',
            'closed', now() - n * interval '1 day', 'repair' FROM generate_series(1, 60) AS n
        UNION ALL SELECT 'firehose+wss://relay.example', 'too_old', NULL, 'it kept too little', now() - interval '1 year',
            'open', NULL, NULL",
    )
    .execute(&database.pool)
    .await
    .expect("rows");
    let pump = Pump::start(&database.pool, "firehose+ws://127.0.0.1:9");
    until(&database.pool, "SELECT count(*) < 40 FROM gaps").await;
    let kept = "SELECT count(*) FILTER (WHERE state = 'closed') = 29 AND min(closed_at) > now() - interval '30 days'
        AND count(*) FILTER (WHERE state = 'open') = 1 FROM gaps";
    assert!(sqlx::query_scalar::<_, bool>(kept).fetch_one(&database.pool).await.expect("an answer"));
    pump.stop().await;
}
