use std::time::Duration;

use sqlx::PgPool;

use crate::{
    clock::Clock,
    crawl::{
        Until,
        resync::{self, Relay},
    },
    identity::{Identities, IdentityOptions},
    model::Collections,
    pds::{Client, ClientError, ClientOptions, Directory, HostUrl, HostUrlError, Names, Server},
};

/// Repos that are read at the same time, and of those from one host.
const READERS_MAX: usize = 24;
const PER_HOST_MAX: usize = 4;
/// How long a repo is taken for: a process that dies has it read by another after this.
const REPO_LEASE: Duration = Duration::from_mins(2);
/// Where there is no audit, the relay is asked once a day still.
const DISCOVER_EVERY: Duration = Duration::from_hours(24);

/// Whether commits of the raw firehose are verified against the keys of their owners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Verify {
    /// They are applied as they come.
    Off,
    /// They are applied as they come; a repo with one that is not proven is marked to be read again.
    On,
    /// Those that are proven are applied; all others are rejects, and their repos are marked to be read.
    Reject,
}

/// Which hosts are asked about accounts and their repos.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Hosts")]
pub struct HostSettings {
    /// Directory of `did:plc` (`PLYR_PLC_URL`, default <https://plc.directory>)
    #[arg(
        long,
        env = "PLYR_PLC_URL",
        value_name = "URL",
        default_value = "https://plc.directory",
        global = true,
        hide_env = true,
        hide_default_value = true
    )]
    pub plc_url: HostUrl,

    /// Relay that is asked whose repos have records of ours; empty for none (`PLYR_RELAY_URL`, default
    /// <https://relay1.us-east.bsky.network>)
    #[arg(long, env = "PLYR_RELAY_URL", value_name = "URL", default_value = "https://relay1.us-east.bsky.network",
        value_parser = parse_relay, global = true, hide_env = true, hide_default_value = true)]
    relay_url: RelayUrl,

    /// Reads repos from their PDSes, each once, and again and again to compare, and the profiles of artists and likers; `false`
    /// leaves repos to the commands `backfill` and `reconcile`, and profiles unread (`PLYR_READ_REPOS`, default true)
    #[arg(long, env = "PLYR_READ_REPOS", value_name = "BOOL", default_value = "true", action = clap::ArgAction::Set,
        value_parser = clap::builder::BoolishValueParser::new(), global = true, hide_env = true, hide_default_value = true,
        hide_possible_values = true)]
    pub read_repos: bool,

    /// Hours in which the standing audit walks all repos once; 0 for no audit (`PLYR_AUDIT_HOURS`, default 24)
    #[arg(
        long,
        env = "PLYR_AUDIT_HOURS",
        value_name = "HOURS",
        default_value_t = 24,
        global = true,
        hide_env = true,
        hide_default_value = true
    )]
    audit_hours: u32,

    /// Lets accounts name hosts of this machine and its network, over plain HTTP too: for development alone
    /// (`PLYR_ALLOW_PRIVATE_HOSTS`, default false)
    #[arg(long, env = "PLYR_ALLOW_PRIVATE_HOSTS", value_name = "BOOL", default_value = "false", num_args = 0..=1,
        require_equals = true, default_missing_value = "true", value_parser = clap::builder::BoolishValueParser::new(),
        global = true, hide_env = true, hide_default_value = true, hide_possible_values = true)]
    pub allow_private_hosts: bool,

    /// Whether commits of the raw firehose are verified against the keys of their owners: those that are not proven are applied all
    /// the same (on), or refused (reject); their repos are read again (`PLYR_VERIFY`, default on)
    #[arg(
        long,
        env = "PLYR_VERIFY",
        value_enum,
        value_name = "off|on|reject",
        default_value = "on",
        global = true,
        hide_env = true,
        hide_default_value = true
    )]
    pub verify: Verify,
}

/// A relay, or none.
#[derive(Debug, Clone)]
struct RelayUrl(Option<HostUrl>);

fn parse_relay(text: &str) -> Result<RelayUrl, HostUrlError> {
    if text.is_empty() { Ok(RelayUrl(None)) } else { HostUrl::parse(text).map(|url| RelayUrl(Some(url))) }
}

impl HostSettings {
    /// The relay, if there is one.
    pub fn relay(&self, client: &Client, collections: &Collections) -> Option<Relay> {
        let url = self.relay_url.0.clone()?;
        Some(Relay { server: Server::of_operator(client.clone(), url), collections: collections.clone() })
    }

    /// Which repos are read.
    pub fn resync_options(&self, collections: Collections) -> resync::Options {
        let audit_every = Some(Duration::from_hours(self.audit_hours.into())).filter(|every| !every.is_zero());
        let (in_all, per_host, until) = (READERS_MAX, PER_HOST_MAX, Until::Cancelled);
        resync::Options { collections, audit_every, in_all, per_host, lease: REPO_LEASE, until }
    }

    /// Looks DIDs and handles up, over the one client of this process.
    pub fn directory(&self, clock: Clock) -> Result<Directory, ClientError> {
        let names = Names::system();
        let options = ClientOptions { allow_private_hosts: self.allow_private_hosts, ..ClientOptions::default() };
        let client = Client::new(options, &names, clock, rand::random::<f64>)?;
        Ok(Directory::new(client, names, self.plc_url.clone()))
    }

    /// Likewise, kept in a database.
    pub fn identities(&self, pool: PgPool, clock: Clock) -> Result<Identities, ClientError> {
        let directory = self.directory(clock.clone())?;
        Ok(Identities::new(pool, directory, clock, IdentityOptions::default()))
    }

    /// Between two times that the relay is asked for all repos.
    pub(super) fn discover_every(&self) -> Duration {
        match self.audit_hours {
            0 => DISCOVER_EVERY,
            hours => Duration::from_hours(hours.into()),
        }
    }
}
