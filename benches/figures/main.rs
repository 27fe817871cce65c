//! The figures of the contract, measured in one run on one machine and printed with their parts.
//!
//! `cargo bench --bench figures` measures all; `-- replay`, `-- rejects`, `-- batch`, `-- footprint`, `-- backfill`, `-- hiding`, `-- verify` or `-- freshness` one
//! group, as does `make bench FIGURES=backfill`. Everything runs on a private Postgres of the bench, with the settings that the program
//! gives its own; what is compared with Postgres is compared with the same server.

mod backfill;
mod batch;
mod cpu;
#[path = "../../tests/it/support/crowd.rs"]
mod crowd;
mod footprint;
mod freshness;
mod hiding;
#[path = "../../tests/it/support/http.rs"]
mod http;
mod load;
#[expect(dead_code, reason = "a test holds the log against its own account of what lives at the end")]
mod log;
#[expect(unused, reason = "the tests use the rest")]
#[path = "../../tests/it/support/network/mod.rs"]
mod network;
#[expect(dead_code, reason = "the tests use the rest")]
#[path = "../../tests/it/support/program.rs"]
mod program;
mod rejects;
mod replay;
#[expect(dead_code, reason = "the tests use the rest")]
#[path = "../../tests/it/support/repo.rs"]
mod repo;
mod server;
mod verify;

use std::path::Path;

use network::Network;
use program::{Program, Settings};
use server::Server;

/// Likes written one after the other for the freshness figure.
const FRESHNESS_LIKES: usize = 600;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wants = |group: &str| wanted.is_empty() || wanted.iter().any(|name| name == group);
    let folder = server::folder()?;
    let server = Server::start(&folder.path().join("bench")).await?;
    let outcome = measure(&server, folder.path(), wants).await;
    server.stop().await;
    outcome
}

async fn measure(server: &Server, folder: &Path, wants: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    if wants("replay") {
        replay::measure(server, folder).await?;
    }
    if wants("rejects") {
        rejects::measure(server, folder).await?;
    }
    if wants("batch") {
        batch::measure(server, folder).await?;
    }
    if wants("footprint") {
        footprint::measure(server).await?;
    }
    if wants("backfill") {
        backfill::measure(server).await?;
    }
    if wants("hiding") {
        hiding::measure(server).await?;
    }
    if wants("verify") {
        verify::measure(server).await?;
    }
    if wants("freshness") {
        measure_freshness(server).await?;
    }
    Ok(())
}

async fn measure_freshness(server: &Server) -> anyhow::Result<()> {
    let network = Network::start_fast().await;
    let settings =
        Settings::new().with("DATABASE_URL", server.fresh("freshness").await?).with("PLYR_SOURCES", network.source());
    let program = Program::serve(&settings).await;
    let figure = freshness::measure_freshness(&network, &program.api, FRESHNESS_LIKES).await;
    println!(
        "freshness        p50 {:.1} ms, p99 {:.1} ms (commit answered by the local PDS to visible over HTTP, {} likes, raw \
         firehose; the PDS polls its sequencer every 5 ms)",
        figure.p50_ms, figure.p99_ms, figure.like_count
    );
    program.terminate();
    Ok(())
}
