use super::{order::sort_at, text::lines};
use crate::{
    apply::{fold::PathState, ids::BatchIds},
    atproto::{Cid, Tid, Timestamp},
    model::{List, Record},
    store::records::lists::{ListRow, LiveList},
};

/// Rows of lists.
pub fn rows<'p, 'a: 'p>(
    paths: impl Iterator<Item = &'p PathState<'a>>,
    ids: &BatchIds<'_>,
) -> sqlx::Result<Vec<ListRow<'a>>> {
    paths.filter_map(|path| row(path, ids).transpose()).collect()
}

fn row<'a>(path: &PathState<'a>, ids: &BatchIds<'_>) -> sqlx::Result<Option<ListRow<'a>>> {
    let Ok(rkey) = Tid::parse(path.rkey.as_str()) else { return Ok(None) };
    let live = match path.record {
        Some((cid, Record::List(list))) => Some(live(list, *cid, path.rev)),
        _ => None,
    };
    Ok(Some(ListRow { actor_id: ids.actor(path.did)?, rkey, rev: path.rev, live }))
}

fn live(list: &List, cid: Cid, rev: Tid) -> LiveList<'_> {
    LiveList {
        sort_at: sort_at(list.created_at, rev),
        created_at: list.created_at.utc(),
        updated_at: list.updated_at.map(Timestamp::utc),
        cid: cid.to_bytes(),
        name: list.name.as_deref(),
        list_type: list.list_type.as_deref(),
        item_uris: lines(list.items.iter().map(|item| &item.uri)),
        item_cids: lines(list.items.iter().map(|item| &item.cid)),
    }
}
