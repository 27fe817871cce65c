//! What an upstream is asked for.

use std::time::Duration;

use plyr_likes::{
    model::{Position, PositionKind},
    source::{Asked, Dialect, FirehoseSeq, JetstreamMicros, Lost, Opening, SourceSpec, Start, Tuning},
};

use super::{NOW_US, Setting, quick};
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
    let committed = Some(1_725_911_162_329_308);
    let request = first_request(Setting { committed, start: Start::Live, ..Setting::of(Dialect::JetstreamV1) }).await;
    assert_eq!(request.cursor(), Some(1_725_911_157_329_308));
    let tuning = Tuning { rewind: Duration::from_secs(100), ..quick() };
    let request = first_request(Setting { committed, tuning, ..Setting::of(Dialect::JetstreamV1) }).await;
    assert_eq!(request.cursor(), Some(1_725_911_062_329_308));
}

#[tokio::test]
async fn firehose_cursor_is_the_committed_number() {
    let request = first_request(Setting { committed: Some(42), ..Setting::of(Dialect::Firehose) }).await;
    assert_eq!(request.path, "/xrpc/com.atproto.sync.subscribeRepos");
    assert_eq!(request.query, [("cursor".to_owned(), "42".to_owned())]);
    let request = first_request(Setting::of(Dialect::Firehose)).await;
    assert_eq!(request.cursor(), Some(0), "the oldest");
    let request = first_request(Setting { start: Start::Live, ..Setting::of(Dialect::Firehose) }).await;
    assert_eq!(request.query, [], "live");
}

/// How the first connection begins, in the source's own words and in what reaches the upstream.
async fn first_opening(setting: Setting) -> (Opening, Request) {
    let upstream = Upstream::start(|_| vec![Act::Text("one".into()), Act::Stay]).await;
    let mut followed = setting.follow(&upstream);
    let opening = followed.delivery().await.opening.expect("the first delivery");
    followed.stop().await;
    (opening, upstream.requests().remove(0))
}

#[tokio::test]
async fn t5_a_position_of_another_source_is_never_sent() {
    let value = 1_725_911_162_329_308;
    for start in [Start::Oldest, Start::Live] {
        for (dialect, own, oldest) in
            [(Dialect::JetstreamV1, "jetstream", OLDEST_US), (Dialect::Firehose, "firehose", 0)]
        {
            let foreign = [
                (format!("{own}+ws://other.example"), dialect.position_kind()),
                (format!("{own}+ws://other.example"), PositionKind::JetstreamV2Seq),
                ("jetstream2+ws://other.example".to_owned(), PositionKind::JetstreamV2Seq),
            ];
            for (source, kind) in foreign {
                let stored = Some(Position { source: source.into(), kind, value });
                let (opening, request) =
                    first_opening(Setting { stored: stored.clone(), start, ..Setting::of(dialect) }).await;
                assert_eq!(request.cursor(), Some(oldest));
                assert_eq!(opening, Opening { committed: stored, asked: Asked::Oldest, lost: Some(Lost::Mismatch) });
            }
        }
    }
}

#[tokio::test]
async fn t7_a_position_in_the_future_asks_for_the_oldest() {
    for (ahead_us, lost) in
        [(60_000_000, None), (60_000_001, Some(Lost::Future)), (i64::MAX - NOW_US, Some(Lost::Future))]
    {
        let committed = Some(NOW_US + ahead_us);
        let (opening, request) = first_opening(Setting { committed, ..Setting::of(Dialect::JetstreamV1) }).await;
        let asked = if lost.is_some() { OLDEST_US } else { NOW_US + ahead_us - 5_000_000 };
        assert_eq!((request.cursor(), opening.lost), (Some(asked), lost));
        assert_eq!(opening.committed.map(|position| position.value), committed);
    }
}

#[tokio::test]
async fn openings_say_what_was_asked() {
    let of = |committed, start, dialect| first_opening(Setting { committed, start, ..Setting::of(dialect) });
    let (opening, _) = of(Some(NOW_US), Start::Live, Dialect::JetstreamV1).await;
    assert_eq!((opening.asked, opening.lost), (Asked::From(NOW_US - 5_000_000), None));
    let (opening, _) = of(Some(42), Start::Live, Dialect::Firehose).await;
    assert_eq!((opening.asked, opening.lost), (Asked::From(42), None));
    for dialect in [Dialect::JetstreamV1, Dialect::Firehose] {
        let (opening, _) = of(None, Start::Oldest, dialect).await;
        assert_eq!(opening, Opening { committed: None, asked: Asked::Oldest, lost: None });
        let (opening, _) = of(None, Start::Live, dialect).await;
        assert_eq!(opening, Opening { committed: None, asked: Asked::Live, lost: None });
    }
}

#[test]
fn t5_cursors_are_made_from_positions_of_their_own_source_only() {
    let source = |text| SourceSpec::parse(text).expect("a source");
    let (here, there) = (source("jetstream+ws://here"), source("jetstream+ws://there"));
    let firehose = source("firehose+ws://here");
    let error = JetstreamMicros::of(&here, &there.position(7)).expect_err("of another host");
    assert_eq!(
        error.to_string(),
        "a position of jetstream+ws://there (jetstream_v1_us 7) is of no use to jetstream+ws://here"
    );
    assert!(JetstreamMicros::of(&here, &firehose.position(7)).is_err());
    assert!(JetstreamMicros::of(&firehose, &firehose.position(7)).is_err(), "microseconds are no firehose's");
    assert!(FirehoseSeq::of(&firehose, &here.position(7)).is_err());
    assert!(FirehoseSeq::of(&here, &here.position(7)).is_err());
    let mixed = Position { kind: PositionKind::FirehoseSeq, ..here.position(7) };
    assert!(JetstreamMicros::of(&here, &mixed).is_err(), "the host is right, the kind is not");
    assert!(here.position(1).partial_cmp(&there.position(2)).is_none() && here.position(1) < here.position(2));

    let oldest = Ok(JetstreamMicros::oldest(&here));
    assert_eq!(JetstreamMicros::of(&here, &here.position(7)), oldest, "below that it would be a sequence number");
    assert_eq!(JetstreamMicros::of(&here, &here.position(i64::MIN)), oldest);
    let late = JetstreamMicros::of(&here, &here.position(i64::MAX)).expect("microseconds");
    assert_eq!(Ok(late.rewound(Duration::MAX)), oldest);
    assert_eq!(FirehoseSeq::of(&firehose, &firehose.position(-1)), Ok(FirehoseSeq::oldest(&firehose)));
}
