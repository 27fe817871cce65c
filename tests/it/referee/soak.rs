//! A long run at a steady rate, with something going wrong every twenty seconds: `make soak MINUTES=30 RATE=2000`.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use plyr_likes_sim::{
    event::What,
    fault::Fault,
    host::Habits,
    model::{Model, differences},
    random::Random,
    sim::{HostOptions, Options, Sim, now_us},
    world::{Mix, Shape},
};
use sqlx::PgPool;
use tokio::time::sleep;

use super::{
    from_environment,
    run::{Run, Store},
    script::{Disruption, Moment, harmful, survivable},
    verdict::found,
};
use crate::support::{database::fresh, dump};

const BETWEEN_FAULTS: Duration = Duration::from_secs(20);
const BETWEEN_REPORTS: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Who sees what happens within this time is not behind.
const LAG_MAX: Duration = Duration::from_secs(1);
/// Within which it must not be behind any more, after each fault.
const RECOVERY_MAX: Duration = Duration::from_secs(10);
/// How long the index may take at the end.
const END_MAX: Duration = Duration::from_mins(2);

const HELD: &str = "SELECT coalesce(max(l.rev), 0) FROM likes l JOIN actors a ON a.id = l.actor_id
    WHERE a.did = $1 AND l.rkey = $2";

/// How far behind the index is: one like after the other is followed from the moment it happens until it is held.
#[derive(Default)]
struct Lag {
    /// When a like was last seen to be held that had happened this long before.
    last: Option<(Instant, Duration)>,
    max: Duration,
}

/// The newest like of a world: whose, its key, its rev, and when it happened.
fn newest_like(sim: &Sim) -> Option<(String, i64, i64, i64)> {
    let state = sim.state();
    state.world.events().iter().rev().find_map(|event| match event.what {
        What::Like { rkey, .. } => Some((state.world.did(event.actor).to_owned(), rkey, event.rev, event.time_us())),
        _ => None,
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Follows likes for ever. While the database cannot be asked, nothing is seen.
async fn watch(sim: &Sim, pool: &PgPool, lag: &Mutex<Lag>) {
    loop {
        sleep(LOOK_EVERY).await;
        let Some((did, rkey, rev, happened_us)) = newest_like(sim) else { continue };
        loop {
            let held = sqlx::query_scalar::<_, i64>(HELD).bind(&did).bind(rkey).fetch_one(pool).await;
            if held.is_ok_and(|held| held >= rev) {
                break;
            }
            sleep(LOOK_EVERY).await;
        }
        let behind = Duration::from_micros((now_us() - happened_us).max(0).unsigned_abs());
        let mut lag = lock(lag);
        lag.last = Some((Instant::now(), behind));
        lag.max = lag.max.max(behind);
    }
}

/// The resident set of a process, in megabytes.
fn resident_mb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|text| text.parse::<u64>().ok()).unwrap_or_default() / 1024
}

/// What may go wrong next. The program is ended in the first half only, so that one process lives long enough to see it grow.
fn next_disruption(random: &mut Random, is_first_half: bool) -> (usize, Disruption) {
    let mut disruptions = vec![Disruption::Cut, Disruption::Down, Disruption::DatabaseCut, Disruption::Dictionary];
    if is_first_half {
        disruptions.extend([
            Disruption::Kill(Moment::AfterCommit),
            Disruption::Kill(Moment::InsideTransaction),
            Disruption::Terminate,
        ]);
        disruptions.push(Disruption::TakeOver);
    }
    let for_good = |disruption: &Disruption| {
        matches!(disruption, Disruption::AtFirst(Fault::Invalid) | Disruption::Shrink | Disruption::Switch)
    };
    disruptions.extend(
        Disruption::all()
            .into_iter()
            .filter(|disruption| matches!(disruption, Disruption::AtFirst(_)) && !for_good(disruption)),
    );
    // What concerns a single message needs a plan, and not a moment.
    let of_streams = |fault: &Fault| !matches!(fault, Fault::Swap | Fault::Lose | Fault::Duplicate);
    let anywhere: Vec<Fault> = survivable().into_iter().filter(of_streams).collect();
    match random.below(3) {
        0 => (random.below(2), Disruption::AtFirst(random.pick(&anywhere).clone())),
        1 if random.percent(30) => {
            let harm: Vec<Fault> = harmful().into_iter().filter(of_streams).collect();
            (0, Disruption::AtFirst(random.pick(&harm).clone()))
        }
        _ => (0, random.pick(&disruptions).clone()),
    }
}

struct Report {
    began: Instant,
    resident_mb: Vec<u64>,
    slowest: (Duration, String),
}

impl Report {
    fn print(&mut self, run: &Run, lag: &Mutex<Lag>) {
        let resident = resident_mb(run.program().pid());
        self.resident_mb.push(resident);
        let events = run.sim.state().world.events().len();
        let mut lag = lock(lag);
        let behind = lag.last.map(|(_, behind)| behind).unwrap_or_default();
        println!(
            "{:>5} s  {events} events  lag {behind:?} (at most {:?})  RSS {resident} MB, of the fake upstreams {} MB",
            self.began.elapsed().as_secs(),
            std::mem::take(&mut lag.max),
            resident_mb(std::process::id())
        );
    }

    /// Waits until what happened after the fault is seen within a second, and notes how long that took.
    async fn await_recovery(&mut self, name: &str, (run, lag): (&Run, &Mutex<Lag>)) {
        let struck = Instant::now();
        let recovered = loop {
            let last = lock(lag).last;
            if let Some((at, behind)) = last
                && behind < LAG_MAX
                && at.checked_sub(behind).is_some_and(|happened| happened >= struck)
            {
                break struck.elapsed();
            }
            assert!(
                struck.elapsed() < END_MAX,
                "after {name} the index does not come back; when last seen it was behind by {:?}; its log ends:\n{}",
                last.map(|(_, behind)| behind),
                run.program().log_tail()
            );
            sleep(LOOK_EVERY).await;
        };
        println!("        {name}: back within a second of the world after {recovered:?}");
        if recovered > self.slowest.0 {
            self.slowest = (recovered, name.to_owned());
        }
    }
}

fn a_world(seed: u64, rate: u32) -> Options {
    let mix = Mix { accounts: 0, syncs: 1, ..Mix::LIFE };
    let (actors, tracks, past) = (5_000, 1_000, 10_000);
    let start_us = now_us() - 10_000 * (past + 1_000);
    let shape = Shape {
        seed,
        actors,
        tracks,
        events: usize::try_from(past).expect("small"),
        mix,
        start_us,
        ..Shape::default()
    };
    let host =
        |number| HostOptions { habits: Habits::untidy(number), announces: number == 0, ..HostOptions::default() };
    Options { shape, hosts: (0..2).map(host).collect(), rate, web: 0 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "takes as long as PLYR_SOAK_MINUTES says: make soak"]
async fn soak() {
    let seed = from_environment("PLYR_SEED", u64::from(std::process::id()));
    let minutes = from_environment("PLYR_SOAK_MINUTES", 30);
    let rate = u32::try_from(from_environment("PLYR_SOAK_RATE", 2_000)).expect("a rate");
    println!("PLYR_SEED={seed}: {minutes} minutes at {rate} events/s");
    let database = fresh().await;
    let store = Store { url: database.url.clone(), pool: database.pool.clone() };
    let mut run = Run::start(a_world(seed, rate), vec!["jetstream2", "firehose"], store.clone()).await;
    let lag = Arc::new(Mutex::new(Lag::default()));
    let watcher = {
        let (sim, lag) = (Arc::clone(&run.sim), Arc::clone(&lag));
        tokio::spawn(async move { watch(&sim, &store.pool, &lag).await })
    };
    let mut random = Random::new(seed);
    let mut report = Report { began: Instant::now(), resident_mb: Vec::new(), slowest: Default::default() };
    report.await_recovery("the start", (&run, &lag)).await;
    // To catch up with the past is no recovery.
    report.slowest = Default::default();
    let (length, mut reported) = (Duration::from_secs(60 * minutes), Instant::now());
    report.print(&run, &lag);
    while report.began.elapsed() < length {
        sleep(BETWEEN_FAULTS).await;
        let (host, disruption) = next_disruption(&mut random, report.began.elapsed() < length / 2);
        run.strike_at(host, &disruption).await;
        report.await_recovery(&format!("{} at {host}", disruption.name()), (&run, &lag)).await;
        if reported.elapsed() >= BETWEEN_REPORTS {
            reported = Instant::now();
            report.print(&run, &lag);
        }
    }
    watcher.abort();
    run.calm();
    run.sim.set_rate(0);
    report.print(&run, &lag);
    let wrong = wrong_at_the_end(&run).await;
    let (first, last) = (report.resident_mb[0], report.resident_mb[report.resident_mb.len() - 1]);
    let max = report.resident_mb.iter().max().expect("it was measured");
    println!("went wrong: {:?}; disruptions: {:?}", run.sim.fired(), run.counts);
    println!(
        "differences: {}; RSS first {first} MB, last {last} MB, at most {max} MB; slowest recovery {:?}, after {}",
        wrong.len(),
        report.slowest.0,
        report.slowest.1
    );
    assert!(wrong.is_empty(), "{}", wrong[..wrong.len().min(50)].join("\n"));
    assert!(report.slowest.0 <= RECOVERY_MAX, "the lag was not below a second within {RECOVERY_MAX:?} of each fault");
}

/// What the index holds otherwise than the world says, once it has had time to come to rest.
async fn wrong_at_the_end(run: &Run) -> Vec<String> {
    let mut model = Model::default();
    run.sim.state().world.sent_writes().for_each(|write| model.take(&write));
    let (expected, began) = (model.state(), Instant::now());
    loop {
        let mut wrong = differences(&expected, &found(&run.store.pool, &run.sim).await);
        wrong.extend(dump::miscounted(&run.store.pool).await);
        if wrong.is_empty() || began.elapsed() > END_MAX {
            return wrong;
        }
        sleep(BETWEEN_FAULTS / 4).await;
    }
}
