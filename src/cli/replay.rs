use std::{io::IsTerminal as _, path::PathBuf, sync::Arc, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Settings, output::print};
use crate::{clock::Clock, ingest, lifecycle, source};

/// What to replay.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// A recorded Jetstream v1 log, one JSON object in each line, plain or zstd; `-` for stdin
    file: PathBuf,
}

/// Applies the log and prints what it did in one line.
#[expect(clippy::cast_precision_loss, reason = "a rate is rounded anyway")]
pub(super) async fn run(options: Options, settings: Settings) -> anyhow::Result<()> {
    let path = (options.file.as_os_str() != "-").then_some(options.file);
    let log = source::open_log(path.as_deref())?;
    let bar = Arc::new(progress_bar(log.size));
    let collections = settings.index.namespace.clone();
    let summary = lifecycle::with_database(&settings.database, async |database| {
        lifecycle::migrate(&database.pool).await?;
        let shown = Arc::clone(&bar);
        let progress = move |bytes| shown.set_position(bytes);
        Ok(ingest::replay(database.pool.clone(), collections, Clock::system(), log.reader, progress).await?)
    })
    .await?;
    bar.finish_and_clear();
    let ingest::Summary { applied, ignored, rejected, seconds } = summary;
    let events = applied + ignored + rejected;
    let rate = if seconds > 0.0 { events as f64 / seconds } else { 0.0 };
    print(&format!(
        "applied={applied} ignored={ignored} rejected={rejected} seconds={seconds:.3} events_per_s={rate:.0}\n"
    ));
    Ok(())
}

/// Bytes of the input that were read, drawn on stderr where that is a terminal.
fn progress_bar(size: Option<u64>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = match size {
        Some(_) => "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        None => "{spinner} {bytes} {bytes_per_sec}",
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::with_draw_target(size, ProgressDrawTarget::stderr()).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
