//! Backfill: records a second that come in from the repos of the fake network, found through its relay and read from its PDSes by
//! `serve` on an empty index; what that takes of memory; and a comparison of everything after it, which finds nothing.

use std::time::{Duration, Instant};

use plyr_likes_sim::{
    sim::{HostOptions, Options, Sim},
    world::{Mix, Shape},
};

use sqlx::Connection;

use crate::{
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
        .with("PLYR_PLC_URL", sim.url(0))
        .with("PLYR_RELAY_URL", sim.url(0))
        .with("PLYR_ALLOW_PRIVATE_HOSTS", "true");
    let mut connection = server.connect("backfill").await?;
    let began = Instant::now();
    let program = Program::serve(&settings).await;
    loop {
        let (done, likes): (i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FILTER (WHERE state = 'done') FROM repos), (SELECT count(*) FROM likes)",
        )
        .fetch_one(&mut connection)
        .await?;
        if usize::try_from(done)? == repos {
            let (seconds, peak) = (began.elapsed().as_secs_f64(), resident_mb(program.pid(), "VmHWM")?);
            println!(
                "backfill         {:.0} records/s: {likes} likes of {repos} repos on {HOSTS} hosts of a fake network in {seconds:.1} s, \
                 {peak:.0} MB at the peak (`serve`; the network runs on the same machine)",
                per(likes, seconds)
            );
            break;
        }
        anyhow::ensure!(began.elapsed() < PATIENCE, "{done} of {repos} repos after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    program.terminate();
    let said = tokio::task::block_in_place(|| settings.run(&["reconcile"]));
    let said = String::from_utf8(said.stdout)?;
    println!("audit            {}", said.lines().next().unwrap_or_default());
    connection.close().await?;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn per(count: i64, seconds: f64) -> f64 {
    count as f64 / seconds
}
