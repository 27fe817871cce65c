//! An actor with many likes, and another who goes on liking while the first is hidden and shown.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use plyr_likes::{
    apply::{Applier, Batch},
    atproto::{AtUri, Cid, Did, RecordKey, Tid},
    clock::Clock,
    model::{Collection, Collections, Commit, Event, EventBody, Like, Operation, Record},
};
use sqlx::PgPool;

/// How many likes the actor gets.
pub const MANY: i64 = 20_000;

/// The first moment of keys and revs here, as a TID's number.
const FIRST: i64 = 1_735_700_000_000_000 << 10;

/// The TID so many milliseconds after the first.
fn tid(number: i64) -> Tid {
    Tid::from_number(FIRST + ((number * 1_000) << 10))
}

/// Gives an actor many likes, of tracks by another that no other actor likes, and returns the URIs of the first and the last of them.
pub async fn like_many(pool: &PgPool, [liker, artist]: [&str; 2]) -> [String; 2] {
    let uri = |number: i64| format!("at://did:plc:many/fm.plyr.track/{}", tid(number));
    sqlx::query("INSERT INTO actors (did) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING")
        .bind([liker, artist])
        .execute(pool)
        .await
        .expect("actors");
    sqlx::query(
        "WITH added AS (
            INSERT INTO tracks (uri, artist_id, rev, title, artist, file_type, sort_at, cid)
            SELECT uri, a.id, 1, 'One of many', 'The Wire', 'mp3', now(), $2
            FROM UNNEST($1::text[]) AS u (uri), actors a WHERE a.did = $3 RETURNING id
        )
        INSERT INTO track_counts (track_id) SELECT id FROM added",
    )
    .bind((0..MANY).map(uri).collect::<Vec<_>>())
    .bind(Cid::of_record(b"one").to_bytes())
    .bind(artist)
    .execute(pool)
    .await
    .expect("tracks");
    sqlx::query(
        "INSERT INTO likes (actor_id, rkey, rev, indexed_at, subject_id, sort_at, created_at, cid)
        SELECT a.id, t.id, 1, now(), t.id, now(), now(), 1 FROM actors a, tracks t
        WHERE a.did = $1 AND t.title = 'One of many'",
    )
    .bind(liker)
    .execute(pool)
    .await
    .expect("likes");
    sqlx::query("ANALYZE").execute(pool).await.expect("statistics");
    [uri(0), uri(MANY - 1)]
}

/// An actor who likes one track again and again.
pub struct Fan {
    /// The actor.
    pub did: String,
    /// The track's URI.
    pub track: String,
    /// The number of the first like: each number is used once.
    pub first: i64,
}

impl Fan {
    /// Applies one like after the other, as a live stream brings them, until `stop` is set; returns how long each took.
    pub async fn like_on(self, pool: PgPool, stop: Arc<AtomicBool>) -> Vec<Duration> {
        let collections = Collections::of_namespace("fm.plyr").expect("a namespace");
        let mut connection = pool.acquire().await.expect("a connection");
        let mut applier = Applier::new(collections, Clock::system());
        let mut waits = Vec::new();
        for number in self.first.. {
            let batch = Batch { events: vec![self.like(number)], ..Batch::default() };
            let started = Instant::now();
            let applied = applier.apply(&mut connection, &batch).await.expect("the database takes it");
            waits.push(started.elapsed());
            assert_eq!(applied.applied, 1);
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        waits
    }

    fn like(&self, number: i64) -> Event {
        let (rev, cid) = (tid(number), Cid::of_record(&number.to_be_bytes()));
        let subject: AtUri = self.track.parse().expect("a URI");
        let record = Record::Like(Like { subject, subject_cid: Cid::of_record(b"one"), created_at: rev.time() });
        let rkey = RecordKey::parse(&rev.to_string()).expect("a key");
        let operation = Operation::Put { cid, record };
        let commit = Commit { rev, collection: Collection::Like, rkey, operation };
        Event { did: Did::parse(&self.did).expect("a DID"), body: EventBody::Commit(Box::new(commit)) }
    }
}
