//! Replay ratio: events per second of `plyr-likes replay`, over rows per second of COPY of the same likes into the same
//! table with the same indexes.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    process::Command,
    time::Instant,
};

use futures_util::TryStreamExt;
use sqlx::{Executor, postgres::PgPoolCopyExt};

use crate::{
    log::{Shape, write_log},
    server::Server,
};

/// Each is measured so often, in turns; the median counts.
pub const ROUNDS: usize = 3;

/// Measures and prints.
pub async fn measure(server: &Server, folder: &Path) -> anyhow::Result<()> {
    let path = folder.join("replay.jsonl");
    let mut out = BufWriter::new(File::create(&path)?);
    let lines = write_log(&mut out, Shape::FIGURE)?;
    out.flush()?;
    let (mut events_per_s, mut rows_per_s) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        events_per_s.push(replay(server, &path, lines).await?);
        rows_per_s.push(copy(server).await?);
    }
    let (events, rows) = (median(&mut events_per_s), median(&mut rows_per_s));
    println!(
        "replay ratio     {:.2} = {events:.0} events/s of replay (the whole process, {lines} events into an empty index) / \
         {rows:.0} rows/s of COPY; rounds {events_per_s:.0?} / {rows_per_s:.0?}",
        events / rows
    );
    Ok(())
}

/// Events per second of the whole process, into an empty index.
pub async fn replay(server: &Server, log: &Path, lines: usize) -> anyhow::Result<f64> {
    let url = server.fresh("replay").await?;
    let started = Instant::now();
    let output =
        Command::new(env!("CARGO_BIN_EXE_plyr-likes")).arg("replay").arg(log).env("DATABASE_URL", url).output()?;
    let seconds = started.elapsed().as_secs_f64();
    anyhow::ensure!(output.status.success(), "replay failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(rate(lines, seconds))
}

/// Copies the live likes that the replay has left into a table with the same columns and indexes, in the order in which they
/// came, and without the triggers.
async fn copy(server: &Server) -> anyhow::Result<f64> {
    let pool = sqlx::PgPool::connect_with(server.options("replay")).await?;
    pool.execute("CREATE TABLE likes_copied (LIKE likes INCLUDING ALL)").await?;
    let rows: Vec<_> = pool
        .copy_out_raw("COPY (SELECT * FROM likes WHERE subject_id IS NOT NULL ORDER BY rev) TO STDOUT (FORMAT binary)")
        .await?
        .try_collect()
        .await?;
    pool.execute("CHECKPOINT").await?;
    let started = Instant::now();
    let mut copy = pool.copy_in_raw("COPY likes_copied FROM STDIN (FORMAT binary)").await?;
    for part in rows.chunks(1024) {
        copy.send(part.concat()).await?;
    }
    let copied = copy.finish().await?;
    let seconds = started.elapsed().as_secs_f64();
    pool.close().await;
    Ok(rate(usize::try_from(copied)?, seconds))
}

#[expect(clippy::cast_precision_loss, reason = "counts of events are far below 2^52")]
fn rate(count: usize, seconds: f64) -> f64 {
    count as f64 / seconds
}

/// The one in the middle.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
