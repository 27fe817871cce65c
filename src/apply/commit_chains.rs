use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::applied::Applied;
use crate::{
    atproto::Tid,
    decode::firehose::Link,
    model::GapReason,
    store::{
        gaps::{self, NewBreak},
        repos::commit_chains::{self, ChainRow},
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
    let each: BTreeMap<(&str, Tid), &(Arc<str>, Link)> =
        links.iter().map(|sent| ((sent.1.did.as_str(), sent.1.rev), sent)).collect();
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
