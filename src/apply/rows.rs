use std::{
    borrow::Cow,
    collections::HashMap,
    fmt::{Display, Write},
};

use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::{Origin, Reached, accounts::rules_visibility, fold::PathState};
use crate::{
    atproto::{Cid, Nsid, Tid, Timestamp},
    decode::Reject,
    model::{AccountStatus, Collection, Collections, Event, EventBody, Like, List, Profile, Record, Track},
    store::{
        actors::AccountHint,
        records::{
            likes::{LikeRow, LiveLike},
            lists::ListRow,
            profiles::ProfileRow,
            tracks::TrackRow,
        },
        rejects::NewReject,
        sources::{last_delivered::NewProofs, positions::NewPosition},
    },
};

/// What orders a record among others: its own time, unless that is later than the commit that wrote it.
fn sort_at(created_at: Timestamp, rev: Tid) -> DateTime<Utc> {
    created_at.min(rev.time()).utc()
}

/// Rows of likes, in the order of their keys: neighbours go to the same page of the index.
pub fn likes<'p, 'a: 'p>(paths: impl Iterator<Item = &'p PathState<'a>>) -> Vec<LikeRow> {
    let mut rows: Vec<LikeRow> = paths.filter_map(like).collect();
    rows.sort_unstable_by_key(|row| (row.actor_id, row.rkey));
    rows
}

fn like(path: &PathState<'_>) -> Option<LikeRow> {
    let live = match path.record {
        Some((cid, Record::Like(like))) => Some(live_like(like, cid, path)),
        _ => None,
    };
    let rkey = Tid::parse(path.rkey.as_str()).ok()?.number();
    Some(LikeRow { actor_id: path.actor_id, rkey, rev: path.rev.number(), live })
}

fn live_like(like: &Like, cid: &Cid, path: &PathState<'_>) -> LiveLike {
    LiveLike {
        subject_id: path.track_id,
        subject_cid_id: path.cid_id,
        sort_at: sort_at(like.created_at, path.rev),
        created_at: like.created_at.utc(),
        cid: cid.head(),
    }
}

fn hex(cid: Cid) -> String {
    HEXLOWER.encode(&cid.to_bytes())
}

/// Rows of tracks, whose artist's id is known.
pub fn tracks<'p, 'a: 'p>(paths: impl Iterator<Item = &'p PathState<'a>>, nsid: &Nsid) -> Vec<TrackRow<'a>> {
    paths
        .map(|path| {
            let row = TrackRow {
                uri: format!("at://{}/{nsid}/{}", path.did, path.rkey),
                artist_id: path.actor_id,
                rev: path.rev.number(),
                ..TrackRow::default()
            };
            match path.record {
                Some((cid, Record::Track(track))) => live_track(row, path.rev, cid, track),
                _ => row,
            }
        })
        .collect()
}

fn live_track<'a>(row: TrackRow<'a>, rev: Tid, cid: &Cid, track: &'a Track) -> TrackRow<'a> {
    TrackRow {
        sort_at: Some(sort_at(track.created_at, rev)),
        created_at: Some(track.created_at.utc()),
        duration: track.duration,
        cid: Some(cid.to_bytes()),
        title: Some(&track.title),
        artist: Some(&track.artist),
        file_type: Some(&track.file_type),
        album: track.album.as_deref(),
        description: track.description.as_deref(),
        audio_url: track.audio_url.as_deref(),
        audio_cid: track.audio_cid.as_deref(),
        image_url: track.image_url.as_deref(),
        features: lines(track.features.iter()),
        labels: track.labels.as_slice(),
        support_gate: track.support_gate.as_ref(),
        ..row
    }
}

/// Rows of lists.
pub fn lists<'p, 'a: 'p>(paths: impl Iterator<Item = &'p PathState<'a>>) -> Vec<ListRow<'a>> {
    paths
        .filter_map(|path| {
            let live = match path.record {
                Some((cid, Record::List(list))) => Some((cid, list)),
                _ => None,
            };
            let items = live.map(|(_, list): (&Cid, &List)| list.items.as_slice()).unwrap_or_default();
            Some(ListRow {
                actor_id: path.actor_id,
                rkey: Tid::parse(path.rkey.as_str()).ok()?.number(),
                rev: path.rev.number(),
                sort_at: live.map(|(_, list)| sort_at(list.created_at, path.rev)),
                created_at: live.map(|(_, list)| list.created_at.utc()),
                updated_at: live.and_then(|(_, list)| list.updated_at).map(Timestamp::utc),
                cid: live.map(|(cid, _)| cid.to_bytes()),
                name: live.and_then(|(_, list)| list.name.as_deref()),
                list_type: live.and_then(|(_, list)| list.list_type.as_deref()),
                item_uris: lines(items.iter().map(|item| &item.uri)),
                item_cids: lines(items.iter().map(|item| &item.cid)),
            })
        })
        .collect()
}

/// One a line.
fn lines(items: impl Iterator<Item = impl Display>) -> String {
    let mut text = String::new();
    for item in items {
        if !text.is_empty() {
            text.push('\n');
        }
        // Writing to a string cannot fail.
        let _ = write!(text, "{item}");
    }
    text
}

/// Rows of profiles.
pub fn profiles<'p, 'a: 'p>(paths: impl Iterator<Item = &'p PathState<'a>>) -> Vec<ProfileRow<'a>> {
    paths
        .map(|path| {
            let live: Option<(&Cid, &Profile)> = match path.record {
                Some((cid, Record::Profile(profile))) => Some((cid, profile)),
                _ => None,
            };
            ProfileRow {
                actor_id: path.actor_id,
                rev: path.rev.number(),
                created_at: live.map(|(_, profile)| profile.created_at.utc()),
                updated_at: live.and_then(|(_, profile)| profile.updated_at).map(Timestamp::utc),
                cid: live.map(|(cid, _)| hex(*cid)),
                avatar: live.and_then(|(_, profile)| profile.avatar.as_deref()),
                bio: live.and_then(|(_, profile)| profile.bio.as_deref()),
            }
        })
        .collect()
}

/// What a batch says of accounts.
pub struct AccountHints<'e> {
    /// The last hint of each DID.
    pub last: Vec<AccountHint<'e>>,
    /// The DIDs of those that say nothing of visibility.
    pub unclear: Vec<&'e str>,
    /// The DIDs of whom both is said: that they are active, and that they are not.
    pub disputed: Vec<&'e str>,
}

/// Sorts what these events say of accounts.
pub fn account_hints<'e>(events: impl Iterator<Item = &'e Event>) -> AccountHints<'e> {
    let mut last: HashMap<&str, AccountHint<'_>> = HashMap::new();
    let (mut unclear, mut disputed) = (Vec::new(), Vec::new());
    for event in events {
        let EventBody::Account { active, status, at } = &event.body else { continue };
        let did = event.did.as_str();
        if !rules_visibility(*active, status.as_ref()) {
            unclear.push(did);
            continue;
        }
        let held = last.get(did);
        if held.is_some_and(|held| held.active != *active) {
            disputed.push(did);
        }
        if held.is_none_or(|held| held.at < *at) {
            let status = status.as_ref().map(AccountStatus::as_str);
            last.insert(did, AccountHint { did: &event.did, active: *active, status, at: *at });
        }
    }
    AccountHints { last: last.into_values().collect(), unclear, disputed }
}

/// Those whose documents may have changed. What an event claims of the handle is not believed: it is looked up.
pub fn identity_hints(events: &[Event]) -> Vec<&str> {
    let told = events.iter().filter(|event| matches!(event.body, EventBody::Identity { .. }));
    let mut dids: Vec<&str> = told.map(|event| event.did.as_str()).collect();
    dids.sort_unstable();
    dids.dedup();
    dids
}

/// A reject's row. Its digest makes it one, however often it comes: by path and rev, or else by its bytes.
pub fn reject<'a>(collections: &'a Collections, origin: &'a Origin, reject: &'a Reject) -> NewReject<'a> {
    let mut digest = Sha256::new();
    if let Some(path) = &reject.path {
        for part in [path.did.as_str(), path.collection.suffix(), path.rkey.as_str()] {
            digest.update(part);
            digest.update([0]);
        }
        digest.update(path.rev.number().to_be_bytes());
    } else {
        digest.update(origin.source.as_bytes());
        digest.update([0]);
        digest.update(&reject.raw);
    }
    let path = reject.path.as_ref();
    NewReject {
        digest: digest.finalize().into(),
        source: &origin.source,
        kind: origin.kind,
        position: origin.position,
        reason: reject.reason.as_str(),
        field: reject.field.as_deref().map(without_nul),
        detail: without_nul(&reject.detail),
        did: path.map(|path| path.did.as_str()),
        collection: path.map(|path| collection_text(collections, path.collection)),
        rkey: path.map(|path| path.rkey.as_str()),
        rev: path.map(|path| path.rev.number()),
        cid: path.and_then(|path| path.cid).map(Cid::to_bytes),
        raw_format: reject.raw_format.as_str(),
        raw: &reject.raw,
        raw_length: i64::try_from(reject.raw_length).unwrap_or(i64::MAX),
    }
}

/// Postgres keeps no U+0000 in a text, and a reject quotes what it refuses.
fn without_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

fn collection_text(collections: &Collections, collection: Collection) -> &str {
    collections.nsid(collection).as_str()
}

/// A position's row.
pub fn position(reached: &Reached) -> NewPosition<'_> {
    NewPosition {
        source: &reached.source,
        kind: reached.kind,
        value: reached.value,
        event_at: reached.event_at.map(Timestamp::utc),
        ours_at: reached.ours_at.map(Timestamp::utc),
        restarts: reached.restarts,
    }
}

/// Rows of what the batch proves.
pub fn proofs(positions: &[Reached]) -> NewProofs<'_> {
    let mut rows = NewProofs::default();
    for reached in positions {
        for (collection, proof) in Collection::ALL.into_iter().zip(reached.proofs) {
            let Some(proof) = proof else { continue };
            rows.sources.push(&reached.source);
            rows.collections.push(collection.suffix());
            rows.kinds.push(reached.kind);
            rows.values.push(proof.value);
            rows.times.push(proof.event_at.map(Timestamp::utc));
        }
    }
    rows
}
