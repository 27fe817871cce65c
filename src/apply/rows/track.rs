use super::{order::sort_at, text::lines};
use crate::{
    apply::{fold::PathState, ids::BatchIds},
    atproto::{Cid, Tid},
    model::{Collection, Collections, Record, Track},
    store::records::tracks::{LiveTrack, TrackRow},
};

/// Rows of tracks, whose URIs have ids of their own.
pub fn rows<'p, 'a: 'p>(
    paths: impl Iterator<Item = &'p PathState<'a>>,
    ids: &BatchIds<'_>,
    collections: &Collections,
) -> sqlx::Result<Vec<TrackRow<'a>>> {
    let nsid = collections.nsid(Collection::Track);
    let row = |path: &PathState<'a>| {
        let live = match path.record {
            Some((cid, Record::Track(track))) => Some(live(track, *cid, path.rev)),
            _ => None,
        };
        let uri = format!("at://{}/{nsid}/{}", path.did, path.rkey);
        Ok(TrackRow { uri, artist_id: ids.actor(path.did)?, rev: path.rev, live })
    };
    paths.map(row).collect()
}

fn live(track: &Track, cid: Cid, rev: Tid) -> LiveTrack<'_> {
    LiveTrack {
        sort_at: sort_at(track.created_at, rev),
        created_at: track.created_at.utc(),
        duration: track.duration,
        cid: cid.to_bytes(),
        title: &track.title,
        artist: &track.artist,
        file_type: &track.file_type,
        album: track.album.as_deref(),
        description: track.description.as_deref(),
        audio_url: track.audio_url.as_deref(),
        audio_cid: track.audio_cid.as_deref(),
        image_url: track.image_url.as_deref(),
        features: lines(track.features.iter()),
        labels: track.labels.as_slice(),
        support_gate: track.support_gate.as_ref(),
    }
}
