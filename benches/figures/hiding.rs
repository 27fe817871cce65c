//! Hiding: how long a live batch waits while an actor with 20,000 likes is hidden and shown again, beside how long it takes
//! otherwise.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use plyr_likes::{
    apply::{Applier, Batch},
    atproto::{Did, Timestamp},
    clock::Clock,
    maintenance::follow_accounts,
    model::{AccountStatus, Collections, Event, EventBody, HostMoment},
};
use sqlx::PgPool;
use tokio::task::JoinHandle;

use crate::{
    crowd::{Fan, MANY, like_many},
    server::Server,
};

/// Who is hidden, whose tracks are liked, and who goes on liking.
const LIKER: &str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
const ARTIST: &str = "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb";
const FAN: &str = "did:plc:cccccccccccccccccccccccc";
/// How long the stream flows alone.
const ALONE: Duration = Duration::from_secs(3);

/// Measures and prints.
pub async fn measure(server: &Server) -> anyhow::Result<()> {
    server.fresh("hiding").await?;
    let pool = PgPool::connect_with(server.options("hiding")).await?;
    let [track, _] = like_many(&pool, [LIKER, ARTIST]).await;

    let stream = Stream::begin(&pool, (&track, 0));
    tokio::time::sleep(ALONE).await;
    let alone = stream.end().await?;

    let mut figures = Vec::new();
    for (round, status) in [(1, Some(AccountStatus::Deactivated)), (2, None)] {
        let stream = Stream::begin(&pool, (&track, round));
        let began = Instant::now();
        say(&pool, status, began_at(round)).await?;
        let mut connection = pool.acquire().await?;
        let steps = follow_accounts(&mut connection, None).await?;
        let took = began.elapsed();
        figures.push((stream.end().await?, steps, took));
    }
    let [(hidden, steps, hiding), (shown, _, showing)] = figures.as_slice() else { return Ok(()) };
    println!(
        "hiding           a live batch takes {hidden} while an actor with {MANY} likes is hidden ({:.1} s in {steps} steps), {shown} \
         while shown again ({:.1} s), {alone} otherwise",
        hiding.as_secs_f64(),
        showing.as_secs_f64()
    );
    pool.close().await;
    Ok(())
}

fn began_at(round: i64) -> Timestamp {
    Timestamp::from_micros(1_735_700_000_000_000 + round).unwrap_or_else(|| Clock::system().now())
}

/// Applies what a host says of the liker's account.
async fn say(pool: &PgPool, status: Option<AccountStatus>, at: Timestamp) -> anyhow::Result<()> {
    let body = EventBody::Account { active: status.is_none(), status, at: HostMoment { at, seq: 0 } };
    let batch = Batch { events: vec![Event { did: Did::parse(LIKER)?, body }], ..Batch::default() };
    let mut applier = Applier::new(Collections::of_namespace("fm.plyr")?, Clock::system());
    let mut connection = pool.acquire().await?;
    let applied = applier.apply(&mut connection, &batch).await?;
    anyhow::ensure!(applied.applied == 1, "the account was hidden, or shown, before");
    Ok(())
}

/// A live stream, batch after batch.
struct Stream {
    stop: Arc<AtomicBool>,
    flowing: JoinHandle<Vec<Duration>>,
}

impl Stream {
    fn begin(pool: &PgPool, (track, round): (&str, i64)) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let fan = Fan { did: FAN.to_owned(), track: track.to_owned(), first: round * 1_000_000 };
        Self { flowing: tokio::spawn(fan.like_on(pool.clone(), stop.clone())), stop }
    }

    async fn end(self) -> anyhow::Result<Waits> {
        self.stop.store(true, Ordering::Relaxed);
        let mut waits = self.flowing.await?;
        waits.sort_unstable();
        Ok(Waits(waits))
    }
}

/// How long each batch took, in order of size.
struct Waits(Vec<Duration>);

impl std::fmt::Display for Waits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |place: usize| self.0.get(place).map_or(0.0, |wait| wait.as_secs_f64() * 1e3);
        write!(f, "p95 {:.1} ms, at most {:.1} ms", ms(self.0.len() * 95 / 100), ms(self.0.len().saturating_sub(1)))
    }
}
