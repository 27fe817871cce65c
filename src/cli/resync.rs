//! Reading what is due, with a progress bar, a summary and an exit code: for `backfill` and `reconcile`.

use super::output::print;
use std::{io::IsTerminal as _, process::ExitCode, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    crawl::{
        Context, Until,
        resync::{self, Done, Drift, Options},
    },
    lifecycle::Database,
    store::repos::{self, RepoCounts},
};

/// Failures that the summary names.
const FAILURES_SHOWN: i64 = 5;

/// Reads all repos that are due. The exit code is 0 when none is left to be read, 3 when some failed or wait.
pub(super) async fn resync_due(database: &Database, context: Context, options: Options) -> anyhow::Result<ExitCode> {
    let before = count(database).await?;
    let bar = progress_bar(u64::try_from(before.pending + before.failed).unwrap_or_default());
    let shown = bar.clone();
    let began = Instant::now();
    // No audit: the command ends when what was asked for is done.
    let options = Options { audit_every: None, until: Until::NothingIsDue, ..options };
    let progress = move |done: &Done| shown.set_position(done.repos);
    let done = resync::run(context, options, progress, CancellationToken::new()).await?;
    bar.finish_and_clear();
    let after = count(database).await?;
    print(&summary(&done, after, began.elapsed()));
    if after.pending + after.failed == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let mut connection = database.pool.acquire().await?;
    for (did, error, due_at) in repos::list_failed(&mut connection, FAILURES_SHOWN).await? {
        print(&format!("{did}: {error}; tried again from {}\n", due_at.to_rfc3339()));
    }
    Ok(ExitCode::from(3))
}

async fn count(database: &Database) -> anyhow::Result<RepoCounts> {
    let mut connection = database.pool.acquire().await?;
    Ok(repos::count(&mut connection).await?)
}

#[expect(clippy::cast_precision_loss, reason = "a rate is rounded anyway")]
fn summary(done: &Done, after: RepoCounts, took: Duration) -> String {
    let drift = |kind| done.drift.get(&kind).copied().unwrap_or_default();
    let seconds = took.as_secs_f64();
    format!(
        "read={} records={} missing={} extra={} differing={} rejected={} seconds={seconds:.3} records_per_s={:.0}\n\
         repos: done={} failed={} pending={}\n",
        done.repos,
        done.records,
        drift(Drift::Missing),
        drift(Drift::Extra),
        drift(Drift::Differing),
        done.rejected,
        done.records as f64 / seconds.max(0.001),
        after.done,
        after.failed,
        after.pending,
    )
}

/// Repos that were read, drawn on stderr where that is a terminal.
fn progress_bar(repos: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} repos {per_sec} {eta}");
    let bar = ProgressBar::with_draw_target(Some(repos), ProgressDrawTarget::stderr());
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
