use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use quick_cache::sync::Cache;
use reqwest::Url;
use tokio::time::{Instant, timeout};

use super::Names;

/// What hosts have in common that are easily made many: the names below one registrable domain cost nothing, and neither do those that lead
/// to one address. By these, an owner of many hosts has the limits of one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// The registrable domain: the last label before a public suffix, and that.
    Domain(Box<str>),
    /// The least of the host's addresses; of an IPv6 address the 48 bits that one owner has.
    Address(IpAddr),
}

/// The groups of a host.
pub type Groups = Arc<[Group]>;

/// Hosts whose groups are remembered, and for how long.
const HOSTS_MAX: usize = 4096;
const REMEMBERED_FOR: Duration = Duration::from_mins(5);
/// A name that is not looked up within this time counts as one without an address.
const LOOKUP_MAX: Duration = Duration::from_secs(5);

/// Finds the groups of hosts.
pub(super) struct Grouping {
    names: Names,
    remembered: Cache<Box<str>, Remembered>,
}

#[derive(Clone)]
struct Remembered {
    groups: Groups,
    until: Instant,
}

impl Grouping {
    pub(super) fn new(names: Names) -> Self {
        Self { names, remembered: Cache::new(HOSTS_MAX) }
    }

    /// The groups of the host in a URL; of one that was asked for lately without a look-up.
    pub(super) async fn find(&self, url: &Url) -> Groups {
        let host = url.host_str().unwrap_or_default().trim_end_matches('.');
        if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse() {
            return [Group::Address(network(address))].into();
        }
        if let Some(Remembered { groups, until }) = self.remembered.get(host)
            && Instant::now() < until
        {
            return groups;
        }
        let domain = Group::Domain(psl::domain_str(host).unwrap_or(host).into());
        let addresses = timeout(LOOKUP_MAX, self.names.find_addresses(host)).await;
        let least = addresses.ok().and_then(Result::ok).and_then(|addresses| addresses.into_iter().min());
        let groups: Groups = [domain].into_iter().chain(least.map(network).map(Group::Address)).collect();
        let until = Instant::now() + REMEMBERED_FOR;
        self.remembered.insert(host.into(), Remembered { groups: groups.clone(), until });
        groups
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 80 << 80).into(),
    }
}
