//! The referee: the real program before worlds in which everything goes wrong, and at the end everything that it shows held
//! against what the world says, record by record.
//!
//! Each run comes from a seed, is short, and has a database of its own. `PLYR_SEEDS` says how many, `PLYR_SEED` which is the
//! first. Over enough seeds each fault and each blow must have struck, or nothing is proven.

mod hidden;
mod scene;
mod script;
mod soak;
mod verdict;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use plyr_likes_sim::{
    fault::{Fault, Plan, When},
    sim::{HostOptions, Options},
};
use tokio::{runtime::Handle, task::JoinSet};

use crate::support::{
    database::{TestDatabase, fresh},
    server::Server,
};
use scene::{Scene, Store};
use script::{Blow, COMING_AND_GOING, LIVE, Script, harmful, survivable};
use verdict::Verdict;

/// In continuous integration.
const SEEDS: u64 = 100;
/// So many in a row have each fault and each blow.
const SEEDS_COMPLETE: u64 = 26;
/// Most of a run is waiting.
const RUNS_AT_ONCE: usize = 6;
/// How long the index may take to become right, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(50);
/// How long an index is looked at that will never become right.
const GLANCE: Duration = Duration::from_secs(3);

pub fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// How often each fault and each blow has struck.
type Struck = BTreeMap<String, u64>;

fn add(to: &mut Struck, more: impl IntoIterator<Item = (String, u64)>) {
    for (name, count) in more {
        *to.entry(name).or_default() += count;
    }
}

/// One run to its end. Fails when anything is not as it should be.
async fn run(seed: u64) -> Struck {
    let script = Script::of(seed);
    let started = Instant::now();
    let database = fresh().await;
    let store = Store { url: database.url.clone(), pool: database.pool.clone() };
    let mut scene = Scene::start(script.options, script.dialects.clone(), store).await;
    for blow in &script.blows {
        scene.strike(blow).await;
    }
    scene.calm();
    let verdict = Verdict::of(&scene.sim);
    assert!(verdict.like_count() > 0, "there is nothing to compare");
    if let Err(difference) = verdict.fall_on(&scene, PATIENCE).await {
        panic!(
            "{} before {:?}: {difference}\nwhat struck: {:?}, {:?}\nthe log ends:\n{}",
            script.blows.iter().map(Blow::name).collect::<Vec<_>>().join(", "),
            script.dialects,
            scene.sim.fired(),
            scene.fallen,
            scene.program().log_tail()
        );
    }
    println!("seed {seed}: right after {:?}", started.elapsed());
    let mut struck = Struck::new();
    add(&mut struck, scene.sim.fired());
    add(
        &mut struck,
        std::mem::take(&mut scene.fallen).into_iter().map(|(name, count)| (format!("blow: {name}"), count)),
    );
    add(&mut struck, gaps(&scene).await);
    let (hidden, deleted) = verdict.hidden_count();
    add(&mut struck, [(HIDDEN[0].to_owned(), hidden as u64), (HIDDEN[1].to_owned(), deleted as u64)]);
    struck
}

/// Those who must not be seen at the end.
const HIDDEN: [&str; 2] = ["hidden accounts", "deleted accounts"];

/// Gaps by reason.
async fn gaps(scene: &Scene) -> Struck {
    let gaps: Vec<(String, i64)> = sqlx::query_as("SELECT reason, count(*) FROM gaps GROUP BY reason")
        .fetch_all(&scene.store.pool)
        .await
        .expect("the table is there");
    gaps.into_iter().map(|(reason, count)| (format!("gap: {reason}"), count.unsigned_abs())).collect()
}

/// Runs so many seeds, a few at a time, and answers what struck. The failures are told one by one, each with how to repeat it.
async fn runs(seeds: impl IntoIterator<Item = u64>) -> Struck {
    let mut seeds = seeds.into_iter();
    let (mut struck, mut failed, mut running) = (Struck::new(), Vec::new(), JoinSet::new());
    loop {
        while running.len() < RUNS_AT_ONCE
            && let Some(seed) = seeds.next()
        {
            let runtime = Handle::current();
            // A thread for each run: it waits for processes.
            let run = tokio::task::spawn_blocking(move || runtime.block_on(run(seed)));
            running.spawn(async move { (seed, run.await) });
        }
        let Some(ended) = running.join_next().await else { break };
        match ended.expect("a run's watcher does not panic") {
            (_, Ok(more)) => add(&mut struck, more),
            (seed, Err(_)) => {
                println!("failed: PLYR_SEED={seed} PLYR_SEEDS=1 cargo test --test it referee::seeds");
                failed.push(seed);
            }
        }
    }
    assert!(failed.is_empty(), "the index is wrong after the seeds {failed:?}");
    struck
}

/// Faults and blows that should have struck and have not.
fn missing(struck: &Struck) -> Vec<String> {
    let faults = survivable().into_iter().chain(harmful());
    let blows = Blow::all();
    let requests = blows.iter().filter_map(|blow| match blow {
        Blow::AtFirst(fault) => Some(fault.name()),
        _ => None,
    });
    let names = faults.map(|fault: Fault| fault.name()).chain(requests);
    let blows = blows.iter().map(|blow| format!("blow: {}", blow.name()));
    let gaps = ["too_old", "reset", "sync"].map(|reason| format!("gap: {reason}"));
    let wanted = names.chain(blows).chain(gaps).chain(HIDDEN.map(str::to_owned));
    wanted.filter(|name| struck.get(name).is_none_or(|count| *count == 0)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn seeds() {
    let (first, count) = (from_environment("PLYR_SEED", 1), from_environment("PLYR_SEEDS", SEEDS));
    let started = Instant::now();
    let struck = runs(first..first + count).await;
    println!("{count} seeds from {first} in {:?}; what struck: {struck:#?}", started.elapsed());
    if count >= SEEDS_COMPLETE {
        let missing = missing(&struck);
        assert!(missing.is_empty(), "these never struck, and so nothing is proven: {missing:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s1_postgres_stops_and_starts_in_the_middle() {
    let seed = from_environment("PLYR_SEED", 1);
    println!("PLYR_SEED={seed}");
    let script = Script::of(seed);
    let server = Server::new();
    let store = Store { url: server.url(), pool: server.pool().await };
    let mut scene = Scene::start(script.options, script.dialects, store).await;
    for round in 0..3 {
        scene.sim.advance(LIVE);
        if round == 1 {
            server.restart();
        } else {
            server.stop();
        }
        scene.sim.advance(LIVE);
        if round != 1 {
            server.start();
        }
        scene.strike(if round == 1 { &Blow::Terminate } else { &Blow::Cut }).await;
    }
    let verdict = Verdict::of(&scene.sim);
    let fallen = verdict.fall_on(&scene, PATIENCE).await;
    assert!(fallen.is_ok(), "{}\n{}", fallen.unwrap_err(), scene.program().log_tail());
}

/// The world of a seed with a single host, asked in Jetstream v2.
async fn before_one_host(plan: Plan) -> (Scene, TestDatabase) {
    before_one_host_of(Script::of(1).options, plan).await
}

/// Likewise, of this world.
async fn before_one_host_of(mut options: Options, plan: Plan) -> (Scene, TestDatabase) {
    options.hosts.truncate(1);
    options.hosts[0] = HostOptions { plan, ..HostOptions::default() };
    let database = fresh().await;
    let store = Store { url: database.url.clone(), pool: database.pool.clone() };
    (Scene::start(options, vec!["jetstream2"], store).await, database)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_no_host_tells_is_found_missing() {
    let (scene, _database) = before_one_host(Plan::none().with(When::Every(10), Fault::Lose)).await;
    scene.sim.advance(LIVE);
    let verdict = Verdict::of(&scene.sim);
    let complaint = verdict.fall_on(&scene, GLANCE).await.expect_err("something is lost");
    let lost = scene.sim.fired()["lose"];
    assert!(lost > 10 && complaint.contains("found    nothing"), "{lost} {complaint}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t6_what_every_host_has_forgotten_is_a_gap() {
    let (mut scene, _database) = before_one_host(Plan::none()).await;
    Verdict::of(&scene.sim).fall_on(&scene, PATIENCE).await.expect("nothing has gone wrong yet");
    scene.strike(&Blow::Shrink).await;
    let complaint = Verdict::of(&scene.sim).fall_on(&scene, GLANCE).await.expect_err("something is lost");
    let gaps = gaps(&scene).await;
    assert!(gaps.contains_key("gap: too_old"), "{gaps:?} {complaint}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn r5_somebody_hidden_who_is_shown_is_found() {
    let mut options = Script::of(1).options;
    options.shape.mix = COMING_AND_GOING;
    let (scene, _database) = before_one_host_of(options, Plan::none()).await;
    let verdict = Verdict::of(&scene.sim);
    let (hidden, deleted) = verdict.hidden_count();
    assert!(hidden > deleted && deleted > 0, "{hidden} hidden, {deleted} of them deleted: choose another seed");
    verdict.fall_on(&scene, PATIENCE).await.expect("nothing has gone wrong yet");
    sqlx::query("UPDATE uncounted_actors SET is_hidden = false").execute(&scene.store.pool).await.expect("the table");
    let complaint = verdict.compare_hidden(&scene).await.expect_err("somebody is shown");
    assert!(complaint.contains("is hidden, and"), "{complaint}");
}
