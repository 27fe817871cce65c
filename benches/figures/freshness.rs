//! Freshness: how long after the PDS has answered a write the API shows it.
//!
//! The PDS is real and local, polls its own sequencer every 5 ms (its default, up to a second, would be all that one sees), and
//! the program follows its firehose. A client asks for the like's status with a millisecond between two questions.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::network::{Account, Network, Operation, Stored, like, track};

/// Likes that are not counted: connections open and plans are made.
const WARM_UP_COUNT: usize = 10;
/// Writes are spread over a few rounds of the sequencer's: each would begin when the one before has been seen, always at one moment of a
/// round, and which moment that is weighs more than what is measured.
const WRITES_OVER: Duration = Duration::from_millis(20);
/// So are the first questions, over the time between two of them, which is some milliseconds with the answer.
const QUESTIONS_OVER: Duration = Duration::from_millis(4);
const POLL_INTERVAL: Duration = Duration::from_millis(1);
/// Longer than this is no freshness at all.
const VISIBLE_TIMEOUT: Duration = Duration::from_secs(10);
/// As many operations as the PDS takes in one commit.
const OPERATIONS_MAX: usize = 200;

/// Milliseconds from commit to visible.
#[derive(Debug, Clone, Copy)]
pub struct Freshness {
    /// Half of the likes were visible by then.
    pub p50_ms: f64,
    /// All but one in a hundred.
    pub p99_ms: f64,
    /// Of how many.
    pub like_count: usize,
}

/// Writes likes one after the other on the network's PDS, and waits for each at the API of a program that follows it. Once per
/// network: it creates the account `freshness.test`.
pub async fn measure_freshness(network: &Network, api: &str, like_count: usize) -> Freshness {
    let fan = network.account("freshness").await;
    let tracks = create_tracks(&fan, like_count + WARM_UP_COUNT).await;
    let client = crate::http::client(VISIBLE_TIMEOUT);
    let question = format!("{api}/xrpc/fm.plyr.feed.getLikeStatuses");
    let mut delays_ms = Vec::with_capacity(like_count);
    for (number, track) in tracks.iter().enumerate() {
        tokio::time::sleep(spread(number, WRITES_OVER)).await;
        fan.create("fm.plyr.like", like(track)).await;
        let written = Instant::now();
        tokio::time::sleep(spread(number * 7, QUESTIONS_OVER)).await;
        while !is_liked(client.get(&question).query(&[("actor", &fan.did), ("uris", &track.uri)])).await {
            assert!(written.elapsed() < VISIBLE_TIMEOUT, "{} is not seen within {VISIBLE_TIMEOUT:?}", track.uri);
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        if number >= WARM_UP_COUNT {
            delays_ms.push(written.elapsed().as_secs_f64() * 1000.0);
        }
    }
    delays_ms.sort_by(f64::total_cmp);
    Freshness { p50_ms: percentile(&delays_ms, 50), p99_ms: percentile(&delays_ms, 99), like_count }
}

/// A pause before the step of this number: evenly spread over a time, so that what is measured does not hang on the moment at which it
/// begins in a round of its surroundings.
fn spread(number: usize, time: Duration) -> Duration {
    const GOLDEN_RATIO: f64 = 0.618_033_988_749_895;
    #[expect(clippy::cast_precision_loss, reason = "there are a few thousand")]
    time.mul_f64((number as f64 * GOLDEN_RATIO).fract())
}

async fn create_tracks(owner: &Account, count: usize) -> Vec<Stored> {
    let titles: Vec<usize> = (0..count).collect();
    let mut tracks = Vec::with_capacity(count);
    for part in titles.chunks(OPERATIONS_MAX) {
        let operations: Vec<Operation> =
            part.iter().map(|title| Operation::create("fm.plyr.track", track(&title.to_string()))).collect();
        tracks.extend(owner.apply_writes(&operations).await.into_iter().flatten());
    }
    tracks
}

/// False as long as the answer is no or, before the actor is known, none at all.
async fn is_liked(question: reqwest::RequestBuilder) -> bool {
    let response = question.send().await.expect("the API answers");
    let answer: Value = response.json().await.unwrap_or_default();
    answer["statuses"][0]["liked"] == true
}

/// The smallest value that `percent` of the sorted ones do not exceed.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
}
