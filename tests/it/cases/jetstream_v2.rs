//! T5, T8 and T17 by Jetstream v2, from the wire to the tables.

use serde_json::{Value, json};

use crate::support::{
    database::fresh,
    history::{START_US, did, key, tid, track_uri},
    model::{Model, Write},
    run::{Pump, until, until_as},
    upstream::{Act, Upstream},
    wire::{self, Commit, Operation, like},
};

/// A like by the fan number `number`, sent as the event `seq`.
fn like_as(number: usize, seq: i64) -> (Act, Vec<Write>) {
    let time_us = START_US + seq;
    let rev = tid(START_US + i64::try_from(number).expect("small") * 1_000, 1);
    let body = like(&track_uri(0, 0), "2025-01-01T00:00:00Z");
    let commit = Commit::new(&did(number + 3), rev, vec![Operation::like(&key(1, number), body)]);
    let v1: Value = serde_json::from_slice(&wire::v1_message(&commit, 0, time_us)).expect("JSON");
    let mut payload = v1["commit"].clone();
    payload["$type"] = "network.bsky.jetstream.subscribeEvents#commit".into();
    payload["seq"] = seq.into();
    payload["did"] = v1["did"].clone();
    let time = chrono::DateTime::from_timestamp_micros(time_us).expect("a time");
    payload["time"] = time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true).into();
    let message = json!({"$type": "message", "payload": payload});
    (Act::Text(message.to_string()), commit.writes())
}

fn model<'w>(events: impl Iterator<Item = &'w (Act, Vec<Write>)>) -> Model {
    Model::of(events.flat_map(|(_, writes)| writes))
}

#[tokio::test]
async fn t5_t17_events_positions_and_rejects_of_jetstream_v2() {
    let database = fresh().await;
    let events: Vec<_> =
        (0..4_usize).map(|number| like_as(number, 700 + i64::try_from(number).expect("small"))).collect();
    let acts = events.iter().map(|(act, _)| act.clone());
    let garbage = [r#"{"$type":"message","payload":{"seq":7}}"#, "{", r#"{"$type":"of the future"}"#];
    let mut acts: Vec<Act> = garbage.into_iter().map(|text| Act::Text(text.to_owned())).chain(acts).collect();
    acts.push(Act::Stay);
    let upstream = Upstream::start(move |_| acts.clone()).await;
    let pump = Pump::start(&database.pool, &format!("jetstream2+ws://{}", upstream.address));
    until_as(&database.pool, &model(events.iter())).await;
    until(&database.pool, "SELECT count(*) = 2 FROM rejects WHERE raw_format = 'jetstream_v2'").await;
    until(&database.pool, "SELECT count(*) = 1 FROM positions WHERE kind = 'jetstream_v2_seq' AND value = 703").await;
    pump.stop().await;
}

#[tokio::test]
async fn t8_a_host_that_resets_its_numbers_loses_nothing_it_still_has_and_the_gap_is_known() {
    let database = fresh().await;
    let before: Vec<_> =
        (0..3_usize).map(|number| like_as(number, 90_000 + i64::try_from(number).expect("small"))).collect();
    let after: Vec<_> = (3..7_usize).map(|number| like_as(number, i64::try_from(number).expect("small"))).collect();
    let acts = |events: &[(Act, Vec<Write>)]| events.iter().map(|(act, _)| act.clone()).collect::<Vec<Act>>();
    let (first, second) = (acts(&before), acts(&after));
    let upstream = Upstream::start(move |request| match (request.connection, request.cursor()) {
        (0, _) => first.iter().cloned().chain([Act::WaitForGo, Act::Drop]).collect(),
        // Its numbers began again: what we ask for is far ahead, so it sends what happens now.
        (_, Some(80_002)) => vec![second[3].clone(), Act::Stay],
        (_, Some(0)) => second.iter().cloned().chain([Act::Stay]).collect(),
        (_, other) => panic!("asked for {other:?}"),
    })
    .await;
    let pump = Pump::start(&database.pool, &format!("jetstream2+ws://{}", upstream.address));
    until_as(&database.pool, &model(before.iter())).await;
    until(&database.pool, "SELECT count(*) = 1 FROM positions WHERE value = 90002").await;
    upstream.go();
    until_as(&database.pool, &model(before.iter().chain(&after))).await;
    until(&database.pool, "SELECT count(*) = 1 FROM positions WHERE value = 6").await;
    until(&database.pool, "SELECT count(*) = 1 FROM gaps WHERE reason = 'reset'").await;
    assert!(upstream.has_done("drop"));
    assert_eq!(upstream.cursors(), [Some(0), Some(80_002), Some(0)]);
    pump.stop().await;
}
