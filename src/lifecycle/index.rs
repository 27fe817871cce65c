use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{HostSettings, Verify, stages::Stage};
use crate::{
    clock::Clock,
    crawl::{
        accounts, bluesky_profiles, identity,
        resync::{self, Until},
    },
    ingest::{self, VerifyCommits},
};

/// Starts the half that writes: the pump, and beside it, on connections of their own and only while this process holds the
/// lease, those who look people up and who read repos.
pub(super) fn spawn(
    stage: &Stage,
    (pool, repo_pool): (PgPool, PgPool),
    (mut options, hosts): (ingest::Options, &HostSettings),
    clock: &Clock,
) -> anyhow::Result<()> {
    let identities = hosts.identities(repo_pool.clone(), clock.clone())?;
    options.verify = match hosts.verify {
        Verify::Off => VerifyCommits::Off,
        Verify::On => VerifyCommits::Background(identities.clone()),
        Verify::Reject => VerifyCommits::BeforeApply(identities.clone()),
    };
    let collections = options.collections.clone();
    let working = options.leading.clone();
    let while_working = |cancel| Shift { working: working.subscribe(), cancel };

    let known = identities.clone();
    stage.spawn("looking people up", |cancel| {
        while_working(cancel).run(move |cancel| {
            let identities = known.clone();
            async move {
                identity::run(identities, cancel).await;
                Ok(())
            }
        })
    });
    let (pool_of_accounts, known, clock_of_accounts) = (repo_pool.clone(), identities.clone(), clock.clone());
    stage.spawn("asking about accounts", |cancel| {
        while_working(cancel).run(move |cancel| {
            let with = (pool_of_accounts.clone(), known.clone(), clock_of_accounts.clone());
            async move {
                accounts::run(with.0, with.1, with.2, cancel).await;
                Ok(())
            }
        })
    });
    if hosts.read_repos {
        let relay = hosts.relay(&identities.client());
        let with = (collections.clone(), clock.clone());
        let (pool, asked, discover_every) = (repo_pool.clone(), relay.clone(), hosts.discover_every());
        stage.spawn("enrolling repos", |cancel| {
            while_working(cancel).run(move |cancel| {
                let enroll = resync::enroll(pool.clone(), (asked.clone(), discover_every), with.clone(), cancel);
                async move {
                    enroll.await;
                    Ok(())
                }
            })
        });
        let (pool, with) = (repo_pool.clone(), (collections.clone(), clock.clone()));
        stage.spawn("closing gaps", |cancel| {
            while_working(cancel).run(move |cancel| {
                let mend = resync::mend_gaps(pool.clone(), relay.clone(), with.clone(), cancel);
                async move {
                    mend.await;
                    Ok(())
                }
            })
        });
        let (pool, with) = (repo_pool.clone(), (bluesky_profiles::Options::new(identities.clone()), clock.clone()));
        stage.spawn("reading profiles", |cancel| {
            while_working(cancel).run(move |cancel| {
                let reading = bluesky_profiles::run(pool.clone(), with.0.clone(), with.1.clone(), cancel);
                async move {
                    reading.await;
                    Ok(())
                }
            })
        });
        let (options, clock) = (hosts.resync_options(identities, collections), clock.clone());
        stage.spawn("reading repos", |cancel| {
            while_working(cancel).run(move |cancel| {
                let with = (clock.clone(), Until::Told);
                let reading = resync::run(repo_pool.clone(), options.clone(), with, |_| {}, cancel);
                async move { Ok(reading.await.map(drop)?) }
            })
        });
    }
    let clock = clock.clone();
    stage.spawn("indexing", |cancel| async move { Ok(ingest::run(pool, options, clock, cancel).await?) });
    Ok(())
}

/// The time in which this process is the one that works.
struct Shift {
    working: watch::Receiver<bool>,
    cancel: CancellationToken,
}

impl Shift {
    /// Runs a task whenever this process works, until cancelled. One that fails fails the whole.
    async fn run<F>(mut self, task: impl Fn(CancellationToken) -> F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        loop {
            let begun = self.working.wait_for(|working| *working);
            let Some(Ok(_)) = self.cancel.run_until_cancelled(begun).await else { return Ok(()) };
            let stop = self.cancel.child_token();
            let mut running = std::pin::pin!(task(stop.clone()));
            let over = tokio::select! {
                outcome = &mut running => Some(outcome),
                _ = self.working.wait_for(|working| !*working) => None,
            };
            stop.cancel();
            match over {
                Some(outcome) => outcome?,
                None => running.await?,
            }
            if self.cancel.is_cancelled() {
                return Ok(());
            }
        }
    }
}
