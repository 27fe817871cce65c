//! What happens next in a world.

use serde_json::json;

use crate::{
    event::What,
    history::tid,
    model::{Track as Meaning, tid_text},
    wire::{self, Body, Operation, some_cid, time_text},
    world::{Standing, Track, World, index},
};

/// How many deleted keys of likes are remembered for each actor, to put again.
const UNLIKED_MAX: usize = 8;
/// The most likes that a liked list names.
const LISTED_MAX: usize = 40;

type Action = fn(&mut World, u32);

/// One thing happens.
pub(crate) fn step(world: &mut World) {
    let mix = world.shape.mix;
    let actor = u32::try_from(world.random.below(world.shape.actors)).expect("few actors");
    if let Standing::Inactive(status) = world.actor(actor).standing {
        // Inactive accounts write nothing; most come back, deleted ones never.
        if status != "deleted" && mix.accounts > 0 && world.random.percent(20) {
            world.actors[index(actor)].standing = Standing::Active;
            world.add(actor, What::Account { status: None });
            return;
        }
        return like(world, 0);
    }
    let actions: [(usize, Action); 13] = [
        (mix.likes, like),
        (mix.unlikes, unlike),
        (mix.likes_again, like_again),
        (mix.moves, move_like),
        (mix.tracks, track),
        (mix.lists, list),
        (mix.profiles, profile),
        (mix.several, several),
        (mix.broken, broken),
        (mix.foreign, foreign),
        (mix.accounts, account),
        (mix.identities, identity),
        (mix.syncs, sync),
    ];
    let mut left = world.random.below(actions.iter().map(|(weight, _)| weight).sum());
    for (weight, action) in actions {
        if left < weight {
            return action(world, actor);
        }
        left -= weight;
    }
}

/// A key that this actor has not used.
fn new_key(world: &mut World) -> i64 {
    tid(world.now_us, world.random.between(1, 900))
}

/// A track: some are liked far more often than others.
fn some_track(world: &mut World) -> u32 {
    let bound = world.tracks.len();
    let bound = if world.random.percent(30) { bound.div_ceil(20) } else { bound };
    u32::try_from(world.random.below(bound)).expect("few tracks")
}

pub(crate) fn like(world: &mut World, actor: u32) {
    let (rkey, track) = (new_key(world), some_track(world));
    put_like(world, actor, (rkey, track));
}

fn put_like(world: &mut World, actor: u32, (rkey, track): (i64, u32)) {
    world.actors[index(actor)].likes.push((rkey, track));
    world.add(actor, What::Like { rkey, track, update: false });
}

fn unlike(world: &mut World, actor: u32) {
    if world.actor(actor).likes.is_empty() {
        return like(world, actor);
    }
    let at = world.random.below(world.actor(actor).likes.len());
    let held = &mut world.actors[index(actor)];
    let (rkey, _) = held.likes.swap_remove(at);
    held.unliked.push(rkey);
    if held.unliked.len() > UNLIKED_MAX {
        held.unliked.remove(0);
    }
    world.add(actor, What::Unlike { rkey });
}

fn like_again(world: &mut World, actor: u32) {
    match world.actors[index(actor)].unliked.pop() {
        Some(rkey) => {
            let track = some_track(world);
            put_like(world, actor, (rkey, track));
        }
        None => like(world, actor),
    }
}

fn move_like(world: &mut World, actor: u32) {
    if world.actor(actor).likes.is_empty() {
        return like(world, actor);
    }
    let (at, track) = (world.random.below(world.actor(actor).likes.len()), some_track(world));
    let held = &mut world.actors[index(actor)].likes[at];
    held.1 = track;
    let rkey = held.0;
    world.add(actor, What::Like { rkey, track, update: true });
}

fn track_body(world: &mut World) -> Body {
    let number = world.random.below(10_000);
    wire::full_track(Meaning {
        title: format!("Track {number}"),
        artist: format!("Ärtist {}", number % 100),
        file_type: (*world.random.pick(&["mp3", "flac", "wav"])).to_owned(),
        album: world.random.percent(40).then(|| "An Album".to_owned()),
        duration: world.random.percent(50).then(|| world.random.between(1, 7_200)),
        description: world.random.percent(20).then(|| "Line one\nline two".to_owned()),
        audio_url: Some("https://audio.example/a.mp3".to_owned()),
        audio_cid: world.random.percent(40).then(|| some_cid("audio")),
        image_url: None,
        features: Vec::new(),
        labels: Vec::new(),
        support_gate: world.random.percent(5).then(|| json!({"type": "any"})),
        created_at: world.now_us,
    })
}

/// A new track of this artist.
pub(crate) fn make_track(world: &mut World, artist: u32) {
    let rkey = new_key(world);
    let body = track_body(world);
    world.tracks.push(Track { artist, rkey, live: true });
    commit(world, artist, vec![Operation::track(&tid_text(rkey), body)]);
}

fn track(world: &mut World, actor: u32) {
    if world.random.percent(20) {
        return make_track(world, actor);
    }
    let number = world.random.below(world.tracks.len());
    let Track { artist, rkey, live } = world.tracks[number];
    if world.actor(artist).standing != Standing::Active {
        return like(world, actor);
    }
    let delete = live && world.random.percent(20);
    let body = if delete { Body::Delete } else { track_body(world) };
    world.tracks[number].live = !delete;
    commit(world, artist, vec![Operation::track(&tid_text(rkey), body)]);
}

/// Adds a commit, with the operations that a repo would have: what is there is updated, what is not cannot be deleted.
fn commit(world: &mut World, actor: u32, operations: Vec<Operation>) {
    let held = &mut world.actors[index(actor)];
    let mut possible = Vec::new();
    for Operation { collection, rkey, body } in operations {
        let path = format!("{collection}/{rkey}");
        let body = match body {
            Body::Delete if held.others.remove(path.as_str()) => Body::Delete,
            Body::Delete => continue,
            Body::Put { json, meaning, .. } => Body::Put { json, meaning, created: held.others.insert(path.into()) },
        };
        possible.push(Operation { collection, rkey, body });
    }
    if possible.is_empty() {
        return like(world, actor);
    }
    world.add(actor, What::Commit(possible.into_boxed_slice()));
}

fn list(world: &mut World, actor: u32) {
    // Two lists for each actor: the liked list, and an album.
    let liked = world.random.percent(70);
    let rkey = tid_text(tid(world.shape.start_us - 1_000, i64::from(liked)));
    if world.random.percent(10) {
        return commit(world, actor, vec![Operation::list(&rkey, Body::Delete)]);
    }
    let likes = world.actor(actor).likes.iter().rev().take(LISTED_MAX);
    let items: Vec<(String, String)> = likes
        .map(|(_, track)| {
            let uri = world.track_uri(*track);
            let cid = some_cid(&uri);
            (uri, cid)
        })
        .collect();
    let now = time_text(world.now_us);
    let kind = if liked { "liked" } else { "album" };
    let body = wire::list(&items, (!liked).then_some("An Album"), Some(kind), (&now, Some(&now)));
    commit(world, actor, vec![Operation::list(&rkey, body)]);
}

fn profile(world: &mut World, actor: u32) {
    let body = match world.random.below(5) {
        0 => Body::Delete,
        number => wire::profile(Some(&format!("bio {number}")), None, &time_text(world.now_us)),
    };
    commit(world, actor, vec![Operation::new("fm.plyr.actor.profile", "self", body)]);
}

/// Several likes in one commit.
fn several(world: &mut World, actor: u32) {
    let mut operations = Vec::new();
    let now = time_text(world.now_us);
    for number in 0..world.random.between(2, 5) {
        // The clocks of other keys are above zero; this key's time is a microsecond that no other event has.
        let (rkey, track) = (tid(world.now_us, 0) - number, some_track(world));
        operations.push(Operation::like(&tid_text(rkey), wire::like(&world.track_uri(track), &now)));
        world.actors[index(actor)].likes.push((rkey, track));
    }
    world.add(actor, What::Commit(operations.into_boxed_slice()));
}

fn broken(world: &mut World, actor: u32) {
    let rkey = tid_text(tid(world.shape.start_us - 2_000, world.random.between(0, 3)));
    let json = match world.random.below(4) {
        0 => json!({"$type": "fm.plyr.like", "createdAt": "yesterday"}),
        1 => json!({"$type": "fm.plyr.like"}),
        2 => json!({"$type": "fm.plyr.like", "subject": {"uri": "nothing", "cid": some_cid("x")},
            "createdAt": "2025-01-01T00:00:00Z"}),
        _ => json!({"$type": "app.bsky.feed.post", "text": "hello", "createdAt": "2025-01-01T00:00:00Z"}),
    };
    commit(world, actor, vec![Operation::like(&rkey, wire::invalid(json))]);
}

fn foreign(world: &mut World, actor: u32) {
    let collection = *world.random.pick(&["app.bsky.feed.like", "app.bsky.feed.post", "fm.plyr.dev.like"]);
    let rkey = tid_text(new_key(world));
    let json = json!({"$type": collection, "text": "hello", "createdAt": time_text(world.now_us)});
    commit(world, actor, vec![Operation::new(collection, &rkey, wire::invalid(json))]);
}

fn account(world: &mut World, actor: u32) {
    let status = *world.random.pick(&["deactivated", "deactivated", "takendown", "suspended", "deleted"]);
    // The first actor stays, so that there is always an active one.
    if actor == 0 {
        return identity(world, actor);
    }
    world.actors[index(actor)].standing = Standing::Inactive(status);
    world.add(actor, What::Account { status: Some(status) });
}

fn identity(world: &mut World, actor: u32) {
    let names_handle = world.random.percent(40);
    world.add(actor, What::Identity { names_handle });
}

fn sync(world: &mut World, actor: u32) {
    let count = world.random.below(3);
    lose_likes(world, actor, count);
}

/// Some of an actor's likes vanish without an event.
pub(crate) fn lose_likes(world: &mut World, actor: u32, count: usize) {
    let count = count.min(world.actor(actor).likes.len());
    let mut silent = Vec::new();
    for _ in 0..count {
        let (rkey, _) = world.actors[index(actor)].likes.remove(0);
        silent.push(Operation::like(&tid_text(rkey), Body::Delete));
    }
    world.add(actor, What::Sync { silent: silent.into_boxed_slice() });
}
