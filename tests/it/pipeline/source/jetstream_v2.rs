//! T5 to T11 as Jetstream v2 has them: sequence numbers of one host, errors before the upgrade, notices in the stream.

use std::time::{Duration, Instant};

use plyr_likes::{
    model::PositionKind,
    source::{Asked, Connection, Delivery, Dialect, JetstreamSeq, Lost, Opening, SourceSpec, Start},
};
use serde_json::json;

use super::{Followed, Setting, quick};
use crate::support::upstream::{Act, Request, Upstream};

/// From here on a host takes a number for microseconds.
const LONG_AGO: i64 = 1_000_000_000_000_000;
const MARGIN: i64 = 10_000;

fn setting(committed: Option<i64>) -> Setting {
    Setting { committed, ..Setting::of(Dialect::JetstreamV2) }
}

/// An account event with that number.
fn event(seq: i64) -> Act {
    let payload = json!({"$type": "network.bsky.jetstream.subscribeEvents#account", "seq": seq, "did": "did:plc:a",
        "time": "2024-09-09T19:46:02Z", "account": {"active": true}});
    Act::Text(json!({"$type": "message", "payload": payload}).to_string())
}

fn info(name: &str) -> Act {
    let payload = json!({"$type": "network.bsky.jetstream.subscribeEvents#info", "name": name});
    Act::Text(json!({"$type": "message", "payload": payload}).to_string())
}

fn refusal(error: &str, message: &str) -> Vec<Act> {
    let body = json!({"error": error, "message": message}).to_string();
    vec![Act::Answer { status: 400, headers: Vec::new(), body }]
}

fn seq_of(message: &[u8]) -> i64 {
    let read: serde_json::Value = serde_json::from_slice(message).expect("JSON");
    read["payload"]["seq"].as_i64().expect("a number")
}

fn seqs(delivery: &Delivery) -> Vec<i64> {
    delivery.messages.iter().map(|message| seq_of(message)).collect()
}

async fn opening(followed: &mut Followed) -> Opening {
    followed.delivery().await.opening.expect("the first delivery of a connection")
}

/// A host that keeps the numbers from a floor on and says so, or not; sends one event to each client that may begin.
async fn host_with_floor(floor: i64, says_so: bool, knows_moments: bool) -> Upstream {
    Upstream::start(move |request| {
        let Some(cursor) = request.cursor() else { return vec![event(floor + 500), Act::Stay] };
        if cursor >= LONG_AGO && knows_moments {
            return vec![info("OutdatedCursor"), event(floor), Act::Stay];
        }
        if cursor < floor || cursor >= LONG_AGO {
            let place = if says_so { format!(" below lookback floor {floor}") } else { " is too old".to_owned() };
            return refusal("CursorTooOld", &format!("cursor {cursor}{place}; re-backfill from your last seq"));
        }
        vec![event(cursor), Act::Stay]
    })
    .await
}

#[tokio::test]
async fn a_host_is_asked_for_all_kinds_and_exactly_our_collections() {
    let upstream = Upstream::start(|_| vec![Act::Stay]).await;
    let followed = Setting { start: Start::Live, ..setting(None) }.follow(&upstream);
    upstream.wait_until(|upstream| upstream.has_done("stay")).await;
    followed.stop().await;
    let request = upstream.requests().remove(0);
    assert_eq!(request.path, "/xrpc/network.bsky.jetstream.subscribeEvents");
    assert_eq!(request.subprotocols, ["xrpc.v1.json"]);
    assert_eq!(request.all("kinds"), ["commit", "identity", "account", "sync"]);
    let ours = ["fm.plyr.like", "fm.plyr.list", "fm.plyr.track", "fm.plyr.actor.profile"];
    assert_eq!(request.all("collections"), ours);
    assert_eq!(request.query.len(), 8, "live: neither a cursor nor anything else");
}

#[tokio::test]
async fn t5_cursors_are_numbers_of_this_very_host() {
    let source = |text| SourceSpec::parse(text).expect("a source");
    let (here, there) = (source("jetstream2+wss://here"), source("jetstream2+wss://there"));
    assert_eq!(here.position(7).kind, PositionKind::JetstreamV2Seq);
    assert!(JetstreamSeq::of(&here, &there.position(7)).is_err());
    assert!(JetstreamSeq::of(&here, &source("jetstream+wss://here").position(7)).is_err());
    assert!(JetstreamSeq::of(&source("firehose+wss://here"), &here.position(7)).is_err());
    let of = |value| JetstreamSeq::of(&here, &here.position(value)).expect("its own").seq();
    assert_eq!((of(7), of(-7), of(i64::MAX)), (7, 0, LONG_AGO - 1), "beyond that it would be a moment");
    assert_eq!(JetstreamSeq::of(&here, &here.position(7)).map(|cursor| cursor.rewound(MARGIN).seq()), Ok(0));
}

#[tokio::test]
async fn a_first_start_takes_all_that_the_host_keeps() {
    let cases = [
        (0, true, true, vec![Some(0)], Asked::Oldest, 0),
        (700, true, true, vec![Some(0), Some(700)], Asked::Oldest, 700),
        (700, false, true, vec![Some(0), Some(LONG_AGO)], Asked::Oldest, 700),
        (700, false, false, vec![Some(0), Some(LONG_AGO), None], Asked::Live, 1200),
    ];
    for (floor, says_so, knows_moments, cursors, asked, first) in cases {
        let upstream = host_with_floor(floor, says_so, knows_moments).await;
        let mut followed = setting(None).follow(&upstream);
        let delivery = followed.delivery().await;
        assert_eq!(delivery.opening, Some(Opening { committed: None, asked, lost: None }));
        assert_eq!(delivery.messages.last().map(|message| seq_of(message)), Some(first));
        assert_eq!(upstream.cursors(), cursors, "and nothing is asked twice");
        followed.stop().await;
    }
}

#[tokio::test]
async fn t6_too_old_is_reported_and_what_is_left_is_read() {
    let cases = [
        // The host keeps what follows the position, only not the whole margin: nothing is lost.
        (50_000, 45_000, true, vec![Some(40_000), Some(45_000)], Asked::From(45_000), None),
        (50_000, 50_001, true, vec![Some(40_000), Some(50_001)], Asked::From(50_001), None),
        (50_000, 45_000, false, vec![Some(40_000), Some(50_000)], Asked::From(50_000), None),
        (50_000, 50_002, true, vec![Some(40_000), Some(50_002)], Asked::Oldest, Some(Lost::TooOld)),
        (
            50_000,
            70_000,
            false,
            vec![Some(40_000), Some(50_000), Some(0), Some(LONG_AGO)],
            Asked::Oldest,
            Some(Lost::TooOld),
        ),
    ];
    for (committed, floor, says_so, cursors, asked, lost) in cases {
        let upstream = host_with_floor(floor, says_so, true).await;
        let mut followed = setting(Some(committed)).follow(&upstream);
        let opened = opening(&mut followed).await;
        assert_eq!((opened.asked, &opened.lost), (asked, &lost), "floor {floor}, says so: {says_so}");
        assert_eq!(opened.committed, Some(followed.spec.position(committed)));
        assert_eq!(upstream.cursors(), cursors);
        followed.stop().await;
    }
}

#[tokio::test]
async fn t6_of_several_numbers_the_floor_is_found() {
    let upstream = Upstream::start(|request| match request.cursor() {
        Some(cursor) if cursor < 700 => refusal("CursorTooOld", "36 h are kept: floor 700, tip 99000"),
        _ => vec![event(700), Act::Stay],
    })
    .await;
    let mut followed = setting(None).follow(&upstream);
    assert_eq!(seqs(&followed.delivery().await), [700]);
    assert_eq!(upstream.cursors(), [Some(0), Some(36), Some(700)]);
    followed.stop().await;
}

#[tokio::test]
async fn t6_a_loss_is_reported_before_any_message() {
    let upstream = Upstream::start(|request| match request.cursor() {
        Some(900) => vec![Act::Stay],
        _ => refusal("CursorTooOld", "cursor below lookback floor 900"),
    })
    .await;
    let mut followed = setting(Some(5)).follow(&upstream);
    let delivery = followed.delivery().await;
    assert!(delivery.messages.is_empty());
    assert_eq!(delivery.opening.expect("how it began").lost, Some(Lost::TooOld));
    followed.stop().await;
}

#[tokio::test]
async fn t6_a_host_that_always_says_too_old_is_not_asked_for_ever() {
    let upstream = Upstream::start(|request| match request.cursor() {
        Some(cursor) => refusal("CursorTooOld", &format!("cursor {cursor} below lookback floor {}", cursor + 7)),
        None => vec![event(1_000), Act::Stay],
    })
    .await;
    let mut followed = setting(Some(5)).follow(&upstream);
    let opened = opening(&mut followed).await;
    assert_eq!((opened.asked, opened.lost), (Asked::Live, Some(Lost::TooOld)));
    assert_eq!(upstream.cursors(), [Some(0), Some(7), Some(14), Some(21), Some(LONG_AGO), None]);
    followed.stop().await;
}

#[tokio::test]
async fn t6_after_progress_the_position_is_asked_for_again() {
    let upstream = Upstream::start(|request| match (request.connection, request.cursor()) {
        (0, _) => refusal("CursorTooOld", "cursor below lookback floor 90000"),
        (1, Some(90_000)) => vec![event(95_000), Act::WaitForGo, Act::Close(1001)],
        _ => vec![event(95_001), Act::Stay],
    })
    .await;
    let mut followed = setting(Some(5)).follow(&upstream);
    assert_eq!(opening(&mut followed).await.lost, Some(Lost::TooOld));
    followed.commit(95_000);
    upstream.go();
    let opened = opening(&mut followed).await;
    assert_eq!((opened.asked, opened.lost), (Asked::From(95_000), None));
    followed.stop().await;
}

#[tokio::test]
async fn t7_future_position_of_a_jetstream() {
    // The newer servers say so; others begin with what happens now, which the numbers show.
    let cases =
        [(vec![info("FutureCursor"), event(300), Act::Stay], Lost::Future), (vec![event(300), Act::Stay], Lost::Reset)];
    for (first, lost) in cases {
        let upstream = Upstream::start(move |request| match request.connection {
            0 => first.clone(),
            _ => vec![event(1), event(2), Act::Stay],
        })
        .await;
        let mut followed = setting(Some(50_000)).follow(&upstream);
        let delivery = followed.delivery().await;
        let opened = delivery.opening.as_ref().expect("how it began");
        assert_eq!((opened.asked, opened.lost.as_ref()), (Asked::Oldest, Some(&lost)));
        assert_eq!(opened.committed, Some(followed.spec.position(50_000)));
        let mut seen = seqs(&delivery);
        while seen.len() < 2 {
            seen.extend(seqs(&followed.delivery().await));
        }
        assert_eq!(seen, [1, 2], "nothing of the first connection: its position would hide what was missed");
        assert_eq!(upstream.cursors(), [Some(40_000), Some(0)]);
        followed.stop().await;
    }
}

#[tokio::test]
async fn t7_future_position_of_a_firehose() {
    // {"op": -1} {"error": "FutureCursor"}
    let frame = b"\xa1bop\x20\xa1eerrorlFutureCursor".to_vec();
    let upstream = Upstream::start(move |request| match request.connection {
        0 => vec![Act::Binary(frame.clone()), Act::Close(1008)],
        _ => vec![Act::Binary(b"one".to_vec()), Act::Stay],
    })
    .await;
    let mut followed = Setting { committed: Some(50_000), ..Setting::of(Dialect::Firehose) }.follow(&upstream);
    let delivery = followed.delivery().await;
    assert_eq!(delivery.opening.expect("how it began").lost, Some(Lost::Future));
    assert_eq!(upstream.cursors(), [Some(50_000), Some(0)]);
    followed.stop().await;
}

#[tokio::test]
async fn t8_after_a_crash_the_margin_is_read_again_and_after_an_orderly_end_it_is_not() {
    let ends = [Act::Drop, Act::Close(1001), Act::Close(1011), Act::Close(1000), Act::ResetInsideFrame];
    let upstream = Upstream::start(move |request| {
        let end = ends.get(request.connection).cloned().unwrap_or(Act::Stay);
        vec![event(request.cursor().expect("a cursor") + 30_000), Act::WaitForGo, end]
    })
    .await;
    let mut followed = setting(Some(100_000)).follow(&upstream);
    let mut committed = 100_000;
    let mut expected = vec![Some(90_000)];
    for in_order in [false, true, false, true, false] {
        committed = seqs(&followed.delivery().await)[0];
        followed.commit(committed);
        upstream.go();
        expected.push(Some(if in_order { committed } else { committed - MARGIN }));
    }
    followed.delivery().await;
    assert!(committed > 200_000);
    assert_eq!(upstream.cursors(), expected);
    for fault in ["drop", "close 1011", "reset"] {
        assert!(upstream.has_done(fault));
    }
    followed.stop().await;
}

#[tokio::test]
async fn t8_numbers_given_again_are_read_again() {
    // Before its crash the host gave numbers up to 20,000; after it, it knows of 15,000 and gives the others again.
    let upstream = Upstream::start(|request| match request.connection {
        0 => vec![event(20_000), Act::WaitForGo, Act::Drop],
        _ => (15_000..15_003).map(event).chain([Act::Stay]).collect(),
    })
    .await;
    let mut followed = setting(Some(19_000)).follow(&upstream);
    assert_eq!(seqs(&followed.delivery().await), [20_000]);
    followed.commit(20_000);
    upstream.go();
    let delivery = followed.delivery().await;
    assert_eq!(
        delivery.opening.as_ref().map(|opening| (opening.asked, opening.lost.clone())),
        Some((Asked::From(10_000), None))
    );
    assert_eq!(seqs(&delivery)[0], 15_000);
    followed.stop().await;
}

#[tokio::test]
async fn t9_a_host_that_drops_us_every_few_events_still_makes_progress() {
    let upstream = Upstream::start(|request| {
        let cursor = request.cursor().expect("a cursor");
        (cursor..cursor + 500).map(event).chain([Act::Drop]).collect()
    })
    .await;
    let mut followed = setting(Some(20_000)).follow(&upstream);
    let mut highest = 20_000;
    while highest < 21_000 {
        let last = seqs(&followed.delivery().await).into_iter().max().unwrap_or_default();
        if last > highest {
            highest = last;
            followed.commit(highest);
        }
        assert!(upstream.requests().len() < 300, "it goes round in circles at {highest}");
    }
    followed.stop().await;
}

#[tokio::test]
async fn t9_503_waits_as_long_as_it_is_asked_to() {
    let upstream = Upstream::start(|request| match request.connection {
        0 => vec![Act::Answer {
            status: 503,
            headers: vec![("Retry-After", "1".to_owned())],
            body: r#"{"error":"ServiceUnavailable","message":"cursor replay warming up"}"#.to_owned(),
        }],
        _ => vec![event(7), Act::Stay],
    })
    .await;
    let began = Instant::now();
    let mut followed = setting(None).follow(&upstream);
    followed.wait_for_reason("ServiceUnavailable: cursor replay warming up").await;
    followed.delivery().await;
    assert!(began.elapsed() >= Duration::from_secs(1) && upstream.requests().len() == 2);
    followed.stop().await;
}

#[tokio::test]
async fn t10_consumer_too_slow_resumes_from_the_committed_position() {
    let error = json!({"$type": "error", "error": "ConsumerTooSlow", "message": "reconnect"}).to_string();
    let upstream = Upstream::start(move |request| match request.connection {
        0 => vec![event(60_000), event(60_001), Act::WaitForGo, Act::Text(error.clone()), Act::Close(1008)],
        _ => vec![event(60_001), Act::Stay],
    })
    .await;
    let mut followed = setting(Some(50_000)).follow(&upstream);
    followed.texts(2).await;
    // Of two that came, one is in the database.
    followed.commit(60_000);
    upstream.go();
    assert!(followed.texts(1).await[0].contains("ConsumerTooSlow"), "the decoder reports it");
    assert_eq!(seqs(&followed.delivery().await), [60_001]);
    assert_eq!(upstream.cursors(), [Some(40_000), Some(50_000)]);
    followed.stop().await;
}

#[tokio::test]
async fn t11_invalid_request_of_a_jetstream_is_final() {
    let upstream = Upstream::start(|_| refusal("InvalidRequest", "unknown kind \"sync\"")).await;
    let mut followed = setting(None).follow(&upstream);
    let refused = followed.wait_for(|connection| matches!(connection, Connection::Refused { .. })).await;
    let reason = "it answered HTTP 400 InvalidRequest: unknown kind \"sync\"".to_owned();
    assert_eq!(refused, Connection::Refused { reason });
    assert_eq!(upstream.requests().len(), 1);
    followed.stop().await;
}

#[tokio::test]
async fn a_host_that_names_no_subprotocol_is_taken_at_its_word() {
    let upstream = Upstream::start(|_| vec![Act::NoSubprotocol, event(7), Act::Stay]).await;
    let mut followed = setting(None).follow(&upstream);
    assert_eq!(seqs(&followed.delivery().await), [7]);
    let offered: Vec<Vec<String>> =
        upstream.requests().into_iter().map(|request: Request| request.subprotocols).collect();
    assert_eq!(offered, [vec!["xrpc.v1.json".to_owned()], vec![]]);
    followed.stop().await;
}

#[tokio::test]
async fn what_comes_first_need_not_have_a_number() {
    // Neither a notice nor what cannot be read says anything of where the host begins.
    let upstream = Upstream::start(|_| {
        vec![
            info("Hello"),
            Act::Text("{".to_owned()),
            Act::Text(r#"{"$type":"greeting"}"#.to_owned()),
            event(41_000),
            Act::Stay,
        ]
    })
    .await;
    let mut followed = setting(Some(50_000)).follow(&upstream);
    assert_eq!(followed.texts(4).await.len(), 4);
    assert_eq!(upstream.requests().len(), 1);
    followed.stop().await;
    let quiet = Setting { tuning: quick(), ..setting(Some(50_000)) };
    assert_eq!(quiet.tuning.rewind_events, MARGIN);
}
