//! Backfill: records a second that come in from the repos of the fake network, found through its relay and read from its PDSes by
//! `serve` on an empty index; what that takes of memory and of the processors; and a comparison of everything after it, which
//! finds nothing.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use plyr_likes_sim::{
    sim::{HostOptions, Options, Sim},
    world::{Mix, Shape},
};
use sqlx::{Connection, PgConnection};

use crate::{
    cpu::{self, Cpu},
    footprint::resident_mb,
    program::{Program, Settings},
    server::Server,
};

/// Repos and likes in them; `PLYR_BACKFILL_REPOS` asks for fewer, each with as many likes.
const REPOS: usize = 10_000;
const LIKES_PER_REPO: usize = 100;
/// How long it may take.
const PATIENCE: Duration = Duration::from_mins(10);
/// PDSes that they are spread over.
const HOSTS: usize = 16;
/// Nothing listens there: what is in the index was read from repos.
const NOWHERE: &str = "firehose+ws://127.0.0.1:9";

/// Measures and prints.
pub async fn measure(server: &Server) -> anyhow::Result<()> {
    let repos = std::env::var("PLYR_BACKFILL_REPOS").map_or(Ok(REPOS), |text| text.parse())?;
    let shape = Shape {
        seed: 1,
        actors: repos,
        tracks: repos / 5,
        events: repos * LIKES_PER_REPO,
        mix: Mix::LIKES,
        ..Shape::default()
    };
    let sim = Sim::start(Options { shape, hosts: vec![HostOptions::default(); HOSTS], web: 0, rate: 0 }).await?;
    let settings = Settings::new()
        .with("DATABASE_URL", server.fresh("backfill").await?)
        .with("PLYR_SOURCES", NOWHERE)
        .with("PLYR_PLC_URL", sim.url(0))
        .with("PLYR_RELAY_URL", sim.url(0))
        .with("PLYR_ALLOW_PRIVATE_HOSTS", "true");
    let mut connection = server.connect("backfill").await?;
    let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await?;
    let postmaster = cpu::parent(u32::try_from(backend)?)?;
    let began = Instant::now();
    let program = Program::serve(&settings).await;
    let before = Cpu::read(program.pid(), postmaster)?;
    wait_until_read(&mut connection, repos, began).await?;
    let seconds = began.elapsed().as_secs_f64();
    let used = Cpu::read(program.pid(), postmaster)?.since(before);
    let peak = resident_mb(program.pid(), "VmHWM")?;
    let writing = writing_s(&program.metrics().await)?;
    let records: i64 =
        sqlx::query_scalar("SELECT (SELECT count(*) FROM likes) + (SELECT count(*) FROM tracks WHERE rev IS NOT NULL)")
            .fetch_one(&mut connection)
            .await?;
    println!(
        "backfill         {:.0} records/s: {records} records of {repos} repos on {HOSTS} hosts of a fake network in {seconds:.1} s, \
         {peak:.0} MB at the peak (`serve`; the network runs on the same machine)",
        per(records, seconds)
    );
    println!(
        "backfill CPU     ms a repo: {:.2} `serve`, {:.2} Postgres, {:.2} the fake network; meanwhile {:.2} of {} processors \
         were used by others",
        ms_per(used.program, repos),
        ms_per(used.postgres, repos),
        ms_per(used.network, repos),
        used.others() / seconds,
        std::thread::available_parallelism()?
    );
    println!(
        "backfill writer  wrote for {writing:.1} of the {seconds:.1} s, and waited for readers in the others: {:.0} records/s while it \
         wrote, if nothing else had been to do",
        per(records, writing)
    );
    program.terminate();
    let said = tokio::task::block_in_place(|| settings.run(&["reconcile"]));
    let said = String::from_utf8(said.stdout)?;
    println!("audit            {}", said.lines().next().unwrap_or_default());
    connection.close().await?;
    Ok(())
}

/// For how long the writer of repos has been writing.
fn writing_s(metrics: &str) -> anyhow::Result<f64> {
    let sum = metrics.lines().find_map(|line| line.strip_prefix("plyr_repos_write_seconds_sum "));
    Ok(sum.context("the time of writing repos is a metric")?.parse()?)
}

/// Waits until all repos have been read. Only the small table is asked: the question must cost next to nothing.
async fn wait_until_read(connection: &mut PgConnection, repos: usize, began: Instant) -> anyhow::Result<()> {
    loop {
        let done: i64 = sqlx::query_scalar("SELECT count(*) FILTER (WHERE state = 'done') FROM repos")
            .fetch_one(&mut *connection)
            .await?;
        if usize::try_from(done)? == repos {
            return Ok(());
        }
        anyhow::ensure!(began.elapsed() < PATIENCE, "{done} of {repos} repos after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn per(count: i64, seconds: f64) -> f64 {
    count as f64 / seconds
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn ms_per(seconds: f64, repos: usize) -> f64 {
    seconds * 1e3 / repos as f64
}
