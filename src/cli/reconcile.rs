use std::process::ExitCode;

use super::{Settings, reading};
use crate::{
    atproto::Did,
    clock::Clock,
    crawl::resync::{self, Drift, load_ours, plan, read_listed},
    identity::Identity,
    lifecycle::{self, Database},
    model::ResyncCause,
    pds::Server,
    store::repos,
};

/// What to compare.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The repo of this DID, and not all that are known; may be given several times
    #[arg(long = "did", value_name = "DID")]
    dids: Vec<Did>,

    /// Print what differs, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Compares repos with the index and mends the index, or only says what differs.
pub(super) async fn run(options: Options, settings: Settings) -> anyhow::Result<ExitCode> {
    let collections = settings.index.namespace.clone();
    lifecycle::with_database(&settings.database, async |database| {
        lifecycle::migrate(&database.pool).await?;
        let clock = Clock::system();
        let identities = settings.hosts.identities(database.pool.clone(), clock.clone())?;
        let with = settings.hosts.resync_options(identities, collections);
        if options.dry_run {
            return show(database, &with, &options.dids).await;
        }
        let dids: Vec<&str> = options.dids.iter().map(Did::as_str).collect();
        let now = clock.now().utc();
        let mut connection = database.pool.acquire().await?;
        if dids.is_empty() {
            repos::ask_all(&mut connection, ResyncCause::Asked, now).await?;
        } else {
            repos::ask(&mut connection, &dids, ResyncCause::Asked, (now, now)).await?;
        }
        drop(connection);
        reading::read_due(database, with).await
    })
    .await
}

/// Prints each path that differs, repo by repo. The exit code is 0 when none does, 3 when some do or a repo could not be read.
async fn show(database: &Database, with: &resync::Options, dids: &[Did]) -> anyhow::Result<ExitCode> {
    let all;
    let dids = if dids.is_empty() {
        let mut connection = database.pool.acquire().await?;
        all = repos::list_dids(&mut connection).await?;
        &all
    } else {
        dids
    };
    let (mut same, mut differing, mut unread) = (0, 0, 0);
    for did in dids {
        match differences(database, with, did).await {
            Ok(found) if found.is_empty() => same += 1,
            Ok(found) => {
                differing += 1;
                for (path, drift) in found {
                    super::print(&format!("{:9} at://{did}/{path}\n", drift.as_str()));
                }
            }
            Err(error) => {
                unread += 1;
                super::print(&format!("{did}: not compared: {error:#}\n"));
            }
        }
    }
    super::print(&format!("repos: same={same} differing={differing} unread={unread}; nothing was changed\n"));
    Ok(if differing + unread == 0 { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

async fn differences(database: &Database, with: &resync::Options, did: &Did) -> anyhow::Result<Vec<(String, Drift)>> {
    let ours = {
        let mut connection = database.pool.acquire().await?;
        load_ours(&mut connection, &with.collections, did).await?
    };
    let Identity { pds: Some(url), .. } = with.identities.find(did).await? else {
        anyhow::bail!("the DID document names no PDS")
    };
    let server = Server::of_stranger(with.client.clone(), url);
    let theirs = read_listed(&server, &with.collections, (did, &ours)).await?;
    let repair = plan(&with.collections, did, &theirs, &ours);
    let name = |(collection, rkey)| format!("{}/{rkey}", with.collections.nsid(collection));
    Ok(repair.paths.into_iter().map(|(path, drift)| (name(path), drift)).collect())
}
