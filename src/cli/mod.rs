//! The command line: a file per command; `--help` is the manual.
//!
//! Every setting is a flag and a variable. A setting that is malformed, or a `PLYR_` variable that is unknown, stops the
//! start with one sentence that names it, and exit code 2.

mod api;
mod backfill;
mod doctor;
mod gaps;
mod index;
mod migrate;
mod openapi;
mod output;
mod positions;
mod reconcile;
mod rejects;
mod replay;
mod resync;
mod secret_key;
mod serve;
mod settings;
mod status;
mod table;
mod tokens;

use std::{process::ExitCode, time::Duration};

use clap::{CommandFactory as _, Parser as _};

use crate::telemetry::{self, Telemetry};
use output::print;
use settings::Settings;

/// How long threads that read a file or resolve a name may hold up the end.
const THREADS_MAX: Duration = Duration::from_millis(200);

/// The index of likes on atproto behind plyr.fm
///
/// Without a command it migrates, indexes and serves, in one process.
#[derive(Debug, clap::Parser)]
#[command(name = "plyr-likes", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Migrate, index and serve: everything in one process (the default)
    Serve,
    /// Only follow the sources and write the index
    Index,
    /// Only answer: as many as you like beside one `index`
    Api,
    /// Apply a recorded Jetstream log and end
    Replay(replay::Options),
    /// Read repos from their PDSes into the index
    Backfill(backfill::Options),
    /// Compare repos with the index, and mend the index
    Reconcile(reconcile::Options),
    /// Show sources, gaps, rejects and counts
    Status,
    /// Show where each source is, or set it
    Positions(positions::Options),
    /// Show what was refused, or try it again
    Rejects(rejects::Options),
    /// Show what may have been missed, or say that nothing is missing any more
    Gaps(gaps::Options),
    /// Make, list and revoke read-only tokens for programs
    Tokens(tokens::Options),
    /// Bring the schema up to date
    Migrate,
    /// Check settings, database, upstreams and clock
    Doctor,
    /// Print the OpenAPI document
    Openapi,
}

impl Command {
    /// The long-running ones say what they do; the others only what is wrong.
    fn default_filter(&self) -> &'static str {
        match self {
            Self::Serve | Self::Index | Self::Api | Self::Replay(_) => "info,sqlx=warn",
            _ => "warn",
        }
    }
}

/// Reads the command line and the environment, and does what they say.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => {
            print(&error.render().to_string());
            return ExitCode::SUCCESS;
        }
        Err(error) => return refuse(&settings::sentence_of(&error, &Cli::command())),
    };
    if let Err(sentence) = settings::check_variables(&Cli::command(), std::env::vars_os()) {
        return refuse(&sentence);
    }
    if let (None | Some(Command::Serve | Command::Index), Err(sentence)) = (&cli.command, cli.settings.check()) {
        return refuse(&sentence);
    }
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("plyr-likes: {}", telemetry::sentence(&error));
            ExitCode::FAILURE
        }
    }
}

fn refuse(sentence: &str) -> ExitCode {
    eprintln!("plyr-likes: {sentence}");
    ExitCode::from(2)
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let command = cli.command.unwrap_or(Command::Serve);
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        anyhow::bail!("the cryptography of TLS was chosen twice");
    }
    let telemetry = telemetry::start(&cli.settings.telemetry, command.default_filter())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(perform(command, cli.settings, &telemetry));
    runtime.shutdown_timeout(THREADS_MAX);
    telemetry.stop();
    outcome
}

async fn perform(command: Command, settings: Settings, telemetry: &Telemetry) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve => serve::run(settings, telemetry).await?,
        Command::Index => index::run(settings, telemetry).await?,
        Command::Api => api::run(settings, telemetry).await?,
        Command::Replay(options) => replay::run(options, settings).await?,
        Command::Backfill(options) => return backfill::run(options, settings).await,
        Command::Reconcile(options) => return reconcile::run(options, settings).await,
        Command::Status => status::run(settings).await?,
        Command::Positions(options) => positions::run(options, settings).await?,
        Command::Rejects(options) => rejects::run(options, settings).await?,
        Command::Gaps(options) => gaps::run(options, settings).await?,
        Command::Tokens(options) => tokens::run(options, settings).await?,
        Command::Migrate => migrate::run(settings).await?,
        Command::Doctor => return doctor::run(settings).await,
        Command::Openapi => openapi::run(&settings.index.namespace)?,
    }
    Ok(ExitCode::SUCCESS)
}
