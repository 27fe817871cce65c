//! What it costs to prove a commit: signature, tree and operations, on one core; and what `PLYR_VERIFY` costs the whole, as events a
//! second that `serve` takes in from a backlog of a firehose, all of them commits of ours, with each of its values.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use ipld_core::ipld::Ipld;
use plyr_likes::{
    atproto::PublicKey,
    decode::{
        firehose::{decode_message, read_message},
        repo::verify_commit,
    },
    model::Collections,
};

use plyr_likes_sim::{
    sim::{HostOptions, Options, Sim},
    world::{Mix, Shape},
};
use sqlx::Connection;

use super::{
    program::{Program, Settings},
    repo::{Repo, Write, encode, map},
    server::Server,
};

/// Records of the repo before the commits that are measured.
const RECORDS: usize = 3_000;
const COMMITS: usize = 400;
const REV: i64 = 0x6_0000_0000_0000;
/// The backlog: likes, and owners of whom each has as many.
const LIKES: usize = 20_000;
const OWNERS: usize = 400;
/// Each value is measured so often, in turns; the best counts, since what disturbs a run only makes it slower.
const ROUNDS: usize = 3;
/// How long one run may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// Measures and prints.
pub async fn measure(server: &Server) -> anyhow::Result<()> {
    measure_verification()?;
    let shape =
        Shape { actors: OWNERS, tracks: OWNERS / 5, events: LIKES, mix: Mix::LIKES, signed: true, ..Shape::default() };
    let sim = Sim::start(Options { shape, hosts: vec![HostOptions::default()], web: 0, rate: 0 }).await?;
    let values = ["off", "on", "reject"];
    let mut rates = [0.0_f64; 3];
    for _ in 0..ROUNDS {
        for (value, best) in values.iter().zip(&mut rates) {
            *best = best.max(follow(server, &sim, value).await?);
        }
    }
    let [off, on, reject] = rates;
    println!(
        "PLYR_VERIFY      off {off:.0}, on {on:.0}, reject {reject:.0} likes/s from a backlog of a firehose: ratios to off {:.2} and \
         {:.2} ({LIKES} likes of {OWNERS} owners, whose keys are looked up on the way; the fake network runs on the same machine)",
        on / off,
        reject / off
    );
    Ok(())
}

/// Likes that come in a second from the beginning of a firehose to its end.
#[expect(clippy::cast_precision_loss, reason = "a rate is rounded anyway")]
async fn follow(server: &Server, sim: &Sim, value: &str) -> anyhow::Result<f64> {
    let settings = Settings::new()
        .with("DATABASE_URL", server.fresh("verify").await?)
        .with("PLYR_SOURCES", format!("firehose+ws://{}", sim.address(0)))
        .with("PLYR_PLC_URL", sim.url(0))
        .with("PLYR_ALLOW_PRIVATE_HOSTS", "true")
        .with("PLYR_READ_REPOS", "false")
        .with("PLYR_VERIFY", value);
    let mut connection = server.connect("verify").await?;
    let began = Instant::now();
    let program = Program::serve(&settings).await;
    loop {
        let (likes, rejects): (i64, i64) =
            sqlx::query_as("SELECT (SELECT count(*) FROM likes), (SELECT count(*) FROM rejects)")
                .fetch_one(&mut connection)
                .await?;
        anyhow::ensure!(rejects == 0, "{rejects} were refused with {value}");
        if usize::try_from(likes)? == LIKES {
            break;
        }
        anyhow::ensure!(began.elapsed() < PATIENCE, "{likes} of {LIKES} likes after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    program.terminate();
    connection.close().await?;
    Ok(LIKES as f64 / seconds)
}

/// Prints commits verified in a second, beside those decoded in a second.
#[expect(clippy::cast_precision_loss, reason = "a rate is rounded anyway")]
fn measure_verification() -> anyhow::Result<()> {
    let mut repo = Repo::new("did:plc:ewvi7nxzyoun6zhxrhs64oiz", 7);
    let paths: Vec<String> = (0..RECORDS + COMMITS).map(|at| format!("fm.plyr.like/{:x}", at * 7_919)).collect();
    let (before, after) = paths.split_at(RECORDS);
    let writes: Vec<Write<'_>> = before.iter().map(|path| (path.as_str(), Some(record(path)))).collect();
    repo.commit(REV, &writes);
    let frames: Vec<Vec<u8>> = (REV + 1..)
        .zip(after)
        .map(|(rev, path)| {
            let header = map([("op", Ipld::Integer(1)), ("t", "#commit".into())]);
            [encode(&header), encode(&repo.commit(rev, &[(path, Some(record(path)))]))].concat()
        })
        .collect();
    let key = PublicKey::parse(&repo.multikey())?;
    let started = Instant::now();
    for frame in &frames {
        let message = read_message(frame)?;
        verify_commit(message.commit().context("a frame without a commit")?, &key)?;
    }
    let verified = COMMITS as f64 / started.elapsed().as_secs_f64();
    let collections = Collections::of_namespace("fm.plyr")?;
    let started = Instant::now();
    for frame in &frames {
        std::hint::black_box(decode_message(&collections, frame));
    }
    let decoded = COMMITS as f64 / started.elapsed().as_secs_f64();
    let mean = frames.iter().map(Vec::len).sum::<usize>() / COMMITS;
    println!(
        "verify           {verified:.0} commits/s verified, {decoded:.0} commits/s decoded (one core, {mean} bytes in the mean, \
         repo of {RECORDS} records)"
    );
    Ok(())
}

fn record(path: &str) -> Vec<u8> {
    encode(&map([("$type", "fm.plyr.like".into()), ("createdAt", path.into())]))
}
