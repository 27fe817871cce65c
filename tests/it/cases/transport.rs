//! Cases T1, T3, T4, T17 and T18: what the wire does, through the library's pump, with a scripted upstream.

use std::{sync::Arc, time::Duration};

use tokio_tungstenite::tungstenite::Message as Frame;

use crate::support::{
    database::fresh,
    dump,
    history::{History, Message, Random, START_US, World as Shape, deliver, did, key, tid, track_uri},
    model::{Model, Write, differences},
    run::{Pump, until_as},
    upstream::{Act, Upstream},
    wire::{self, Commit, Operation, like},
    world::World,
};

const AT: &str = "2025-01-01T00:00:00Z";

/// A like by the fan number `number`, sent at `time_us`.
fn like_at(number: usize, time_us: i64) -> (String, Vec<Write>) {
    let rev = tid(START_US + i64::try_from(number).expect("small") * 1_000, 1);
    let commit = Commit::new(&did(number + 3), rev, vec![Operation::like(&key(1, number), like(&track_uri(0, 0), AT))]);
    let text = String::from_utf8(wire::v1_message(&commit, 0, time_us)).expect("JSON is UTF-8");
    (text, commit.writes())
}

#[tokio::test]
async fn t1_ranges_of_a_log_again_and_the_whole_log_again() {
    let mut world = World::new().await;
    let mut random = Random::new(1);
    let history = History::of(Shape { actors: 4, keys: 4, commits: 400 }, &mut random);
    let messages: Vec<Message> = deliver(&history, &mut random).into_iter().flatten().collect();
    for chunk in messages.chunks(50) {
        world.deliver(chunk).await;
        // The same message twice, in one batch and in the next.
        let last = chunk.last().expect("a chunk is not empty").clone();
        world.deliver(&[last.clone(), last]).await;
    }
    world.check().await;
    let (state, ids) = (dump::state(&world.database.pool).await, dump::track_ids(&world.database.pool).await);
    for part in [20, 5, 2, 1] {
        world.restart();
        let from = messages.len() - messages.len() / part;
        let commits: Vec<Message> =
            messages[from..].iter().filter(|message| !message.writes.is_empty()).cloned().collect();
        assert_eq!(world.deliver(&commits).await.applied, 0, "the last {} messages again", messages.len() / part);
        assert_eq!(differences(&state, &dump::state(&world.database.pool).await), Vec::<String>::new());
        assert_eq!(ids, dump::track_ids(&world.database.pool).await);
        world.check().await;
    }
}

/// What a host sends of these events when asked for a cursor: all from there on, inclusive; from the future nothing.
fn from_cursor(events: &[(i64, String)], cursor: Option<i64>) -> Vec<Act> {
    let now_us = chrono::Utc::now().timestamp_micros();
    let wanted = |time_us: i64| cursor.is_none_or(|cursor| cursor <= now_us && time_us >= cursor);
    events.iter().filter(|(time_us, _)| wanted(*time_us)).map(|(_, text)| Act::Text(text.clone())).collect()
}

/// An upstream that sends the first `first` of the events and breaks off; from then on, all that a cursor asks for.
async fn breaks_after(first: usize, events: Vec<(i64, String)>) -> Upstream {
    Upstream::start(move |request| {
        let mut acts = if request.connection == 0 {
            let mut acts: Vec<Act> = events[..first].iter().map(|(_, text)| Act::Text(text.clone())).collect();
            acts.push(Act::WaitForGo);
            acts.push(Act::Drop);
            acts
        } else {
            from_cursor(&events, request.cursor())
        };
        acts.push(Act::Stay);
        acts
    })
    .await
}

/// Sends `first` events, waits until they are committed, breaks the connection, and expects the rest after the next one. The
/// position is then that of the latest event which is not of the future, and nothing is taken for a gap.
async fn survives_a_break(events: Vec<(i64, usize)>, first: usize) {
    let database = fresh().await;
    let sent: Vec<(i64, (String, Vec<Write>))> =
        events.iter().map(|(time_us, number)| (*time_us, like_at(*number, *time_us))).collect();
    let model = |count: usize| Model::of(sent[..count].iter().flat_map(|(_, (_, writes))| writes));
    let upstream =
        breaks_after(first, sent.iter().map(|(time_us, (text, _))| (*time_us, text.clone())).collect()).await;
    let pump = Pump::start(&database.pool, &format!("jetstream+ws://{}", upstream.address));
    until_as(&database.pool, &model(first)).await;
    upstream.go();
    until_as(&database.pool, &model(sent.len())).await;
    assert!(upstream.has_done("drop"), "the connection was not broken");
    assert!(upstream.requests().len() >= 2);
    pump.stop().await;
    let now_us = chrono::Utc::now().timestamp_micros();
    let latest = events.iter().map(|(time_us, _)| *time_us).filter(|time_us| *time_us <= now_us).max();
    let positions: Vec<i64> = dump::positions(&database.pool).await.into_iter().map(|(_, _, value)| value).collect();
    assert_eq!(positions, Vec::from_iter(latest), "the position is of none of the events that count");
    let gaps: Vec<(String, String)> =
        sqlx::query_as("SELECT reason, detail FROM gaps").fetch_all(&database.pool).await.expect("the table is there");
    assert_eq!(gaps, [], "nothing was missed");
}

#[tokio::test]
async fn t3_events_that_share_one_time_are_not_lost_between_connections() {
    // The connection ends between two events of one microsecond: the next one must ask for that microsecond again.
    for first in 1..4 {
        survives_a_break(vec![(START_US, 0), (START_US, 1), (START_US, 2), (START_US, 3), (START_US + 1, 4)], first)
            .await;
    }
}

#[tokio::test]
async fn t4_times_that_run_backwards_lose_nothing() {
    let second = 1_000_000;
    let events = [4, 3, 5, 1, 2, 6, 0].iter().enumerate().map(|(number, step)| (START_US + step * second / 10, number));
    for first in [1, 3, 6] {
        survives_a_break(events.clone().collect(), first).await;
    }
}

#[tokio::test]
async fn t4_a_time_from_another_century_is_no_position() {
    let year = 365 * 86_400 * 1_000_000;
    // A host that stamps an event into the future would, asked for that cursor, send nothing for decades.
    survives_a_break(vec![(START_US, 0), (START_US + 70 * year, 1), (START_US + 1, 2), (START_US + 2, 3)], 2).await;
    // Into the past: the position does not go back, and what follows is not lost.
    survives_a_break(vec![(START_US, 0), (START_US - 20 * year, 1), (START_US + 1, 2), (START_US + 2, 3)], 2).await;
}

/// Texts that are no Jetstream message that we can use; each is one reject.
fn bad_messages() -> Vec<String> {
    let envelope =
        |kind: &str, rest: &str| format!(r#"{{"did":"{}","time_us":{START_US},"kind":"{kind}"{rest}}}"#, did(1));
    // Rejects are kept once per path and rev, so each of these is about a path of its own.
    let commit = |number: usize, (operation, rev, cid, record): (&str, &str, &str, &str)| {
        let fields = format!(
            r#","commit":{{"rev":"{rev}","operation":"{operation}","collection":"fm.plyr.like","rkey":"{}","cid":"{cid}","record":{record}}}"#,
            key(1, 900 + number)
        );
        envelope("commit", &fields)
    };
    let (cid, rev) = (wire::some_cid("x"), key(4, 0));
    vec![
        String::new(),
        "not JSON".to_owned(),
        r#"{"did":"did:plc:ewvi7nxzyoun6zhxrhs64oiz","time_us":17"#.to_owned(),
        "[".repeat(10_000),
        r#"{"a":"#.repeat(10_000),
        "x".repeat(5_000_000),
        format!(r#"{{"pad":"{}"}}"#, "x".repeat(5_000_000)),
        "{}".to_owned(),
        "[]".to_owned(),
        envelope("commit", ""),
        envelope("a-kind-of-tomorrow", ""),
        commit(1, ("replace", &rev, &cid, "{}")),
        commit(2, ("create", "not-a-rev", &cid, "{}")),
        commit(3, ("create", &rev, "not-a-cid", "{}")),
        commit(4, ("create", &rev, &cid, "null")),
        commit(5, ("create", &rev, &cid, "[[[[1]]]]")),
    ]
}

#[tokio::test]
async fn t17_what_cannot_be_read_costs_itself_alone() {
    let database = fresh().await;
    let bad = bad_messages();
    let mut texts = Vec::new();
    let mut writes = Vec::new();
    for (number, text) in bad.iter().enumerate() {
        let (good, meaning) = like_at(number, START_US + i64::try_from(number).expect("few"));
        texts.extend([good, text.clone()]);
        writes.extend(meaning);
    }
    let (last, meaning) = like_at(bad.len(), START_US + 100);
    texts.push(last);
    writes.extend(meaning);
    let upstream = Upstream::start(move |_| {
        let mut acts: Vec<Act> = texts.iter().cloned().map(Act::Text).collect();
        acts.push(Act::Binary(vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0, 0, 0]));
        acts.push(Act::Stay);
        acts
    })
    .await;
    let pump = Pump::start(&database.pool, &format!("jetstream+ws://{}", upstream.address));
    upstream.wait_until(|upstream| upstream.has_done("stay")).await;
    let (likes, expected) = (Model::of(&writes).counts(), i64::try_from(bad.len() + 1).expect("few"));
    let started = std::time::Instant::now();
    loop {
        let state = dump::state(&database.pool).await;
        let counted = likes.iter().all(|(uri, count)| state.get(&format!("count {uri}")) == Some(&count.to_string()));
        let rejects = dump::count_rejects(&database.pool).await;
        if counted && rejects == expected {
            break;
        }
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "{rejects} rejects of {expected}: {:#?}",
            reasons(&database.pool).await
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(upstream.requests().len(), 1, "the connection lives");
    pump.stop().await;
}

async fn reasons(pool: &sqlx::PgPool) -> Vec<(String, String)> {
    sqlx::query_as("SELECT reason, detail FROM rejects ORDER BY id").fetch_all(pool).await.expect("the table is there")
}

#[tokio::test]
async fn t17_broken_frames_of_the_firehose_cost_themselves_alone() {
    let database = fresh().await;
    let rev = |number: i64| tid(START_US + number * 1_000, 1);
    let commit = |number: i64| {
        let number_key = usize::try_from(number).expect("small");
        let operation = Operation::like(&key(1, number_key), like(&track_uri(0, 0), AT));
        Commit::new(&did(1), rev(number), vec![operation])
    };
    let whole = |number: i64| wire::firehose_message(&commit(number), number, START_US);
    let mut cut = whole(50);
    cut.truncate(cut.len() / 2);
    let mut flipped = whole(51);
    let middle = flipped.len() / 2;
    flipped[middle..].iter_mut().for_each(|byte| *byte ^= 0x55);
    let bad: Vec<Vec<u8>> = vec![
        Vec::new(),
        vec![0xff; 40],
        cut,
        flipped,
        vec![0x81; 10_000],
        vec![0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    ];
    let frames: Arc<Vec<(i64, Vec<u8>)>> = Arc::new(
        bad.iter()
            .enumerate()
            .flat_map(|(at, bytes)| {
                let number = i64::try_from(at).expect("few") + 1;
                [(number, whole(number)), (number, bytes.clone())]
            })
            .chain([(20, whole(20))])
            .collect(),
    );
    let writes: Vec<Write> =
        (1..=i64::try_from(bad.len()).expect("few")).chain([20]).flat_map(|number| commit(number).writes()).collect();
    let upstream = Upstream::start(move |request| {
        let cursor = request.cursor().unwrap_or(0);
        let frames = frames.iter().filter(|(number, _)| *number > cursor);
        let mut acts = vec![Act::Burst(frames.map(|(_, bytes)| Frame::binary(bytes.clone())).collect())];
        acts.push(Act::Stay);
        acts
    })
    .await;
    let pump = Pump::start(&database.pool, &format!("firehose+ws://{}", upstream.address));
    until_as_far_as_likes(&database.pool, &Model::of(&writes)).await;
    assert!(dump::count_rejects(&database.pool).await >= i64::try_from(bad.len()).expect("few"));
    pump.stop().await;
}

/// Like [`until_as`], but damaged frames may have left tombstones of their own.
async fn until_as_far_as_likes(pool: &sqlx::PgPool, model: &Model) {
    let started = std::time::Instant::now();
    let live = |state: std::collections::BTreeMap<String, String>| {
        state.into_iter().filter(|(key, _)| !key.starts_with("gone ")).collect::<std::collections::BTreeMap<_, _>>()
    };
    loop {
        let lines = differences(&live(model.state()), &live(dump::state(pool).await));
        if lines.is_empty() {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{}", lines.join("\n"));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn t18_a_single_event_is_committed_promptly() {
    let database = fresh().await;
    let sent: Vec<(String, Vec<Write>)> = (0..10).map(|number| like_at(number, START_US + 1_000)).collect();
    let texts: Vec<String> = sent.iter().map(|(text, _)| text.clone()).collect();
    let upstream = Upstream::start(move |_| {
        let mut acts: Vec<Act> = texts.iter().flat_map(|text| [Act::WaitForGo, Act::Text(text.clone())]).collect();
        acts.push(Act::Stay);
        acts
    })
    .await;
    let pump = Pump::start(&database.pool, &format!("jetstream+ws://{}", upstream.address));
    upstream.wait_until(|upstream| !upstream.requests().is_empty()).await;
    let mut delays = Vec::new();
    for count in 1..=sent.len() {
        upstream.go();
        upstream
            .wait_until(|upstream| upstream.done().iter().filter(|(_, name)| name == "text").count() == count)
            .await;
        let model = Model::of(sent[..count].iter().flat_map(|(_, writes)| writes));
        delays.push(until_as(&database.pool, &model).await);
    }
    delays.sort();
    println!("from sent to read back: {delays:?}");
    // On an idle machine it is a few milliseconds; here others may be compiling.
    assert!(delays[delays.len() / 2] < Duration::from_millis(500), "{delays:?}");
    pump.stop().await;
}
