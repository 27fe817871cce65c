//! Histories of a few repos, all from one seed.

use serde_json::{Value, json};

pub use crate::{
    delivery::{Dialect, Message, deliver, deliver_with_accounts, some_garbage},
    random::Random,
};
use crate::{
    model::{List, Track, tid_text},
    wire::{self, Body, Commit, Operation, some_cid, time_text, updated},
};

/// 2025-01-01.
pub const START_US: i64 = 1_735_689_600_000_000;

/// The DID of actor `number`.
pub fn did(number: usize) -> String {
    if number == 2 {
        return "did:web:localhost%3A2583".to_owned();
    }
    format!("did:plc:{}", &some_cid(&format!("actor {number}"))[10..34])
}

/// The TID that a clock with this id gave at this time.
pub fn tid(time_us: i64, clock: i64) -> i64 {
    (time_us << 10) | clock
}

/// A record key number `number` of `kind`: stable, so that histories meet at the same paths.
pub fn key(kind: i64, number: usize) -> String {
    tid_text(tid(START_US - 86_400_000_000 + i64::try_from(number).expect("small") * 1_000, kind))
}

/// The URI of an artist's track number `number`.
pub fn track_uri(artist: usize, number: usize) -> String {
    format!("at://{}/fm.plyr.track/{}", did(artist), key(3, number))
}

/// What happened, repo by repo; every commit once, in the order of time.
pub struct History {
    /// In order.
    pub commits: Vec<Commit>,
}

/// How large a world is.
#[derive(Debug, Clone, Copy)]
pub struct World {
    /// How many.
    pub actors: usize,
    /// Tracks, and keys of likes, of each actor.
    pub keys: usize,
    /// How many.
    pub commits: usize,
}

impl World {
    /// Small enough that everything meets everything.
    pub fn small(random: &mut Random) -> Self {
        Self { actors: 2 + random.below(4), keys: 1 + random.below(4), commits: 10 + random.below(120) }
    }
}

impl History {
    /// A history of such a world.
    pub fn of(world: World, random: &mut Random) -> Self {
        let mut clocks = vec![START_US; world.actors];
        let commits = (0..world.commits).map(|_| {
            let actor = random.below(world.actors);
            a_commit(world, (actor, &mut clocks[actor]), random)
        });
        Self { commits: commits.collect() }
    }
}

/// The next commit of an actor, some time after what its clock says.
pub(crate) fn a_commit(world: World, (actor, clock): (usize, &mut i64), random: &mut Random) -> Commit {
    *clock += random.between(1, 10_000_000);
    let rev = tid(*clock, random.between(0, 1023));
    let mut operations: Vec<Operation> = Vec::new();
    for _ in 0..*random.pick(&[1, 1, 1, 1, 2, 3, 6]) {
        let operation = an_operation(world, (actor, *clock), random);
        let path = (&operation.collection, &operation.rkey);
        if operations.iter().all(|other| (&other.collection, &other.rkey) != path) {
            operations.push(operation);
        }
    }
    Commit { did: did(actor), rev, operations }
}

/// A time as some client wrote it, around `now_us`.
fn a_time(now_us: i64, random: &mut Random) -> String {
    let near = now_us + random.between(-5_000_000, 5_000_000);
    match random.below(12) {
        0 => "2099-12-31T23:59:59Z".to_owned(),
        1 => "0001-01-01T00:00:00Z".to_owned(),
        2 => "2024-12-31T23:30:00.5+14:00".to_owned(),
        3 => "2024-12-31T23:30:00.123456789-09:30".to_owned(),
        4 => time_text(near / 1_000_000 * 1_000_000),
        5 => time_text(near / 1_000 * 1_000),
        _ => time_text(near),
    }
}

fn an_operation(world: World, (actor, now_us): (usize, i64), random: &mut Random) -> Operation {
    let number = random.below(world.keys);
    let (kind, rkey) = match random.below(100) {
        0..60 => ("like", key(1, number)),
        60..78 => ("track", key(3, number)),
        78..88 => ("list", key(2, number % 2)),
        88..92 => ("actor.profile", "self".to_owned()),
        _ => return a_foreign_operation(world, actor, random),
    };
    let collection = format!("fm.plyr.{kind}");
    let body = match random.below(100) {
        0..28 => Body::Delete,
        28..36 => wire::invalid(a_broken_record(kind, &a_time(now_us, random), world, random)),
        _ => a_record(kind, world, now_us, random),
    };
    let body = if random.percent(30) { updated(body) } else { body };
    // Now and then a key of the wrong form, which no record of ours may have.
    match &body {
        Body::Put { json, .. } if kind != "actor.profile" && random.percent(2) => {
            let rkey = *random.pick(&["not-a-tid", "self", "3zzzzzzzzzzz"]);
            Operation::new(&collection, rkey, wire::invalid(json.clone()))
        }
        _ => Operation::new(&collection, &rkey, body),
    }
}

fn a_foreign_operation(world: World, actor: usize, random: &mut Random) -> Operation {
    let subject = track_uri(actor, random.below(world.keys));
    let body = if random.percent(30) {
        Body::Delete
    } else {
        wire::invalid(wire::like_json(&subject, &some_cid("x"), "2025-01-01T00:00:00Z"))
    };
    let collection = *random.pick(&["app.bsky.feed.like", "fm.plyr.dev.like", "fm.plyr.stg.track", "fm.plyr.likes"]);
    Operation::new(collection, &key(1, random.below(world.keys)), body)
}

/// A subject: mostly one of the world's tracks, sometimes a track with a key that no track record can have.
fn a_subject(world: World, random: &mut Random) -> String {
    let artist = random.below(world.actors);
    if random.percent(3) {
        return format!("at://{}/fm.plyr.track/any~key", did(artist));
    }
    // One track is liked most often, so that actors like it twice.
    if random.percent(25) {
        return track_uri(0, 0);
    }
    track_uri(artist, random.below(world.keys))
}

fn a_record(kind: &str, world: World, now_us: i64, random: &mut Random) -> Body {
    let at = a_time(now_us, random);
    match kind {
        "like" => wire::like(&a_subject(world, random), &at),
        "list" => {
            let List { items, name, list_type, .. } = a_list(world, random);
            let updated_at = random.percent(50).then(|| a_time(now_us, random));
            wire::list(&items, name.as_deref(), list_type.as_deref(), (&at, updated_at.as_deref()))
        }
        "track" => a_track(&at, random),
        _ => {
            let bio = random.percent(70).then(|| a_text(random));
            let avatar = random.percent(50).then_some("https://plyr.example/a.png");
            wire::profile(bio.as_deref(), avatar, &at)
        }
    }
}

fn a_text(random: &mut Random) -> String {
    let texts = [
        "Ökonomie",
        "a",
        "👩‍👩‍👧 family",
        "O'Brien; DROP TABLE likes--",
        "tab\tand \"quote\" \\",
        "日本語のタイトル",
        "{}",
    ];
    format!("{}{}", random.pick(&texts), random.below(10))
}

fn a_list(world: World, random: &mut Random) -> List {
    let items = (0..random.below(6))
        .map(|_| {
            let uri = match random.below(6) {
                0 => format!("at://{}/fm.plyr.list/{}", did(0), key(2, 0)),
                1 => format!("at://{}/app.bsky.feed.post/{}", did(1), key(5, 0)),
                _ => a_subject(world, random),
            };
            let cid = some_cid(&uri);
            (uri, cid)
        })
        .collect();
    List {
        items,
        name: random.percent(60).then(|| a_text(random)),
        list_type: random.percent(80).then(|| (*random.pick(&["liked", "album", "playlist", "mood"])).to_owned()),
        created_at: 0,
        updated_at: None,
    }
}

fn a_track(at: &str, random: &mut Random) -> Body {
    let a_few = |random: &mut Random, of: &str| (0..random.below(3)).map(|n| format!("{of}{n}")).collect::<Vec<_>>();
    let maybe = |random: &mut Random, text: &str| random.percent(40).then(|| text.to_owned());
    wire::full_track(Track {
        title: a_text(random),
        artist: a_text(random),
        file_type: (*random.pick(&["mp3", "flac", "wav"])).to_owned(),
        album: maybe(random, "An Album"),
        duration: random.percent(50).then(|| random.between(0, 7200)),
        description: maybe(random, "Line one\nline two"),
        audio_url: maybe(random, "https://plyr.example/a.mp3"),
        audio_cid: random.percent(40).then(|| some_cid("audio")),
        image_url: maybe(random, "https://plyr.example/a.jpg"),
        features: (0..random.below(3)).map(did).collect(),
        labels: a_few(random, "label"),
        support_gate: random.percent(20).then(|| json!({"type": "any"})),
        created_at: wire::micros(at),
    })
}

fn a_broken_record(kind: &str, at: &str, world: World, random: &mut Random) -> Value {
    let uri = a_subject(world, random);
    let cid = some_cid(&uri);
    let good = wire::like_json(&uri, &cid, at);
    match (kind, random.below(6)) {
        (_, 0) => json!({"$type": format!("fm.plyr.{kind}")}),
        (_, 1) => json!({"$type": "app.bsky.feed.post", "text": "hello", "createdAt": at}),
        ("like", 2) => wire::like_json("at://alice.test/fm.plyr.track/3l3pte3p2e325", &cid, at),
        ("like", 3) => wire::like_json(&format!("at://{}/fm.plyr.list/{}", did(0), key(2, 0)), &cid, at),
        ("like", 4) => json!({"$type": "fm.plyr.like", "subject": {"uri": uri}, "createdAt": at}),
        ("like", _) => wire::like_json(&good["subject"]["uri"].to_string(), &cid, "2025-01-01T00:00:00"),
        ("list", 2) => json!({"$type": "fm.plyr.list", "items": "none", "createdAt": at}),
        ("list", _) => json!({"$type": "fm.plyr.list", "items": [{"subject": uri}], "createdAt": at}),
        ("track", 2) => {
            json!({"$type": "fm.plyr.track", "title": "", "artist": "a", "fileType": "mp3", "createdAt": at})
        }
        ("track", 3) => {
            json!({"$type": "fm.plyr.track", "title": "a\u{0}b", "artist": "a", "fileType": "mp3", "createdAt": at})
        }
        ("track", _) => {
            json!({"$type": "fm.plyr.track", "title": 7, "artist": "a", "fileType": "mp3", "createdAt": at})
        }
        _ => json!({"$type": format!("fm.plyr.{kind}"), "createdAt": "yesterday"}),
    }
}
