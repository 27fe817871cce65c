use sqlx::PgConnection;

use super::{
    Settings,
    output::print,
    table::{or_dash, render},
};
use crate::{
    atproto::Timestamp,
    clock::Clock,
    lifecycle,
    source::SourceSpec,
    store::{
        sources::positions::{self, NewPosition},
        views::operation::list_sources,
    },
};

/// Shows or sets.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Set where a source goes on at the next start. Stop the index first: while it follows the source, this is refused
    Set {
        /// The source, as in `PLYR_SOURCES`
        #[arg(value_parser = SourceSpec::parse)]
        source: SourceSpec,
        /// Microseconds since 1970 for a Jetstream v1, a sequence number for a Jetstream v2 or a firehose
        #[arg(value_parser = clap::value_parser!(i64).range(0..))]
        value: i64,
    },
}

/// Whether an indexer follows a source now; one that has crashed seems to for half a minute.
async fn is_followed(connection: &mut PgConnection, name: &str) -> sqlx::Result<bool> {
    let now = Clock::system().now();
    let sources = list_sources(connection).await?;
    let source = sources.iter().find(|source| source.source == name);
    Ok(source.and_then(|source| source.state_at(now)).is_some_and(|state| state != "silent"))
}

/// Prints the positions, after setting one if asked to.
pub(super) async fn run(options: Options, settings: Settings) -> anyhow::Result<()> {
    let stored = lifecycle::with_index(&settings.database, async |database| {
        let mut connection = database.pool.acquire().await?;
        if let Some(Action::Set { source, value }) = options.action {
            let (name, kind) = (source.to_string(), source.dialect.position_kind());
            // The owner of the private Postgres knows that no indexer runs, even after a crash.
            if !database.is_private() && is_followed(&mut connection, &name).await? {
                anyhow::bail!(
                    "{name} is being followed by an indexer, which stores positions of its own: stop it first"
                );
            }
            let position = NewPosition { source: &name, kind, value, event_at: None, ours_at: None, restarts: true };
            positions::write(&mut connection, position, Clock::system().now().utc()).await?;
        }
        Ok(positions::list(&mut connection).await?)
    })
    .await?;
    let shown = |moment| or_dash(Option::map(moment, Timestamp::from_utc));
    let rows: Vec<Vec<String>> = stored
        .into_iter()
        .map(|position| {
            vec![
                position.source,
                position.kind.as_str().to_owned(),
                position.value.to_string(),
                shown(position.event_at),
                shown(position.ours_at),
                shown(Some(position.updated_at)),
            ]
        })
        .collect();
    print(&render(&["SOURCE", "KIND", "POSITION", "EVENT AT", "OURS AT", "STORED AT"], &rows));
    Ok(())
}
