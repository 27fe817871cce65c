//! The referee: the real program before worlds in which everything goes wrong, and at the end everything that it shows
//! compared with what the world says, record by record.
//!
//! Each run comes from a seed, is short, and has a database of its own. `PLYR_SEEDS` says how many, `PLYR_SEED` which is the
//! first. Over enough seeds each fault and each disruption must have struck, or the run shows nothing.

mod hidden;
mod run;
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
use run::{Run, Store};
use script::{COMING_AND_GOING, Disruption, LIVE, Script, harmful, survivable};
use verdict::Verdict;

/// In continuous integration.
const SEEDS: u64 = 100;
/// So many in a row have each fault and each disruption.
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

/// How often each fault and each disruption has struck.
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
    let mut run = Run::start(script.options, script.dialects.clone(), store).await;
    for disruption in &script.disruptions {
        run.strike(disruption).await;
    }
    run.calm();
    let verdict = Verdict::of(&run.sim);
    assert!(verdict.like_count() > 0, "there is nothing to compare");
    if let Err(difference) = verdict.compare(&run, PATIENCE).await {
        panic!(
            "{} before {:?}: {difference}\nwhat struck: {:?}, {:?}\nthe log ends:\n{}",
            script.disruptions.iter().map(Disruption::name).collect::<Vec<_>>().join(", "),
            script.dialects,
            run.sim.fired(),
            run.counts,
            run.program().log_tail()
        );
    }
    println!("seed {seed}: right after {:?}", started.elapsed());
    let mut struck = Struck::new();
    add(&mut struck, run.sim.fired());
    add(
        &mut struck,
        std::mem::take(&mut run.counts).into_iter().map(|(name, count)| (format!("disruption: {name}"), count)),
    );
    add(&mut struck, gaps(&run).await);
    let (hidden, deleted) = verdict.hidden_count();
    add(&mut struck, [(HIDDEN[0].to_owned(), hidden as u64), (HIDDEN[1].to_owned(), deleted as u64)]);
    struck
}

/// Those who must not be seen at the end.
const HIDDEN: [&str; 2] = ["hidden accounts", "deleted accounts"];

/// Gaps by reason.
async fn gaps(run: &Run) -> Struck {
    let gaps: Vec<(String, i64)> = sqlx::query_as("SELECT reason, count(*) FROM gaps GROUP BY reason")
        .fetch_all(&run.store.pool)
        .await
        .expect("the table is there");
    gaps.into_iter().map(|(reason, count)| (format!("gap: {reason}"), count.unsigned_abs())).collect()
}

/// Runs so many seeds, a few at a time, and returns what struck. The failures are printed one by one, each with how to repeat it.
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

/// Faults and disruptions that should have struck and have not.
fn missing(struck: &Struck) -> Vec<String> {
    let faults = survivable().into_iter().chain(harmful());
    let disruptions = Disruption::all();
    let requests = disruptions.iter().filter_map(|disruption| match disruption {
        Disruption::AtFirst(fault) => Some(fault.name()),
        _ => None,
    });
    let names = faults.map(|fault: Fault| fault.name()).chain(requests);
    let disruptions = disruptions.iter().map(|disruption| format!("disruption: {}", disruption.name()));
    let gaps = ["too_old", "reset", "sync"].map(|reason| format!("gap: {reason}"));
    let wanted = names.chain(disruptions).chain(gaps).chain(HIDDEN.map(str::to_owned));
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
        assert!(missing.is_empty(), "these never struck, and so the run shows nothing: {missing:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s1_postgres_stops_and_starts_in_the_middle() {
    let seed = from_environment("PLYR_SEED", 1);
    println!("PLYR_SEED={seed}");
    let script = Script::of(seed);
    let server = Server::new();
    let store = Store { url: server.url(), pool: server.pool().await };
    let mut run = Run::start(script.options, script.dialects, store).await;
    for round in 0..3 {
        run.sim.advance(LIVE);
        if round == 1 {
            server.restart();
        } else {
            server.stop();
        }
        run.sim.advance(LIVE);
        if round != 1 {
            server.start();
        }
        run.strike(if round == 1 { &Disruption::Terminate } else { &Disruption::Cut }).await;
    }
    let verdict = Verdict::of(&run.sim);
    let compared = verdict.compare(&run, PATIENCE).await;
    assert!(compared.is_ok(), "{}\n{}", compared.unwrap_err(), run.program().log_tail());
}

/// The world of a seed with a single host, asked in Jetstream v2.
async fn before_one_host(plan: Plan) -> (Run, TestDatabase) {
    before_one_host_of(Script::of(1).options, plan).await
}

/// Likewise, of this world.
async fn before_one_host_of(mut options: Options, plan: Plan) -> (Run, TestDatabase) {
    options.hosts.truncate(1);
    options.hosts[0] = HostOptions { plan, ..HostOptions::default() };
    let database = fresh().await;
    let store = Store { url: database.url.clone(), pool: database.pool.clone() };
    (Run::start(options, vec!["jetstream2"], store).await, database)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_no_host_sends_is_found_missing() {
    let (run, _database) = before_one_host(Plan::none().with(When::Every(10), Fault::Lose)).await;
    run.sim.advance(LIVE);
    let verdict = Verdict::of(&run.sim);
    let complaint = verdict.compare(&run, GLANCE).await.expect_err("something is lost");
    let lost = run.sim.fired()["lose"];
    assert!(lost > 10 && complaint.contains("found    nothing"), "{lost} {complaint}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t6_what_every_host_has_forgotten_is_a_gap() {
    let (mut run, _database) = before_one_host(Plan::none()).await;
    Verdict::of(&run.sim).compare(&run, PATIENCE).await.expect("nothing has gone wrong yet");
    run.strike(&Disruption::Shrink).await;
    let complaint = Verdict::of(&run.sim).compare(&run, GLANCE).await.expect_err("something is lost");
    let gaps = gaps(&run).await;
    assert!(gaps.contains_key("gap: too_old"), "{gaps:?} {complaint}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn r5_a_hidden_account_that_is_shown_is_found() {
    let mut options = Script::of(1).options;
    options.shape.mix = COMING_AND_GOING;
    let (run, _database) = before_one_host_of(options, Plan::none()).await;
    let verdict = Verdict::of(&run.sim);
    let (hidden, deleted) = verdict.hidden_count();
    assert!(hidden > deleted && deleted > 0, "{hidden} hidden, {deleted} of them deleted: choose another seed");
    verdict.compare(&run, PATIENCE).await.expect("nothing has gone wrong yet");
    sqlx::query("UPDATE uncounted_actors SET is_hidden = false").execute(&run.store.pool).await.expect("the table");
    let complaint = verdict.compare_hidden(&run).await.expect_err("a hidden account is shown");
    assert!(complaint.contains("is hidden, and"), "{complaint}");
}
