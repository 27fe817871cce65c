use std::process::ExitCode;

use super::{Settings, output::print, resync::resync_due};
use crate::{
    atproto::Did,
    clock::Clock,
    crawl::{
        Context,
        resync::{self, Both, Drift, Progress, RepoSource, load_ours, plan, read_listed},
    },
    identity::Identity,
    lifecycle,
    model::{Collections, ResyncCause},
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
        let context = Context { pool: database.pool.clone(), identities, clock: clock.clone() };
        let resync = settings.hosts.resync_options(collections);
        if options.dry_run {
            return show(&context, &resync, &options.dids).await;
        }
        let dids: Vec<&str> = options.dids.iter().map(Did::as_str).collect();
        let now = clock.now().utc();
        let mut connection = database.pool.acquire().await?;
        if dids.is_empty() {
            repos::enqueue_all(&mut connection, ResyncCause::Asked, now).await?;
        } else {
            repos::enqueue(&mut connection, &dids, ResyncCause::Asked, now).await?;
        }
        drop(connection);
        resync_due(database, context, resync).await
    })
    .await
}

/// Prints each path that differs, repo by repo. The exit code is 0 when none does, 3 when some do or a repo could not be read.
async fn show(context: &Context, resync: &resync::Options, dids: &[Did]) -> anyhow::Result<ExitCode> {
    let all;
    let dids = if dids.is_empty() {
        let mut connection = context.pool.acquire().await?;
        all = repos::list_dids(&mut connection).await?;
        &all
    } else {
        dids
    };
    let (mut same, mut differing, mut unread) = (0, 0, 0);
    for did in dids {
        match differences(context, &resync.collections, did).await {
            Ok(found) if found.is_empty() => same += 1,
            Ok(found) => {
                differing += 1;
                for (path, drift) in found {
                    print(&format!("{:9} at://{did}/{path}\n", drift.as_str()));
                }
            }
            Err(error) => {
                unread += 1;
                print(&format!("{did}: not compared: {error:#}\n"));
            }
        }
    }
    print(&format!("repos: same={same} differing={differing} unread={unread}; nothing was changed\n"));
    Ok(if differing + unread == 0 { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

async fn differences(context: &Context, collections: &Collections, did: &Did) -> anyhow::Result<Vec<(String, Drift)>> {
    let ours = {
        let mut connection = context.pool.acquire().await?;
        load_ours(&mut connection, collections, did).await?
    };
    let Identity { pds: Some(url), .. } = context.identities.find(did).await? else {
        anyhow::bail!("the DID document names no PDS")
    };
    let server = Server::untrusted(context.identities.client(), url);
    let mut progress = Progress::begin(server.client().memory(), 0);
    let theirs = read_listed(RepoSource { server: &server, collections, did }, &ours, &mut progress).await?;
    let repair = plan(collections, did, Both { theirs: &theirs, ours: &ours, earlier: &ours });
    let name = |(collection, rkey)| format!("{}/{rkey}", collections.nsid(collection));
    Ok(repair.paths.into_iter().map(|(path, drift)| (name(path), drift)).collect())
}
