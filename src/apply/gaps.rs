use std::{borrow::Cow, collections::HashMap};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{
    applied::Applied,
    batch::{Gap, GapChange},
};
use crate::{
    model::GapReason,
    store::gaps::{self, NewBreak, NewGap, NewSync},
};

/// Writes what was found out about gaps, in its order.
pub async fn write(
    connection: &mut PgConnection,
    found: &[Gap],
    now: DateTime<Utc>,
    applied: &mut Applied,
) -> sqlx::Result<()> {
    for Gap { source, change } in found {
        match change {
            GapChange::Opens { reason, kind, from, to, detail } => {
                // Postgres keeps no U+0000 in a text, and an upstream may have chosen words of this one.
                let detail = if detail.contains('\0') { detail.replace('\0', "").into() } else { Cow::from(detail) };
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
            GapChange::Syncs { .. } | GapChange::Unproven { .. } => {}
        }
    }
    let opened = gaps::open_syncs(connection, &latest_syncs(found), now).await?;
    applied.add_gaps(GapReason::Sync, opened);
    let opened = gaps::open_repos(connection, GapReason::Proof, &latest_unverified(found), now).await?;
    applied.add_gaps(GapReason::Proof, opened);
    Ok(())
}

/// The latest head of each repo.
fn latest_syncs(found: &[Gap]) -> Vec<NewSync<'_>> {
    let mut latest: HashMap<&str, NewSync<'_>> = HashMap::new();
    for Gap { source, change } in found {
        if let GapChange::Syncs { did, rev, at } = change
            && latest.get(did.as_str()).is_none_or(|held| held.rev < *rev)
        {
            latest.insert(did.as_str(), NewSync { source, did, rev: *rev, at: *at });
        }
    }
    latest.into_values().collect()
}

/// The last commit of each repo that failed verification.
fn latest_unverified(found: &[Gap]) -> Vec<NewBreak<'_>> {
    let mut latest: HashMap<&str, NewBreak<'_>> = HashMap::new();
    for Gap { source, change } in found {
        if let GapChange::Unproven { did, rev } = change
            && latest.get(did.as_str()).is_none_or(|held| held.to < *rev)
        {
            latest.insert(did.as_str(), NewBreak { source, did, from: None, to: *rev });
        }
    }
    latest.into_values().collect()
}
