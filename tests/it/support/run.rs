//! The pump and the program, run on what a test gives them.

use std::{
    io::Write as _,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use plyr_likes::{
    clock::Clock,
    ingest::{self, failover::Patience},
    maintenance,
    model::Collections,
    source::{SourceSpec, Start, Tuning},
    store::{Leader, sources::lease::Token},
};
use sqlx::PgPool;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    dump,
    history::{History, START_US},
    model::{Model, Write, differences},
    program::child,
    wire,
};

/// How long something may take that takes a second on an idle machine.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// The pump over a fresh database, following one upstream.
pub struct Pump {
    cancel: CancellationToken,
    task: JoinHandle<Result<(), ingest::IngestError>>,
}

impl Pump {
    pub fn start(pool: &PgPool, source: &str) -> Self {
        Self::with(pool, Self::options(&[source]))
    }

    /// What follows these sources, quick to come back.
    pub fn options(sources: &[&str]) -> ingest::Options {
        ingest::Options {
            sources: sources.iter().map(|source| SourceSpec::parse(source).expect("a source")).collect(),
            standbys: Vec::new(),
            patience: Patience::default(),
            start: Start::Oldest,
            tuning: Tuning { backoff_min: Duration::from_millis(20), ..Tuning::default() },
            collections: Collections::of_namespace("fm.plyr").expect("a namespace"),
            leading: watch::Sender::default(),
            verify: ingest::VerifyCommits::Off,
        }
    }

    pub fn with(pool: &PgPool, options: ingest::Options) -> Self {
        let cancel = CancellationToken::new();
        tokio::spawn(maintain(pool.clone(), options.leading.subscribe(), cancel.clone()));
        let task = tokio::spawn(ingest::run(pool.clone(), options, Clock::system(), cancel.clone()));
        Self { cancel, task }
    }

    /// Tells it to stop, and waits until it has.
    pub async fn stop(self) {
        self.cancel.cancel();
        self.task.await.expect("the pump does not panic").expect("the pump ends well");
    }
}

/// What the program runs beside the pump while it leads.
async fn maintain(pool: PgPool, mut leading: watch::Receiver<Option<Token>>, cancel: CancellationToken) {
    let term = async { leading.wait_for(Option::is_some).await.ok().and_then(|token| *token) };
    if let Some(Some(token)) = cancel.run_until_cancelled(term).await {
        let leader = Leader { pool, token, clock: Clock::system() };
        maintenance::run(leader, maintenance::Options::default(), cancel).await.expect("it cannot fail");
    }
}

/// Waits until the index holds what the referee says.
pub async fn until_as(pool: &PgPool, model: &Model) -> Duration {
    let started = Instant::now();
    loop {
        let lines = differences(&model.state(), &dump::state(pool).await);
        if lines.is_empty() {
            return started.elapsed();
        }
        assert!(started.elapsed() < PATIENCE, "the index does not become as the referee says:\n{}", lines.join("\n"));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until a question to the database is answered with yes.
pub async fn until(pool: &PgPool, question: &'static str) {
    until_within(pool, question, PATIENCE).await;
}

/// Likewise, where that may take longer.
pub async fn until_within(pool: &PgPool, question: &'static str, patience: Duration) {
    let started = Instant::now();
    while !sqlx::query_scalar::<_, bool>(question).fetch_one(pool).await.expect("an answer") {
        assert!(started.elapsed() < patience, "in vain: {question}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Between the stamps of two lines.
const STEP_US: i64 = 1_000;

/// A log on disk, and what each of its lines means.
pub struct Log {
    pub file: tempfile::NamedTempFile,
    pub lines: Vec<String>,
    pub writes: Vec<Vec<Write>>,
}

impl Log {
    pub fn of(history: &History) -> Self {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        let (mut lines, mut writes) = (Vec::new(), Vec::new());
        let mut time_us = START_US;
        for commit in &history.commits {
            for at in 0..commit.operations.len() {
                time_us += STEP_US;
                lines.push(String::from_utf8(wire::v1_message(commit, at, time_us)).expect("JSON is UTF-8"));
                writes.push(commit.write(at).into_iter().collect());
            }
        }
        for line in &lines {
            writeln!(file, "{line}").expect("room on the disk");
        }
        Self { file, lines, writes }
    }

    /// What all of it comes to.
    pub fn model(&self) -> Model {
        self.model_after(self.lines.len())
    }

    /// What so many of its first lines come to.
    pub fn model_after(&self, lines: usize) -> Model {
        Model::of(self.writes[..lines].iter().flatten())
    }

    /// How many lines are stamped with this position or an earlier one.
    pub fn lines_until(&self, position: i64) -> usize {
        lines_before(self.lines.len(), position)
    }

    /// Starts the program on this log.
    pub fn replay(&self, database_url: &str) -> Child {
        command(database_url).arg("replay").arg(self.file.path()).spawn().expect("the program starts")
    }

    /// Runs the program on this log to its end, and gives its summary.
    pub fn replay_all(&self, database_url: &str) -> String {
        let output = self.replay(database_url).wait_with_output().expect("the program can be waited for");
        let summary = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "replay ended with {}: {summary}{complaint}", output.status);
        summary
    }
}

/// The program with a clean environment and this database.
pub fn command(database_url: &str) -> Command {
    let mut command = child::program();
    command.env("DATABASE_URL", database_url).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The number behind a word of the summary.
pub fn figure(summary: &str, word: &str) -> u64 {
    let found = summary.split_whitespace().find_map(|part| part.strip_prefix(word)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {word} in {summary:?}")).parse().expect("a number")
}

/// The lines of a log that a host sends when asked for this cursor.
pub fn lines_from(lines: &[String], cursor: Option<i64>) -> &[String] {
    &lines[lines_before(lines.len(), cursor.unwrap_or_default() - 1)..]
}

/// How many of so many lines are stamped with this position or an earlier one.
fn lines_before(lines: usize, position: i64) -> usize {
    usize::try_from((position - START_US).max(0) / STEP_US).expect("not negative").min(lines)
}
