use std::process::ExitCode;

use super::{Settings, output::print, resync::resync_due};
use crate::{
    atproto::Did,
    clock::Clock,
    crawl::{Context, resync::discover},
    lifecycle,
    model::ResyncCause,
    store::repos,
};

/// Whose repos to read.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("whose").required(true).multiple(true))]
pub(super) struct Options {
    /// The repo of this DID; may be given several times
    #[arg(long = "did", value_name = "DID", group = "whose")]
    dids: Vec<Did>,

    /// The repos of all whom the relay knows to have records of ours
    #[arg(long, group = "whose")]
    discover: bool,
}

/// Reads repos until none is left that is due, and says what came of it.
pub(super) async fn run(options: Options, settings: Settings) -> anyhow::Result<ExitCode> {
    let collections = settings.index.namespace.clone();
    lifecycle::with_database(&settings.database, async |database| {
        lifecycle::migrate(&database.pool).await?;
        let clock = Clock::system();
        let identities = settings.hosts.identities(database.pool.clone(), clock.clone())?;
        let context = Context { pool: database.pool.clone(), identities: identities.clone(), clock: clock.clone() };
        if options.discover {
            let relay = settings.hosts.relay(&identities.client(), &collections);
            let relay = relay.ok_or_else(|| anyhow::anyhow!("PLYR_RELAY_URL names no relay to ask"))?;
            let found = discover(&context, &relay).await?;
            print(&format!("the relay lists {} repos, of which {} are new\n", found.listed, found.new));
        }
        let dids: Vec<&str> = options.dids.iter().map(Did::as_str).collect();
        if !dids.is_empty() {
            let now = clock.now().utc();
            let mut connection = database.pool.acquire().await?;
            repos::enqueue(&mut connection, &dids, ResyncCause::Asked, now).await?;
        }
        resync_due(database, context, settings.hosts.resync_options(collections)).await
    })
    .await
}
