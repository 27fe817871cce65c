//! What an upstream is asked for.

use std::time::Duration;

use plyr_likes::source::{Dialect, FirehoseSeq, JetstreamMicros, Start, Tuning};

use super::{Setting, micros, quick, seq};
use crate::support::upstream::{Act, Request, Upstream};

const OLDEST_US: i64 = 1_000_000_000_000_000;

async fn first_request(setting: Setting) -> Request {
    let upstream = Upstream::start(|_| vec![Act::Stay]).await;
    let followed = setting.follow(&upstream);
    upstream.wait_until(|upstream| upstream.has_done("stay")).await;
    followed.stop().await;
    upstream.requests().remove(0)
}

#[tokio::test]
async fn jetstream_is_asked_for_exactly_our_collections() {
    let request = first_request(Setting { start: Start::Live, ..Setting::of(Dialect::JetstreamV1) }).await;
    assert_eq!(request.path, "/subscribe");
    let names: Vec<_> = request.query.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["wantedCollections"; 4], "live: neither a cursor nor anything else");
    assert_eq!(
        request.all("wantedCollections"),
        ["fm.plyr.like", "fm.plyr.list", "fm.plyr.track", "fm.plyr.actor.profile"]
    );
}

#[tokio::test]
async fn jetstream_without_a_position_starts_at_the_oldest() {
    let request = first_request(Setting::of(Dialect::JetstreamV1)).await;
    assert_eq!(request.cursor(), Some(OLDEST_US), "smaller would be a sequence number to a newer server");
}

#[tokio::test]
async fn jetstream_position_is_rewound_by_the_margin() {
    let committed = Some(micros(1_725_911_162_329_308));
    let request = first_request(Setting { committed, start: Start::Live, ..Setting::of(Dialect::JetstreamV1) }).await;
    assert_eq!(request.cursor(), Some(1_725_911_157_329_308));
    let tuning = Tuning { rewind: Duration::from_secs(100), ..quick() };
    let request = first_request(Setting { committed, tuning, ..Setting::of(Dialect::JetstreamV1) }).await;
    assert_eq!(request.cursor(), Some(1_725_911_062_329_308));
}

#[tokio::test]
async fn firehose_cursor_is_the_committed_number() {
    let request = first_request(Setting { committed: Some(seq(42)), ..Setting::of(Dialect::Firehose) }).await;
    assert_eq!(request.path, "/xrpc/com.atproto.sync.subscribeRepos");
    assert_eq!(request.query, [("cursor".to_owned(), "42".to_owned())]);
    let request = first_request(Setting::of(Dialect::Firehose)).await;
    assert_eq!(request.cursor(), Some(0), "the oldest");
    let request = first_request(Setting { start: Start::Live, ..Setting::of(Dialect::Firehose) }).await;
    assert_eq!(request.query, [], "live");
}

#[tokio::test]
async fn a_position_of_another_number_space_is_never_sent() {
    for start in [Start::Oldest, Start::Live] {
        let request = first_request(Setting {
            committed: Some(seq(1_725_911_162_329_308)),
            start,
            ..Setting::of(Dialect::JetstreamV1)
        })
        .await;
        assert_eq!(request.cursor(), Some(OLDEST_US));
        let request = first_request(Setting {
            committed: Some(micros(1_725_911_162_329_308)),
            start,
            ..Setting::of(Dialect::Firehose)
        })
        .await;
        assert_eq!(request.cursor(), Some(0));
    }
}

#[test]
fn cursors_are_made_from_their_own_positions_only() {
    let error = JetstreamMicros::of(seq(7)).expect_err("a sequence number");
    assert_eq!(error.to_string(), "a position of firehose_seq (7) is of no use where one of jetstream_v1_us is meant");
    assert!(FirehoseSeq::of(micros(7)).is_err());
    assert_eq!(JetstreamMicros::of(micros(7)), Ok(JetstreamMicros::OLDEST), "below that it would be a sequence number");
    assert_eq!(JetstreamMicros::of(micros(i64::MIN)), Ok(JetstreamMicros::OLDEST));
    let late = JetstreamMicros::of(micros(i64::MAX)).expect("microseconds");
    assert_eq!(late.rewound(Duration::MAX), JetstreamMicros::OLDEST);
    assert_eq!(FirehoseSeq::of(seq(-1)), Ok(FirehoseSeq::OLDEST));
}
