//! One run: a world, a database, the program, and what disrupts it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use plyr_likes_sim::{
    fault::Fault,
    sim::{Options, Sim},
};
use sqlx::{PgPool, Postgres, Transaction};

use super::script::{Disruption, LIVE, Moment};
use crate::support::program::{Program, Settings};

/// How long is waited for what a disruption needs; one whose moment has not come by then is applied without effect and not counted.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(10);

const ONE_WAITS_FOR_LOCK: &str = "SELECT count(*) > 0 FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND xact_start IS NOT NULL";
const POSITIONS: &str = "SELECT coalesce(string_agg(source || value::text, ' ' ORDER BY source), '') FROM positions";
/// The lock under which batches are written.
const LOCK_OF_BATCHES: &str = "SELECT pg_advisory_xact_lock((1886157170::bigint << 32) | 1)";
/// What each batch with likes must have.
const LOCK_INSIDE: &str = "LOCK TABLE track_counts, rejects IN ACCESS EXCLUSIVE MODE";

/// Where the program keeps its index.
#[derive(Clone)]
pub struct Store {
    pub url: String,
    pub pool: PgPool,
}

/// A run.
pub struct Run {
    pub sim: Arc<Sim>,
    pub store: Store,
    /// How often each disruption took effect.
    pub counts: BTreeMap<String, u64>,
    program: Option<Program>,
    dialects: Vec<&'static str>,
    sources: String,
}

impl Run {
    /// The world as it is in the beginning, and the program before it.
    pub async fn start(options: Options, dialects: Vec<&'static str>, store: Store) -> Self {
        let sim = Arc::new(Sim::start(options).await.expect("free ports"));
        let mut run = Self { sim, store, counts: BTreeMap::new(), program: None, dialects, sources: String::new() };
        run.follow(&(0..run.sim.host_count()).collect::<Vec<_>>());
        run.program = Some(run.serve().await);
        run
    }

    /// The program that works now.
    pub fn program(&self) -> &Program {
        self.program.as_ref().expect("there is one between two starts")
    }

    fn follow(&mut self, hosts: &[usize]) {
        let source = |host: &usize| format!("{}+ws://{}", self.dialects[*host], self.sim.address(*host));
        self.sources = hosts.iter().map(source).collect::<Vec<_>>().join(",");
    }

    async fn serve(&self) -> Program {
        let settings = Settings::new().with("DATABASE_URL", &self.store.url).with("PLYR_SOURCES", &self.sources);
        Program::serve(&settings).await
    }

    /// Ends the program in this way, and starts it again.
    async fn restart(&mut self, end: impl FnOnce(Program)) {
        let program = self.program.take().expect("there is one between two starts");
        end(program);
        self.program = Some(self.serve().await);
    }

    /// Applies a disruption while things happen, and notes whether it took effect.
    pub async fn strike(&mut self, disruption: &Disruption) {
        self.strike_at(0, disruption).await;
    }

    /// Likewise, with this host in place of the first.
    pub async fn strike_at(&mut self, host: usize, disruption: &Disruption) {
        let took_effect = match disruption {
            Disruption::Kill(moment) => self.kill_at(*moment).await,
            Disruption::Terminate => {
                self.sim.advance(LIVE);
                let mut ended_well = false;
                self.restart(|program| ended_well = program.terminate().success()).await;
                assert!(ended_well, "SIGTERM ends it badly");
                true
            }
            Disruption::TakeOver => {
                let second = self.serve().await;
                self.sim.advance(LIVE);
                let first = self.program.replace(second).expect("there is one between two starts");
                first.kill9();
                true
            }
            Disruption::Switch => {
                self.sim.advance(LIVE);
                let last = self.sim.host_count() - 1;
                // The last host alone, and asked in another way: no position of before is of use.
                self.dialects[last] = if self.dialects[last] == "firehose" { "jetstream" } else { "firehose" };
                self.follow(&[last]);
                self.restart(|program| {
                    program.terminate();
                })
                .await;
                true
            }
            Disruption::DatabaseCut => self.cut_database().await,
            Disruption::AtFirst(fault) => self.inject(host, fault).await,
            Disruption::Cut | Disruption::Down | Disruption::Dictionary | Disruption::Shrink => {
                self.strike_host(disruption)
            }
        };
        *self.counts.entry(disruption.name()).or_default() += u64::from(took_effect);
    }

    /// Leads the program to this moment, and kills it there. Answers whether it was seen to be there.
    async fn kill_at(&mut self, moment: Moment) -> bool {
        let lock = match moment {
            Moment::AfterReceive | Moment::BeforeTransaction => LOCK_OF_BATCHES,
            Moment::InsideTransaction => LOCK_INSIDE,
            Moment::AfterCommit => {
                let before = self.positions().await;
                self.sim.advance(LIVE);
                let moved = self.until(async |run| run.positions().await != before).await;
                self.restart(Program::kill9).await;
                return moved;
            }
        };
        let holder = self.hold(lock).await;
        self.sim.advance(LIVE);
        let mut reached = self.until(async |run| run.ask(ONE_WAITS_FOR_LOCK).await).await;
        if moment == Moment::AfterReceive {
            let before = self.received().await;
            self.sim.advance(LIVE);
            reached &= self.until(async |run| run.received().await > before).await;
        }
        let program = self.program.take().expect("there is one between two starts");
        program.kill9();
        holder.rollback().await.expect("the lock is given back");
        self.program = Some(self.serve().await);
        reached
    }

    /// Ends all connections to the database until the program has had new ones twice.
    async fn cut_database(&mut self) -> bool {
        let end = "SELECT count(pg_terminate_backend(pid)) > 0 FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
            AND application_name <> 'tests'";
        let mut has_cut = true;
        for _ in 0..2 {
            self.sim.advance(LIVE / 2);
            has_cut &= self.until(async |run| run.ask(end).await).await;
        }
        has_cut
    }

    fn strike_host(&self, disruption: &Disruption) -> bool {
        let last = self.sim.host_count() - 1;
        match disruption {
            Disruption::Down => {
                self.sim.set_down(last, true);
                self.sim.advance(LIVE);
                self.sim.set_down(last, false);
            }
            Disruption::Dictionary => {
                self.sim.rotate_dictionary();
                self.sim.cut(0);
                self.sim.advance(LIVE);
            }
            Disruption::Shrink => {
                self.sim.cut(0);
                self.sim.advance(LIVE);
                self.sim.shrink(0, 5);
            }
            _ => {
                self.sim.advance(LIVE / 2);
                self.sim.cut(last);
                self.sim.advance(LIVE / 2);
            }
        }
        true
    }

    /// Injects a fault into a host, which is connected to again if the fault needs it. Returns whether it has struck.
    async fn inject(&self, host: usize, fault: &Fault) -> bool {
        let (before, name) = (self.sim.fired(), fault.name());
        let at_request = fault.at_request();
        self.sim.inject(host, fault.clone());
        if at_request {
            self.sim.cut(host);
        }
        self.sim.advance(LIVE / 2);
        // Some strike when something happens after the host was asked.
        self.until(async |run| {
            run.sim.advance(1);
            run.sim.fired().get(&name) > before.get(&name)
        })
        .await
    }

    async fn hold(&self, lock: &'static str) -> Transaction<'static, Postgres> {
        let mut holder = self.store.pool.begin().await.expect("a transaction");
        sqlx::query(lock).execute(&mut *holder).await.expect("a lock");
        holder
    }

    async fn ask(&self, question: &'static str) -> bool {
        sqlx::query_scalar(question).fetch_one(&self.store.pool).await.expect("an answer")
    }

    async fn positions(&self) -> String {
        sqlx::query_scalar(POSITIONS).fetch_one(&self.store.pool).await.expect("an answer")
    }

    /// Messages that the program says it has received.
    async fn received(&self) -> f64 {
        let metrics = self.program().metrics().await;
        let lines = metrics.lines().filter(|line| line.starts_with("plyr_source_messages_total"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until it is so; false when it is not for long.
    async fn until(&self, is_so: impl AsyncFn(&Self) -> bool) -> bool {
        let started = Instant::now();
        while !is_so(self).await {
            if started.elapsed() > PATIENCE {
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        true
    }

    /// Nothing goes wrong any more.
    pub fn calm(&self) {
        for host in 0..self.sim.host_count() {
            self.sim.heal(host);
            self.sim.set_down(host, false);
        }
    }
}
