//! The log that the figures are measured on: Jetstream v1, one message per line, the same bytes on every machine.
//!
//! Tracks and actors appear one after the other over the whole time, as a service grows. Every so many likes a new actor
//! comes; the others are by those who are there already, the early ones liking most. What is liked follows a power law
//! over the tracks that exist (of 10,000 the first gets about one like in twenty). A delete takes back one of the actor's own
//! likes, mostly a recent one. A list names the actor's latest likes, newest first.

use std::io::{self, Write};

use plyr_likes::atproto::{Cid, Tid, Timestamp};
use serde_json::{Value, json};

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Likes that are created, those deleted later among them.
    pub likes: usize,
    /// Tracks.
    pub tracks: usize,
    /// Actors who like.
    pub actors: usize,
    /// How many of a hundred likes are deleted later.
    pub deletes_percent: usize,
    /// Puts of lists.
    pub lists: usize,
}

impl Shape {
    /// The figure's log: 10,000 tracks and 180,000 likes by 20,000 actors, 7,200 deletes (4 % of the likes) and 2,800 puts of
    /// lists: 200,000 events.
    pub const FIGURE: Self = Self { likes: 180_000, tracks: 10_000, actors: 20_000, deletes_percent: 4, lists: 2_800 };

    /// With another number of likes, and the rest in proportion.
    pub fn of_likes(likes: usize) -> Self {
        let scaled = |part: usize| (part * likes / Self::FIGURE.likes).max(1);
        Self {
            likes,
            tracks: scaled(Self::FIGURE.tracks),
            actors: scaled(Self::FIGURE.actors),
            deletes_percent: Self::FIGURE.deletes_percent,
            lists: scaled(Self::FIGURE.lists),
        }
    }

    /// All events together.
    pub fn events(&self) -> usize {
        self.likes + self.tracks + self.deletes() + self.lists
    }

    fn deletes(&self) -> usize {
        self.likes * self.deletes_percent / 100
    }
}

/// A like that is live at the end of the log, as a row of the table. Actors and tracks are counted from one, in the order of
/// their first appearance as liker and as track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LikeRow {
    /// Who.
    pub actor: i64,
    /// The record's key.
    pub rkey: i64,
    /// The commit's rev.
    pub rev: i64,
    /// Which track; also which version of it, since no track is edited.
    pub track: i64,
    /// Microseconds since 1970.
    pub created_at_us: i64,
    /// The first eight bytes of the record's SHA-256.
    pub cid: [u8; 8],
}

/// Writes the log; answers with the number of its lines.
pub fn write_log(out: &mut impl Write, shape: Shape) -> io::Result<usize> {
    let mut generator = Generator::new(shape);
    let mut lines = 0;
    while let Some(line) = generator.next_line() {
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")?;
        lines += 1;
    }
    Ok(lines)
}

/// The likes that are live after the log, in the order of their creation.
pub fn list_live_likes(shape: Shape) -> Vec<LikeRow> {
    let mut generator = Generator::new(shape);
    while generator.next_line().is_some() {}
    generator.likes.into_iter().filter(|(_, live)| *live).map(|(row, _)| row).collect()
}

/// The DID of a liker or, with numbers of their own, of an artist.
pub fn did(kind: &str, number: i64) -> String {
    let cid = Cid::of_record(format!("{kind} {number}").as_bytes()).to_string();
    format!("did:plc:{}", &cid[10..34])
}

/// The URI of a track, counted from one. Every artist has ten.
pub fn track_uri(number: i64) -> String {
    let key = Tid::from_number((START_US - number * 60_000_000) << 10);
    format!("at://{}/fm.plyr.track/{key}", did("artist", number / 10))
}

/// 2026-01-01.
const START_US: i64 = 1_767_225_600_000_000;

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`, which is not zero.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.number() % u64::try_from(bound).expect("64 bits")).expect("below a usize")
    }

    /// Below `bound`, small numbers much more often: the greater `power`, the more.
    fn low_of(&mut self, bound: usize, power: u32) -> usize {
        let draw = u128::from(self.number() >> 40);
        let part = (0..power).fold(1 << 24, |part, _| (part * draw) >> 24);
        let bound = u128::try_from(bound).expect("64 bits");
        usize::try_from((part * bound) >> 24).expect("below bound")
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Track,
    Like,
    Unlike,
    List,
}

struct Generator {
    shape: Shape,
    random: Random,
    now_us: i64,
    tracks: usize,
    actors: usize,
    deletes: usize,
    lists: usize,
    /// All likes so far, and whether they are live.
    likes: Vec<(LikeRow, bool)>,
    /// The latest likes of each actor, by their places in `likes`.
    latest: Vec<Vec<usize>>,
}

impl Generator {
    fn new(shape: Shape) -> Self {
        Self {
            shape,
            random: Random(2026),
            now_us: START_US,
            tracks: 0,
            actors: 0,
            deletes: 0,
            lists: 0,
            likes: Vec::with_capacity(shape.likes),
            latest: Vec::with_capacity(shape.actors),
        }
    }

    /// What is furthest behind its share of the log; nothing when all is written.
    fn kind(&self) -> Option<Kind> {
        let parts = [
            (Kind::Track, self.tracks, self.shape.tracks),
            (Kind::Like, self.likes.len(), self.shape.likes),
            (Kind::List, self.lists, self.shape.lists),
            (Kind::Unlike, self.deletes, self.shape.deletes()),
        ];
        let behind = parts.into_iter().filter(|(_, done, all)| done < all);
        // Compared as done / all, crosswise; ties go to the first.
        let next = behind.reduce(|least, part| {
            if part.1 as u128 * (least.2 as u128) < least.1 as u128 * (part.2 as u128) { part } else { least }
        });
        next.map(|(kind, ..)| kind)
    }

    fn next_line(&mut self) -> Option<Value> {
        let kind = self.kind()?;
        self.now_us += 50_000 + i64::try_from(self.random.below(1_000_000)).expect("small");
        Some(match kind {
            Kind::Track => self.track(),
            Kind::Like => self.like(),
            Kind::Unlike => self.unlike(),
            Kind::List => self.list(),
        })
    }

    fn track(&mut self) -> Value {
        self.tracks += 1;
        let number = one_based(self.tracks);
        let uri = track_uri(number);
        let (did, rkey) = (did("artist", number / 10), uri.rsplit('/').next().unwrap_or_default().to_owned());
        let record = json!({
            "$type": "fm.plyr.track", "title": format!("Track {number}"), "artist": format!("Artist {}", number / 10),
            "fileType": "mp3", "duration": 120 + number % 240, "album": format!("Album {}", number / 5),
            "audioUrl": format!("https://audio.plyr.example/{number}.mp3"), "createdAt": time_text(self.now_us),
        });
        self.line(&did, "track", &rkey, Some(record))
    }

    fn like(&mut self) -> Value {
        let is_new = self.likes.len() * self.shape.actors >= self.actors * self.shape.likes;
        let actor = if is_new {
            self.actors += 1;
            self.latest.push(Vec::new());
            self.actors - 1
        } else {
            self.random.low_of(self.actors, 2)
        };
        let track = self.an_unliked_track(actor);
        let subject = track_uri(track);
        let record = json!({
            "$type": "fm.plyr.like", "createdAt": time_text(self.now_us),
            "subject": {"uri": subject, "cid": Cid::of_record(subject.as_bytes()).to_string()},
        });
        let rkey = self.rkey();
        let mut cid = [0; 8];
        cid.copy_from_slice(&cid_of(&record).digest()[..8]);
        let row = LikeRow {
            actor: one_based(actor + 1),
            rkey: rkey.number(),
            rev: self.rev().number(),
            track,
            created_at_us: self.now_us / 1_000 * 1_000,
            cid,
        };
        self.latest[actor].push(self.likes.len());
        self.likes.push((row, true));
        self.line(&did("liker", row.actor), "like", &rkey.to_string(), Some(record))
    }

    /// A track that the actor does not like yet, if a few draws find one.
    fn an_unliked_track(&mut self, actor: usize) -> i64 {
        let mut track = 1;
        for _ in 0..8 {
            track = one_based(self.random.low_of(self.tracks, 3) + 1);
            if self.latest[actor].iter().all(|place| self.likes[*place].0.track != track) {
                break;
            }
        }
        track
    }

    fn unlike(&mut self) -> Value {
        self.deletes += 1;
        let recent = self.likes.len().min(5_000);
        let place = loop {
            let place = self.likes.len() - 1 - self.random.below(recent);
            if self.likes[place].1 {
                break place;
            }
        };
        self.likes[place].1 = false;
        let row = self.likes[place].0;
        let actor = usize::try_from(row.actor - 1).expect("counted from one");
        self.latest[actor].retain(|other| *other != place);
        let rkey = Tid::from_number(row.rkey);
        self.line(&did("liker", row.actor), "like", &rkey.to_string(), None)
    }

    fn list(&mut self) -> Value {
        self.lists += 1;
        let actor = self.random.low_of(self.actors, 2);
        let items: Vec<Value> = self.latest[actor]
            .iter()
            .rev()
            .take(50)
            .map(|place| {
                let subject = track_uri(self.likes[*place].0.track);
                json!({"subject": {"cid": Cid::of_record(subject.as_bytes()).to_string(), "uri": subject}})
            })
            .collect();
        let record = json!({
            "$type": "fm.plyr.list", "name": "Liked tracks", "listType": "liked", "items": items,
            "createdAt": time_text(START_US), "updatedAt": time_text(self.now_us),
        });
        let number = one_based(actor + 1);
        let rkey = Tid::from_number((START_US + number) << 10);
        self.line(&did("liker", number), "list", &rkey.to_string(), Some(record))
    }

    fn line(&mut self, did: &str, kind: &str, rkey: &str, record: Option<Value>) -> Value {
        let rev = self.rev().to_string();
        let collection = format!("fm.plyr.{kind}");
        let commit = match record {
            Some(record) => json!({
                "rev": rev, "operation": "create", "collection": collection, "rkey": rkey,
                "cid": cid_of(&record).to_string(), "record": record,
            }),
            None => json!({"rev": rev, "operation": "delete", "collection": collection, "rkey": rkey}),
        };
        json!({"did": did, "time_us": self.now_us + 300_000, "kind": "commit", "commit": commit})
    }

    /// The rev of a commit made now.
    fn rev(&self) -> Tid {
        Tid::from_number((self.now_us + 20_000) << 10 | 7)
    }

    /// The key of a record made now.
    fn rkey(&self) -> Tid {
        Tid::from_number(self.now_us << 10 | 3)
    }
}

fn one_based(number: usize) -> i64 {
    i64::try_from(number).expect("fewer than 2^63")
}

fn time_text(micros: i64) -> String {
    Timestamp::from_micros(micros / 1_000 * 1_000).expect("a time of this century").to_string()
}

/// The CID of the record's DAG-CBOR: none of these records holds links or bytes.
fn cid_of(record: &Value) -> Cid {
    Cid::of_record(&serde_ipld_dagcbor::to_vec(record).expect("JSON without floats has an encoding"))
}
