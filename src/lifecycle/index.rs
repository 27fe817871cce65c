use super::{Deps, HostSettings, Verify, leader::WhileLeader, stages::Stage};
use crate::{
    crawl::{self, Context, accounts, bluesky_profiles, identity, resync},
    ingest::{self, VerifyCommits},
};

/// Starts the half that writes: the pump, and beside it, on connections of their own and only while this process holds the
/// lease, all that is read from hosts.
pub(super) fn spawn(stage: &Stage, deps: &Deps, mut options: ingest::Options, hosts: &HostSettings) {
    let Deps { pool, crawl } = deps;
    options.verify = match hosts.verify {
        Verify::Off => VerifyCommits::Off,
        Verify::On => VerifyCommits::Background(crawl.identities.clone()),
        Verify::Reject => VerifyCommits::BeforeApply(crawl.identities.clone()),
    };
    let leader = WhileLeader::new(stage, options.leading.subscribe());
    leader.spawn("looking identities up", crawl, |crawl, cancel| identity::run(crawl.identities, cancel));
    leader.spawn("checking accounts", crawl, |crawl, cancel| accounts::run(crawl, crawl::Until::Cancelled, cancel));
    if hosts.read_repos {
        spawn_reading(&leader, crawl, &options, hosts);
    }
    let (pool, clock) = (pool.clone(), crawl.clock.clone());
    stage.spawn("indexing", |cancel| async move { Ok(ingest::run(pool, options, clock, cancel).await?) });
}

/// All that reads repos and profiles.
fn spawn_reading(leader: &WhileLeader<'_>, crawl: &Context, options: &ingest::Options, hosts: &HostSettings) {
    let relay = hosts.relay(&crawl.identities.client(), &options.collections);
    let discover_every = hosts.discover_every();
    let enrolling = (crawl.clone(), relay.clone());
    leader.spawn("enrolling repos", &enrolling, move |(crawl, relay), cancel| {
        resync::enroll(crawl, relay, discover_every, cancel)
    });
    leader.spawn("closing gaps", &(crawl.clone(), relay), |(crawl, relay), cancel| {
        resync::close_gaps(crawl, relay, cancel)
    });
    leader.spawn("reading profiles", crawl, |crawl, cancel| {
        bluesky_profiles::run(crawl, bluesky_profiles::Options::default(), cancel)
    });
    let reading = (crawl.clone(), hosts.resync_options(options.collections.clone()));
    leader.spawn("reading repos", &reading, |(crawl, options), cancel| resync::run(crawl, options, |_| {}, cancel));
}
