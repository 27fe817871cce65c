//! The report for untrusted clients: without what is the operator's alone. Names of hosts, numbers of processes and errors in words would
//! say where the program runs and what it stands on.

use std::collections::BTreeMap;

use super::{repos::RepoDrift, status::Status};

/// The same report without names. A source is called by its dialect.
pub fn without_names(mut status: Status) -> Status {
    for source in &mut status.sources {
        source.source = source.source.split('+').next().unwrap_or_default().to_owned();
        source.reason = None;
    }
    for indexer in &mut status.indexers {
        (indexer.host, indexer.process) = (None, None);
    }
    status.repos.drift = of_all_hosts(std::mem::take(&mut status.repos.drift));
    status
}

/// Differences of one kind and cause as one, whatever host they were found on.
fn of_all_hosts(drift: Vec<RepoDrift>) -> Vec<RepoDrift> {
    let mut sums = BTreeMap::<(String, String), RepoDrift>::new();
    for found in drift {
        let key = (found.cause.clone(), found.kind.clone());
        match sums.get_mut(&key) {
            Some(sum) => {
                sum.count += found.count;
                sum.last_at = sum.last_at.max(found.last_at);
            }
            None => {
                sums.insert(key, RepoDrift { host: None, ..found });
            }
        }
    }
    sums.into_values().collect()
}
