use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::applied::Applied;
use crate::{
    atproto::Tid,
    decode::firehose::Link,
    model::GapReason,
    store::{
        gaps::{self, NewBreak},
        repos::commit_chains::{self, ChainRow, KnownHead},
    },
};

/// Follows the repos whose owners we know from commit to commit. One that does not follow on the last shows that something
/// of its repo was missed, and opens a gap. Two sources that tell of the same commits tell of one repo.
pub async fn follow(
    connection: &mut PgConnection,
    links: &[(Arc<str>, Link)],
    now: DateTime<Utc>,
    applied: &mut Applied,
) -> sqlx::Result<()> {
    // Where both a commit and a `#sync` name a head, the commit says what it follows on.
    let (commits, syncs): (Vec<_>, Vec<_>) = links.iter().partition(|(_, link)| link.follows.is_some());
    let each: BTreeMap<(&str, Tid), &(Arc<str>, Link)> =
        syncs.into_iter().chain(commits).map(|sent| ((sent.1.did.as_str(), sent.1.rev), sent)).collect();
    let sent: Vec<&(Arc<str>, Link)> = each.into_values().collect();
    let rows: Vec<ChainRow<'_>> = sent.iter().map(|(_, link)| row(link)).collect();
    let mut breaks: BTreeMap<&str, NewBreak<'_>> = BTreeMap::new();
    for broken in commit_chains::follow(connection, &rows).await? {
        let Some((source, link)) = sent.get(broken.place) else { continue };
        let before = Tid::from_number(broken.before);
        let found = NewBreak { source, did: &link.did, from: Some(before), to: Some(link.rev), is_ours: true };
        let widest = breaks.entry(link.did.as_str()).or_insert(found);
        (widest.from, widest.to) = (widest.from.min(found.from), widest.to.max(found.to));
    }
    let breaks: Vec<NewBreak<'_>> = breaks.into_values().collect();
    applied.add_gaps(GapReason::Chain, gaps::open_repos(connection, GapReason::Chain, &breaks, now).await?);
    Ok(())
}

/// A head of a repo.
pub type Head<'a> = (&'a str, Tid);

/// The heads that a `#sync` names and that came as commits with the same tree, in this batch or last before it: these repos have
/// not diverged. So it is with an account that is new.
pub async fn list_confirmed<'a>(
    connection: &mut PgConnection,
    links: &'a [(Arc<str>, Link)],
) -> sqlx::Result<HashSet<Head<'a>>> {
    let syncs = links.iter().map(|(_, link)| link).filter(|link| link.follows.is_none());
    let syncs: Vec<(Head<'a>, i64)> = syncs.filter_map(|link| Some((head(link), link.data?))).collect();
    if syncs.is_empty() {
        return Ok(HashSet::new());
    }
    let commits = links.iter().map(|(_, link)| link).filter(|link| link.follows.is_some());
    let commits: HashMap<Head<'_>, Option<i64>> = commits.map(|link| (head(link), link.data)).collect();
    let (held, asked): (Vec<_>, Vec<_>) =
        syncs.into_iter().partition(|(head, data)| commits.get(head) == Some(&Some(*data)));
    let rows: Vec<KnownHead<'_>> =
        asked.iter().map(|((did, rev), data)| KnownHead { did, rev: rev.number(), data: *data }).collect();
    let kept = commit_chains::list_kept(connection, &rows).await?;
    let kept = kept.into_iter().filter_map(|place| asked.get(place));
    Ok(held.iter().chain(kept).map(|(head, _)| *head).collect())
}

fn head(link: &Link) -> Head<'_> {
    (link.did.as_str(), link.rev)
}

fn row(link: &Link) -> ChainRow<'_> {
    ChainRow {
        did: link.did.as_str(),
        rev: link.rev.number(),
        data: link.data,
        since: link.follows.and_then(|follows| follows.since).map(Tid::number),
        prev_data: link.follows.and_then(|follows| follows.prev_data),
        begins: link.follows.is_none(),
    }
}
