//! Size and memory: bytes per like on disk with all indexes after a million likes, and the resident set of the `serve` that
//! has taken them in from a Jetstream: idle afterwards, and at its peak.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use sqlx::Connection;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    log::{Shape, write_log},
    program::{Program, Settings},
    server::Server,
};

const LIKES: usize = 1_000_000;
/// How long the index may take to stop changing.
const PATIENCE: Duration = Duration::from_mins(4);

/// Measures and prints.
pub async fn measure(server: &Server) -> anyhow::Result<()> {
    let shape = Shape::of_likes(LIKES);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let source = format!("jetstream+ws://{}", listener.local_addr()?);
    let mut log = Vec::new();
    write_log(&mut log, shape)?;
    let upstream = tokio::spawn(serve_log(listener, log));
    let settings = Settings::new().with("DATABASE_URL", server.fresh("footprint").await?).with("PLYR_SOURCES", source);
    let started = Instant::now();
    let program = Program::serve(&settings).await;
    let mut connection = server.connect("footprint").await?;
    let live = i64::try_from(shape.likes - shape.likes * shape.deletes_percent / 100)?;
    loop {
        let (rows, likes): (i64, i64) =
            sqlx::query_as("SELECT count(*), count(subject_id) FROM likes").fetch_one(&mut connection).await?;
        if likes == live && rows == i64::try_from(shape.likes)? {
            break;
        }
        anyhow::ensure!(started.elapsed() < PATIENCE, "{likes} of {live} likes after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let seconds = started.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (idle, peak) = (resident_mb(program.pid(), "VmRSS")?, resident_mb(program.pid(), "VmHWM")?);

    let (table, indexes): (i64, i64) =
        sqlx::query_as("SELECT pg_table_size('likes'), pg_indexes_size('likes')").fetch_one(&mut connection).await?;
    let all: i64 = sqlx::query_scalar(
        "SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class WHERE relname IN ('likes', 'subject_cids', 'track_counts')",
    )
    .fetch_one(&mut connection)
    .await?;
    connection.close().await?;
    program.terminate();
    upstream.abort();
    println!(
        "size             {:.0} bytes per like on disk with all indexes ({:.0} table, {:.0} indexes; {live} live likes; with \
         counts and subject CIDs {:.0})",
        per(table + indexes, live),
        per(table, live),
        per(indexes, live),
        per(all, live)
    );
    println!(
        "memory           {idle:.0} MB resident when idle, {peak:.0} MB at the peak (`serve`, {LIKES} likes from a Jetstream in \
         {seconds:.0} s)"
    );
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
fn per(bytes: i64, likes: i64) -> f64 {
    bytes as f64 / likes as f64
}

/// A field of the kernel's report on a process, in megabytes.
pub fn resident_mb(pid: u32, field: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kilobytes: f64 = line.and_then(|line| line.split_whitespace().next()).unwrap_or_default().parse()?;
    Ok(kilobytes / 1024.0)
}

/// A Jetstream that holds the log: each connection gets all of it, and then silence.
async fn serve_log(listener: TcpListener, log: Vec<u8>) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        if let Err(error) = send_log(stream, &log).await {
            eprintln!("the upstream of the bench lost a connection: {error}");
        }
    }
}

async fn send_log(stream: TcpStream, log: &[u8]) -> anyhow::Result<()> {
    let mut socket = tokio_tungstenite::accept_async(stream).await?;
    for line in log.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        socket.feed(Message::text(std::str::from_utf8(line)?)).await?;
    }
    socket.flush().await?;
    while let Some(message) = socket.next().await {
        message?;
    }
    Ok(())
}
