use data_encoding::HEXLOWER;

use crate::{
    apply::{fold::PathState, ids::BatchIds},
    atproto::{Cid, Timestamp},
    model::{Profile, Record},
    store::records::profiles::ProfileRow,
};

/// Rows of profiles.
pub fn rows<'p, 'a: 'p>(
    paths: impl Iterator<Item = &'p PathState<'a>>,
    ids: &BatchIds<'_>,
) -> sqlx::Result<Vec<ProfileRow<'a>>> {
    paths.map(|path| row(path, ids)).collect()
}

fn row<'a>(path: &PathState<'a>, ids: &BatchIds<'_>) -> sqlx::Result<ProfileRow<'a>> {
    let live: Option<(&Cid, &Profile)> = match path.record {
        Some((cid, Record::Profile(profile))) => Some((cid, profile)),
        _ => None,
    };
    Ok(ProfileRow {
        actor_id: ids.actor(path.did)?.number(),
        rev: path.rev.number(),
        created_at: live.map(|(_, profile)| profile.created_at.utc()),
        updated_at: live.and_then(|(_, profile)| profile.updated_at).map(Timestamp::utc),
        cid: live.map(|(cid, _)| HEXLOWER.encode(&cid.to_bytes())),
        avatar: live.and_then(|(_, profile)| profile.avatar.as_deref()),
        bio: live.and_then(|(_, profile)| profile.bio.as_deref()),
    })
}
