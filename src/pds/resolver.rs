use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::{Names, address::may_connect};

/// Looks names up for a client, and lets through what it may connect to.
pub(super) struct GuardedResolver {
    pub(super) names: Names,
    pub(super) allow_private_hosts: bool,
}

/// No address of a name may be connected to.
#[derive(Debug, thiserror::Error)]
#[error("no public address")]
pub(super) struct Refused;

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (names, all) = (self.names.clone(), self.allow_private_hosts);
        Box::pin(async move {
            let mut addresses = names.find_addresses(name.as_str()).await?;
            addresses.retain(|address| all || may_connect(*address));
            if addresses.is_empty() {
                return Err(Refused.into());
            }
            let addresses: Addrs = Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}
