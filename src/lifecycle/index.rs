use super::{HostSettings, Verify, deps::Deps, leader::WhileLeader, stages::Stage};
use crate::{
    crawl::{self, Context, accounts, bluesky_profiles, identity, resync},
    ingest::{self, VerifyCommits},
    maintenance,
    store::Leader,
};

/// What the half that writes does.
#[derive(Debug)]
pub struct IndexPlan {
    /// What to follow.
    pub ingest: ingest::Options,
    /// How the index is maintained.
    pub maintenance: maintenance::Options,
}

/// Starts the half that writes: the pump, and beside it, on connections of their own and only while this process holds the
/// lease, all that is read from hosts.
pub(super) fn spawn(stage: &Stage, deps: &Deps, plan: IndexPlan, hosts: &HostSettings) {
    let IndexPlan { ingest: mut options, maintenance } = plan;
    let Deps { pool, crawl } = deps;
    options.verify = match hosts.verify {
        Verify::Off => VerifyCommits::Off,
        Verify::On => VerifyCommits::Background(crawl.identities.clone()),
        Verify::Reject => VerifyCommits::BeforeApply(crawl.identities.clone()),
    };
    let leader = WhileLeader::new(stage, options.leading.subscribe());
    leader.spawn("looking identities up", crawl, |crawl, term| identity::run(crawl.identities, term.cancel));
    leader.spawn("checking accounts", crawl, |crawl, term| accounts::run(crawl, crawl::Until::Cancelled, term.cancel));
    let maintaining = (pool.clone(), crawl.clock.clone(), maintenance);
    leader.spawn("maintaining the index", &maintaining, |(pool, clock, options), term| {
        maintenance::run(Leader { pool, token: term.token, clock }, options, term.cancel)
    });
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
    leader.spawn("enrolling repos", &enrolling, move |(crawl, relay), term| {
        resync::enroll(crawl, relay, discover_every, term.cancel)
    });
    leader.spawn("closing gaps", &(crawl.clone(), relay), |(crawl, relay), term| {
        resync::close_gaps(crawl, relay, term.cancel)
    });
    leader.spawn("reading profiles", crawl, |crawl, term| {
        bluesky_profiles::run(crawl, bluesky_profiles::Options::default(), term.cancel)
    });
    let reading = (crawl.clone(), hosts.resync_options(options.collections.clone()));
    leader.spawn("reading repos", &reading, |(crawl, options), term| resync::run(crawl, options, |_| {}, term.cancel));
}
