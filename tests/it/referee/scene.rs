//! One run: a world, a database, the program, and the blows that fall.

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

use super::script::{Blow, LIVE, Moment};
use crate::support::program::{Program, Settings};

/// How long is waited for what a blow needs; one that is not in place by then falls in vain and is not counted.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(10);

const SOMEBODY_WAITS: &str = "SELECT count(*) > 0 FROM pg_stat_activity
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
pub struct Scene {
    pub sim: Arc<Sim>,
    pub store: Store,
    /// How often each blow has fallen.
    pub fallen: BTreeMap<String, u64>,
    program: Option<Program>,
    dialects: Vec<&'static str>,
    sources: String,
}

impl Scene {
    /// The world as it is in the beginning, and the program before it.
    pub async fn start(options: Options, dialects: Vec<&'static str>, store: Store) -> Self {
        let sim = Arc::new(Sim::start(options).await.expect("free ports"));
        let mut scene = Self { sim, store, fallen: BTreeMap::new(), program: None, dialects, sources: String::new() };
        scene.follow(&(0..scene.sim.host_count()).collect::<Vec<_>>());
        scene.program = Some(scene.serve().await);
        scene
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

    /// Lets a blow fall while things happen, and notes whether it met what it was meant for.
    pub async fn strike(&mut self, blow: &Blow) {
        self.strike_at(0, blow).await;
    }

    /// Likewise, where what is meant for the first host befalls this one.
    pub async fn strike_at(&mut self, host: usize, blow: &Blow) {
        let has_met = match blow {
            Blow::Kill(moment) => self.kill_at(*moment).await,
            Blow::Terminate => {
                self.sim.advance(LIVE);
                let mut ended_well = false;
                self.restart(|program| ended_well = program.terminate().success()).await;
                assert!(ended_well, "SIGTERM ends it badly");
                true
            }
            Blow::TakeOver => {
                let second = self.serve().await;
                self.sim.advance(LIVE);
                let first = self.program.replace(second).expect("there is one between two starts");
                first.kill9();
                true
            }
            Blow::Switch => {
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
            Blow::DatabaseCut => self.cut_database().await,
            Blow::AtFirst(fault) => self.befall(host, fault).await,
            Blow::Cut | Blow::Down | Blow::Dictionary | Blow::Shrink => self.strike_host(blow),
        };
        *self.fallen.entry(blow.name()).or_default() += u64::from(has_met);
    }

    /// Leads the program to this moment, and kills it there. Answers whether it was seen to be there.
    async fn kill_at(&mut self, moment: Moment) -> bool {
        let lock = match moment {
            Moment::AfterReceive | Moment::BeforeTransaction => LOCK_OF_BATCHES,
            Moment::InsideTransaction => LOCK_INSIDE,
            Moment::AfterCommit => {
                let before = self.positions().await;
                self.sim.advance(LIVE);
                let moved = self.until(async |scene| scene.positions().await != before).await;
                self.restart(Program::kill9).await;
                return moved;
            }
        };
        let holder = self.hold(lock).await;
        self.sim.advance(LIVE);
        let mut reached = self.until(async |scene| scene.ask(SOMEBODY_WAITS).await).await;
        if moment == Moment::AfterReceive {
            let before = self.received().await;
            self.sim.advance(LIVE);
            reached &= self.until(async |scene| scene.received().await > before).await;
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
        let mut met = true;
        for _ in 0..2 {
            self.sim.advance(LIVE / 2);
            met &= self.until(async |scene| scene.ask(end).await).await;
        }
        met
    }

    fn strike_host(&self, blow: &Blow) -> bool {
        let last = self.sim.host_count() - 1;
        match blow {
            Blow::Down => {
                self.sim.set_down(last, true);
                self.sim.advance(LIVE);
                self.sim.set_down(last, false);
            }
            Blow::Dictionary => {
                self.sim.rotate_dictionary();
                self.sim.cut(0);
                self.sim.advance(LIVE);
            }
            Blow::Shrink => {
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

    /// Something befalls a host, which is made to be asked again if it must be. Answers whether it has struck.
    async fn befall(&self, host: usize, fault: &Fault) -> bool {
        let (before, name) = (self.sim.fired(), fault.name());
        let at_request = fault.at_request();
        self.sim.inject(host, fault.clone());
        if at_request {
            self.sim.cut(host);
        }
        self.sim.advance(LIVE / 2);
        // Some strike when something happens after the host was asked.
        self.until(async |scene| {
            scene.sim.advance(1);
            scene.sim.fired().get(&name) > before.get(&name)
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
