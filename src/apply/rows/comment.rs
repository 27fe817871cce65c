use crate::{
    apply::{fold::PathState, ids::BatchIds},
    atproto::{Cid, Tid},
    model::{Comment, Record},
    store::records::comments::{CommentRow, LiveComment},
};

/// Rows of comments.
pub fn rows<'p, 'a: 'p>(
    paths: impl Iterator<Item = &'p PathState<'a>>,
    ids: &mut BatchIds<'_>,
) -> sqlx::Result<Vec<CommentRow<'a>>> {
    paths.filter_map(|path| row(path, ids).transpose()).collect()
}

fn row<'a>(path: &PathState<'a>, ids: &mut BatchIds<'_>) -> sqlx::Result<Option<CommentRow<'a>>> {
    let Ok(rkey) = Tid::parse(path.rkey.as_str()) else { return Ok(None) };
    let live = match path.record {
        Some((cid, Record::Comment(comment))) => Some(live(comment, *cid, ids)?),
        _ => None,
    };
    Ok(Some(CommentRow { actor_id: ids.actor(path.did)?, rkey, rev: path.rev, live }))
}

fn live<'a>(comment: &'a Comment, cid: Cid, ids: &mut BatchIds<'_>) -> sqlx::Result<LiveComment<'a>> {
    Ok(LiveComment {
        subject_id: ids.track(&comment.subject)?,
        text: &comment.text,
        created_at: comment.created_at.utc(),
        cid: cid.head(),
    })
}
