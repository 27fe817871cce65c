use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{
    applied::Applied,
    batch::{Gap, GapChange},
    commit_chains::Head,
};
use crate::{
    model::{GapReason, UntrustedText},
    store::gaps::{self, NewBreak, NewGap, NewSync},
};

/// Writes what was found out about gaps, in its order. A `#sync` of a head that is confirmed is none.
pub async fn write(
    connection: &mut PgConnection,
    found: &[Gap],
    confirmed: &HashSet<Head<'_>>,
    now: DateTime<Utc>,
    applied: &mut Applied,
) -> sqlx::Result<()> {
    for Gap { source, change } in found {
        match change {
            GapChange::Opens { reason, kind, from, to, detail } => {
                let detail = UntrustedText::of(detail);
                let gap = NewGap { source, reason: *reason, kind: *kind, from: *from, to: *to, detail: &detail };
                let is_new = gaps::open(connection, gap, now).await?;
                applied.add_gaps(*reason, is_new.into());
            }
            GapChange::Ends { reason, to } => {
                gaps::end(connection, source, *reason, *to).await?;
            }
            GapChange::Proves { reason, note } => {
                gaps::close_by_source(connection, Some(source), *reason, note, now).await?;
            }
            GapChange::ProvesAll { reason, note } => {
                gaps::close_by_source(connection, None, *reason, note, now).await?;
            }
            GapChange::Syncs { .. } | GapChange::Repo { .. } => {}
        }
    }
    let opened = gaps::open_syncs(connection, &latest_syncs(found, confirmed), now).await?;
    applied.add_gaps(GapReason::Sync, opened);
    for (reason, breaks) in latest_breaks(found) {
        let breaks: Vec<NewBreak<'_>> = breaks.into_values().collect();
        applied.add_gaps(reason, gaps::open_repos(connection, reason, &breaks, now).await?);
    }
    Ok(())
}

/// The latest head of each repo, but for those that are confirmed.
fn latest_syncs<'a>(found: &'a [Gap], confirmed: &HashSet<Head<'_>>) -> Vec<NewSync<'a>> {
    let mut latest: HashMap<&str, NewSync<'_>> = HashMap::new();
    for Gap { source, change } in found {
        if let GapChange::Syncs { did, rev, at } = change
            && !confirmed.contains(&(did.as_str(), *rev))
            && latest.get(did.as_str()).is_none_or(|held| held.rev < *rev)
        {
            latest.insert(did.as_str(), NewSync { source, did, rev: *rev, at: *at });
        }
    }
    latest.into_values().collect()
}

/// The last commit of each repo of which something was not applied, by the reason.
fn latest_breaks(found: &[Gap]) -> BTreeMap<GapReason, HashMap<&str, NewBreak<'_>>> {
    let mut latest: BTreeMap<GapReason, HashMap<&str, NewBreak<'_>>> = BTreeMap::new();
    for Gap { source, change } in found {
        let GapChange::Repo { reason, did, rev, is_ours } = change else { continue };
        let new = NewBreak { source, did, from: None, to: *rev, is_ours: *is_ours };
        let held = latest.entry(*reason).or_default().entry(did.as_str()).or_insert(new);
        held.to = held.to.max(new.to);
        held.is_ours |= new.is_ours;
    }
    latest
}
