use super::order::sort_at;
use crate::{
    apply::{fold::PathState, ids::BatchIds},
    atproto::{Cid, Tid},
    model::{Like, Record},
    store::records::likes::{LikeRow, LiveLike},
};

/// Rows of likes, in the order of their keys: neighbours go to the same page of the index.
pub fn rows<'p, 'a: 'p>(
    paths: impl Iterator<Item = &'p PathState<'a>>,
    ids: &mut BatchIds<'_>,
) -> sqlx::Result<Vec<LikeRow>> {
    let mut rows = paths.filter_map(|path| row(path, ids).transpose()).collect::<sqlx::Result<Vec<LikeRow>>>()?;
    rows.sort_unstable_by_key(|row| (row.actor_id, row.rkey));
    Ok(rows)
}

fn row(path: &PathState<'_>, ids: &mut BatchIds<'_>) -> sqlx::Result<Option<LikeRow>> {
    let Ok(rkey) = Tid::parse(path.rkey.as_str()) else { return Ok(None) };
    let live = match path.record {
        Some((cid, Record::Like(like))) => Some(live(like, *cid, path.rev, ids)?),
        _ => None,
    };
    Ok(Some(LikeRow { actor_id: ids.actor(path.did)?, rkey, rev: path.rev, live }))
}

fn live(like: &Like, cid: Cid, rev: Tid, ids: &mut BatchIds<'_>) -> sqlx::Result<LiveLike> {
    Ok(LiveLike {
        subject_id: ids.track(&like.subject)?,
        subject_cid_id: ids.cid(like.subject_cid)?,
        sort_at: sort_at(like.created_at, rev),
        created_at: like.created_at.utc(),
        cid: cid.head(),
    })
}
