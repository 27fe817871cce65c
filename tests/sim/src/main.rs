//! Serves a world to play with: see `--help`.

use std::time::Duration;

use clap::Parser;
use plyr_likes_sim::{
    fault::{Fault, Garbage, Plan, When},
    host::Habits,
    sim::{HostOptions, Options, Sim, now_us},
    world::{Mix, Shape},
};

/// Serves a seeded world of atproto repos: Jetstream v1 and v2, firehose, PLC, PDS and relay on each port, with faults if you
/// like. Prints the line that starts plyr-likes on it. Ctrl-C ends it.
#[derive(Debug, Parser)]
#[command(name = "plyr-likes-sim", version)]
struct Arguments {
    /// Accounts in the world.
    #[arg(long, default_value_t = 1_000)]
    actors: usize,
    /// Tracks that there are in the beginning.
    #[arg(long, default_value_t = 500)]
    tracks: usize,
    /// Events that have happened before the first connection.
    #[arg(long, default_value_t = 10_000)]
    history: usize,
    /// Whether the past is likes alone, as for measuring a backfill.
    #[arg(long)]
    only_likes: bool,
    /// Whether accounts come and go, and repos change in silence.
    #[arg(long)]
    unrest: bool,
    /// Events that happen in a second from now on.
    #[arg(long, default_value_t = 100)]
    rate: u32,
    /// Hosts, each on its own port with an order, stamps and numbers of its own.
    #[arg(long, default_value_t = 2)]
    hosts: usize,
    /// The first host's port, the others' following; 0 takes free ones.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// What each source speaks, host by host, and again from the beginning: jetstream, jetstream2, firehose.
    #[arg(long, value_delimiter = ',', default_value = "jetstream,firehose")]
    dialects: Vec<String>,
    /// What goes wrong: none; some (everything that loses nothing); or a list of duplicate, again, swap, close, reset,
    /// silence, stall, slow, garbage, unavailable, incomplete, crash.
    #[arg(long, value_delimiter = ',', default_value = "none")]
    faults: Vec<String>,
    /// Each of the listed faults strikes once in so many events; with `some`, one of them all does.
    #[arg(long, default_value_t = 2_000)]
    one_in: u64,
    /// Events that a host keeps; without it, all.
    #[arg(long)]
    window: Option<usize>,
    /// Sign each commit and send the blocks that verify it. Costly: for small worlds.
    #[arg(long)]
    signed: bool,
    /// Everything comes from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Arguments {
    fn plan(&self) -> anyhow::Result<Plan> {
        let mut plan = Plan::none();
        for name in &self.faults {
            let faults = match name.as_str() {
                "none" => Vec::new(),
                "some" => Plan::some(self.one_in).faults,
                name => {
                    let one_in = |fault| (When::OneIn(self.one_in), fault);
                    named(name)?.into_iter().map(one_in).collect()
                }
            };
            plan.faults.extend(faults);
        }
        Ok(plan)
    }

    fn options(&self) -> anyhow::Result<Options> {
        let plan = self.plan()?;
        let mix = match (self.only_likes, self.unrest) {
            (true, _) => Mix::LIKES,
            (_, true) => Mix::UNREST,
            _ => Mix::LIFE,
        };
        let step_us_max = 20_000;
        // The past ends now.
        let length_us = i64::try_from(self.history + self.tracks)? * step_us_max / 2;
        let shape = Shape {
            seed: self.seed,
            actors: self.actors,
            tracks: self.tracks,
            events: self.history,
            mix,
            signed: self.signed,
            start_us: now_us() - length_us,
            step_us_max,
        };
        let host = |number: usize| {
            let habits = Habits { window: self.window, ..Habits::untidy(number) };
            let port = if self.port == 0 { 0 } else { self.port + u16::try_from(number).unwrap_or_default() };
            HostOptions { habits, plan: plan.clone(), port, ..HostOptions::default() }
        };
        Ok(Options { shape, hosts: (0..self.hosts).map(host).collect(), web: 0, rate: self.rate })
    }
}

/// The faults that a name of the command line stands for.
fn named(name: &str) -> anyhow::Result<Vec<Fault>> {
    Ok(match name {
        "duplicate" => vec![Fault::Duplicate],
        "again" => vec![Fault::Again(500)],
        "swap" => vec![Fault::Swap],
        "close" => [1000, 1001, 1006, 1007, 1008, 1009, 1011, 1013].map(Fault::Close).into(),
        "reset" => vec![Fault::Reset],
        "silence" => vec![Fault::Silence],
        "stall" => vec![Fault::Stall(2_000)],
        "slow" => vec![Fault::TooSlow],
        "garbage" => Garbage::ALL.map(Fault::Garbage).into(),
        "unavailable" => vec![Fault::Answer { status: 503, retry_after: Some("1".to_owned()) }],
        "incomplete" => vec![Fault::Incomplete { collections: Vec::new(), events: 5_000 }],
        "crash" => vec![Fault::Crash(100)],
        other => anyhow::bail!("`{other}` is no fault: see --help"),
    })
}

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    anyhow::ensure!(arguments.actors > 0 && arguments.tracks > 0 && arguments.hosts > 0, "a world is not empty");
    let options = arguments.options()?;
    let sim = Sim::start(options).await?;
    let mut sources = Vec::new();
    for (host, dialect) in (0..sim.host_count()).zip(arguments.dialects.iter().cycle()) {
        anyhow::ensure!(
            ["jetstream", "jetstream2", "firehose"].contains(&dialect.as_str()),
            "`{dialect}` is no dialect"
        );
        sources.push(format!("{dialect}+ws://{}", sim.address(host)));
    }
    println!(
        "{} actors, {} tracks, {} events so far, {} a second from now on; what has gone wrong: {}/_sim/fired",
        arguments.actors,
        arguments.tracks,
        arguments.history,
        arguments.rate,
        sim.url(0)
    );
    // Commits without a signature would all fail verification.
    let verify = if arguments.signed { "on" } else { "off" };
    // All that it would else ask of the real network.
    println!(
        "PLYR_SOURCES={} PLYR_PLC_URL={} PLYR_RELAY_URL={} PLYR_VERIFY={verify} PLYR_ALLOW_PRIVATE_HOSTS=true \
        PLYR_DATA_DIR=./data-sim \\\n    cargo run --release -- serve",
        sources.join(","),
        sim.url(0),
        sim.url(0)
    );
    let mut ticks = tokio::time::interval(Duration::from_mins(1));
    ticks.reset();
    loop {
        tokio::select! {
            stopped = tokio::signal::ctrl_c() => {
                stopped?;
                return Ok(());
            }
            _ = ticks.tick() => {
                let events = sim.state().world.events().len();
                println!("{events} events; went wrong: {:?}", sim.fired());
            }
        }
    }
}
