//! A whole network on a real PDS that was there before the program: found, read, and followed, whatever happens meanwhile.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};

use crate::cases::backfill::{figure, of_network, said};
use crate::support::{
    comparison::Truth,
    database::{TestDatabase, fresh},
    dump,
    network::{Account, Network, Operation, Stored, like, list, track},
    program::Program,
    run::until_within,
};

/// Fans; `PLYR_ACCOUNTS` asks for more or fewer.
const FANS: usize = 300;
/// Of these, those who go on writing.
const WRITERS: usize = 20;
/// Accounts made at the same time.
const PARALLEL: usize = 8;

/// A fan with some likes and a list.
async fn fan(network: &Network, songs: &[Stored], number: usize) -> Account {
    let fan = network.account(&format!("fan{number}")).await;
    let liked = songs.iter().enumerate().filter(|(at, _)| !(at + number).is_multiple_of(3)).map(|(_, song)| song);
    let mut writes: Vec<Operation> = liked.map(|song| Operation::create("fm.plyr.like", like(song))).collect();
    writes.push(Operation::create("fm.plyr.list", list("liked", "Liked", songs.iter().take(3))));
    fan.apply_writes(&writes).await;
    fan
}

/// Each takes a like back and likes something else, some times.
async fn go_on(writers: &[Account], songs: &[Stored], rounds: usize) {
    for round in 0..rounds {
        for (number, writer) in writers.iter().enumerate() {
            let likes = writer.list_records("fm.plyr.like").await;
            let song = &songs[(round + number) % songs.len()];
            let old = &likes[(round * 7 + number) % likes.len()];
            let writes = [Operation::delete("fm.plyr.like", old.rkey()), Operation::create("fm.plyr.like", like(song))];
            writer.apply_writes(&writes).await;
        }
    }
}

/// Waits as long as a few pauses take: a repo or an account whose host was away is asked about again after half a minute, a minute,
/// two, and so is the host.
async fn until_all(database: &TestDatabase, question: &'static str) {
    until_within(&database.pool, question, Duration::from_mins(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_was_there_before_us_comes_in_complete() {
    let fans = std::env::var("PLYR_ACCOUNTS").map_or(FANS, |text| text.parse().expect("a number"));
    let (network, database) = (Network::start_fast().await, fresh().await);
    let began = Instant::now();
    let artist = network.account("artist").await;
    let titles = (0..8).map(|number| Operation::create("fm.plyr.track", track(&format!("Song {number}"))));
    let songs: Vec<Stored> = artist.apply_writes(&titles.collect::<Vec<_>>()).await.into_iter().flatten().collect();
    let made = stream::iter(0..fans).map(|number| fan(&network, &songs, number)).buffered(PARALLEL);
    let mut accounts: Vec<Account> = made.collect().await;
    println!("{fans} fans in {:.1} s", began.elapsed().as_secs_f64());

    let settings = of_network(&database, &network).with("PLYR_SOURCES", network.source()).with("PLYR_START", "live");
    let program = Program::serve(&settings).await;
    go_on(&accounts[..WRITERS], &songs, 1).await;
    // The PDS goes away and comes back while it is read.
    network.stop_pds().await;
    network.start_pds().await;
    let (gone, left) = (accounts.pop().expect("many"), accounts.pop().expect("many"));
    accounts[WRITERS].deactivate().await;
    left.deactivate().await;
    network.delete_account(gone).await;
    go_on(&accounts[..WRITERS], &songs, 2).await;
    accounts[WRITERS].activate().await;
    accounts.push(artist);

    // Who was deleted may have been found before, or not.
    let enough = "SELECT count(*) >= (SELECT count(DISTINCT actor_id) FROM likes) AND count(*) > 20
        AND bool_and(state = 'done') FROM repos";
    until_all(&database, enough).await;
    let mark = accounts[0].create("fm.plyr.track", track("Mark")).await;
    let shown = async |program: &Program| program.get("/tracks/by-uri", &[("uri", &mark.uri)]).await.map(drop);
    program.wait_until("the last write is seen", shown).await;
    until_all(&database, "SELECT count(*) = 0 FROM account_checks").await;
    // A restored account is read once more, if no host served its repo at the first attempt.
    until_all(&database, enough).await;
    until_all(&database, "SELECT bool_and(state = 'closed') IS NOT FALSE FROM gaps").await;
    let truth = Truth::read(&accounts, &BTreeSet::new()).await;
    println!("{} likes of {} accounts", truth.like_count(), accounts.len());
    truth.assert_shown_by(&program).await;

    let (text, code) = said(&settings, &["reconcile"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(["missing", "extra", "differing"].map(|kind| figure(&text, kind)), [0, 0, 0], "{text}");
    // Some of what was to be read again, the indexer has read: that was no different.
    until_all(&database, "SELECT bool_and(state = 'done') FROM repos").await;
    let drift: Vec<(String, String, i64)> =
        sqlx::query_as("SELECT cause, kind, count FROM drift WHERE cause NOT IN ('discovered', 'first_seen')")
            .fetch_all(&database.pool)
            .await
            .expect("the table is there");
    println!("drift besides first readings: {drift:?}");
    assert!(drift.iter().all(|(cause, ..)| cause != "asked"), "{drift:?}");
    assert_eq!(dump::miscounted(&database.pool).await, Vec::<String>::new());
    println!("{text}in {:.1} s", began.elapsed().as_secs_f64());
}
