//! The fake upstreams themselves: what they send is read by our own decoders, and means what the world says.

use std::{collections::BTreeMap, time::Duration};

use futures_util::StreamExt as _;
use plyr_likes::{
    decode::{Frame, Item, firehose, jetstream_v1},
    model::{Collections, EventBody},
};
use plyr_likes_sim::{
    event::What,
    fault::{Fault, Plan, When},
    host::Habits,
    sim::{HostOptions, Options, Sim},
    world::{Mix, Shape},
};
use serde_json::Value;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, protocol::CloseFrame},
};

/// After which a stream that says nothing has said all.
const QUIET: Duration = Duration::from_millis(400);
const V1: &str = "/subscribe?wantedCollections=fm.plyr.*&wantedCollections=app.bsky.feed.like&cursor=1";
const V2: &str = "/xrpc/network.bsky.jetstream.subscribeEvents?cursor=1";
const FIREHOSE: &str = "/xrpc/com.atproto.sync.subscribeRepos?cursor=0";

fn a_world(seed: u64) -> Shape {
    Shape { seed, actors: 12, tracks: 6, events: 400, mix: Mix::UNREST, ..Shape::default() }
}

async fn a_sim(host: HostOptions) -> Sim {
    Sim::start(Options { shape: a_world(3), hosts: vec![host], ..Options::default() }).await.unwrap()
}

fn with(plan: Plan) -> HostOptions {
    HostOptions { plan, ..HostOptions::default() }
}

/// How a stream ended.
#[derive(Debug)]
enum End {
    Quiet,
    Closed(Option<CloseFrame>),
    Broken,
}

/// What a stream sends until it is quiet or ends.
async fn read(sim: &Sim, path: &str) -> (Vec<Message>, End) {
    let (mut socket, _) = connect_async(format!("ws://{}{path}", sim.address(0))).await.unwrap();
    let mut messages = Vec::new();
    loop {
        match tokio::time::timeout(QUIET, socket.next()).await {
            Ok(Some(Ok(Message::Close(frame)))) => return (messages, End::Closed(frame)),
            Ok(Some(Ok(message))) => messages.push(message),
            Ok(Some(Err(_))) => return (messages, End::Broken),
            Ok(None) => return (messages, End::Closed(None)),
            Err(_) => return (messages, End::Quiet),
        }
    }
}

type Counts = BTreeMap<&'static str, usize>;

/// How many events of each kind were sent, as our decoders read them.
fn counted(frames: impl Iterator<Item = Frame>) -> Counts {
    let mut counts = Counts::new();
    for item in frames.flat_map(|frame| frame.items) {
        let what = match item {
            Item::Event(event) => match event.body {
                EventBody::Commit(_) => "records",
                EventBody::Identity { .. } => "identities",
                EventBody::Account { .. } => "accounts",
                EventBody::Sync { .. } => "syncs",
            },
            Item::Reject(_) => "rejects",
        };
        *counts.entry(what).or_default() += 1;
    }
    counts
}

/// What should have been sent by the history of the world.
fn expected(sim: &Sim, syncs: bool) -> Counts {
    let state = sim.state();
    let mut counts = Counts::new();
    let mut add = |what, count| *counts.entry(what).or_default() += count;
    for event in state.world.events() {
        match event.what {
            What::Account { .. } => add("accounts", 1),
            What::Identity { .. } => add("identities", 1),
            What::Sync { .. } if syncs => add("syncs", 1),
            What::Sync { .. } => {}
            _ => {
                let writes = event.writes(&state.world);
                let invalid = writes.iter().filter(|write| write.what == plyr_likes_sim::model::What::Invalid).count();
                if invalid > 0 {
                    add("rejects", invalid);
                }
                if writes.len() > invalid {
                    add("records", writes.len() - invalid);
                }
            }
        }
    }
    counts
}

fn collections() -> Collections {
    Collections::of_namespace("fm.plyr").unwrap()
}

fn texts(messages: &[Message]) -> impl Iterator<Item = &str> {
    messages.iter().map(|message| message.to_text().unwrap())
}

fn v1_frames(messages: &[Message]) -> impl Iterator<Item = Frame> {
    let collections = collections();
    texts(messages).map(move |text| jetstream_v1::decode_message(&collections, text.as_bytes()))
}

fn firehose_frames(messages: &[Message]) -> impl Iterator<Item = Frame> {
    let collections = collections();
    messages.iter().map(move |message| match firehose::decode_message(&collections, &message.clone().into_data()) {
        firehose::Message::Frame(frame) => frame,
        other => panic!("{other:?}"),
    })
}

#[tokio::test]
async fn a_jetstream_tells_all_that_our_decoder_can_read() {
    let sim = a_sim(HostOptions { v1_only: true, ..HostOptions::default() }).await;
    let (messages, end) = read(&sim, V1).await;
    assert!(matches!(end, End::Quiet), "{end:?}");
    let decoded = counted(v1_frames(&messages));
    assert_eq!(decoded, expected(&sim, false));
    assert!(decoded["records"] > 300 && decoded["rejects"] > 0 && decoded["accounts"] > 0, "{decoded:?}");
}

#[tokio::test]
async fn a_firehose_tells_all_that_our_decoder_can_read() {
    for signed in [false, true] {
        let shape = Shape { signed, ..a_world(4) };
        let sim = Sim::start(Options { shape, ..Options::default() }).await.unwrap();
        let (messages, _) = read(&sim, FIREHOSE).await;
        let decoded = counted(firehose_frames(&messages));
        assert_eq!(decoded, expected(&sim, true));
        assert!(decoded["records"] > 300 && decoded["syncs"] > 0, "{decoded:?}");
    }
}

#[tokio::test]
async fn a_jetstream_of_the_second_kind_numbers_its_rows() {
    let sim = a_sim(HostOptions::default()).await;
    let (messages, _) = read(&sim, V2).await;
    let seqs: Vec<i64> = texts(&messages)
        .map(|text| serde_json::from_str::<Value>(text).unwrap()["payload"]["seq"].as_i64().unwrap())
        .collect();
    let rows: usize = sim.state().world.events().iter().map(plyr_likes_sim::event::Event::rows).sum();
    assert_eq!(seqs, (1..=i64::try_from(rows).unwrap()).collect::<Vec<_>>());
    let (later, _) = read(&sim, &V2.replace("=1", "=100")).await;
    let first: Value = serde_json::from_str(texts(&later).next().unwrap()).unwrap();
    assert_eq!(first["payload"]["seq"], 100);
    let (both, _) = read(&sim, &V1.replace("cursor=1", "cursor=100")).await;
    assert!(texts(&both).all(|text| text.contains("\"cursor\":")), "a v2 server says its number in v1 too");
}

#[tokio::test]
async fn a_cursor_of_microseconds_is_inclusive_and_clamped() {
    let habits = Habits { inverted_percent: 30, shared_percent: 30, window: Some(100), ..Habits::default() };
    let sim = a_sim(HostOptions { habits, v1_only: true, ..HostOptions::default() }).await;
    let (all, _) = read(&sim, V1).await;
    let stamps: Vec<i64> = v1_frames(&all).map(|frame| frame.position.unwrap()).collect();
    assert!(!stamps.is_sorted(), "stamps run backwards");
    assert!(stamps.windows(2).any(|two| two[0] == two[1]), "stamps are shared");
    assert!((70..=110).contains(&all.len()), "only what is kept comes: {}", all.len());
    let cursor = stamps[stamps.len() / 2];
    let (later, _) = read(&sim, &V1.replace("cursor=1", &format!("cursor={cursor}"))).await;
    let again: Vec<i64> = v1_frames(&later).map(|frame| frame.position.unwrap()).collect();
    assert!(stamps.ends_with(&again) && again.contains(&cursor), "{cursor}: {again:?}");
}

#[tokio::test]
async fn each_fault_strikes_and_is_counted() {
    let codes = [1000, 1001, 1007, 1008, 1009, 1011, 1013];
    for code in codes {
        let sim = a_sim(with(Plan::none().with(When::At(50), Fault::Close(code)))).await;
        let (messages, end) = read(&sim, FIREHOSE).await;
        assert!(matches!(end, End::Closed(Some(frame)) if u16::from(frame.code) == code), "{code}");
        assert_eq!((messages.len(), sim.fired()[&format!("close {code}")]), (50, 1));
    }
    let sim = a_sim(with(Plan::none().with(When::At(50), Fault::Reset))).await;
    assert!(matches!(read(&sim, FIREHOSE).await, (messages, End::Broken) if messages.len() == 50));
    let sim = a_sim(with(Plan::none().with(When::At(50), Fault::TooSlow))).await;
    let (messages, end) = read(&sim, FIREHOSE).await;
    let last = firehose::decode_message(&collections(), &messages.last().unwrap().clone().into_data());
    assert!(matches!(last, firehose::Message::Error { error, .. } if error == "ConsumerTooSlow"), "{end:?}");
    let whole = a_sim(HostOptions::default()).await;
    let (plain, _) = read(&whole, V1).await;
    let doubled = Plan::none().with(When::At(50), Fault::Duplicate).with(When::At(60), Fault::Again(20));
    let (messages, _) = read(&a_sim(with(doubled)).await, V1).await;
    let texts_of = |messages: &[Message]| texts(messages).map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
    assert!(messages.len() > plain.len() + 10);
    assert_eq!(texts_of(&messages), texts_of(&plain));
}

#[tokio::test]
async fn t12_a_blind_host_tells_everything_but_ours_and_heals() {
    let sim = a_sim(HostOptions::default()).await;
    let before = read(&sim, V1).await.0.len();
    sim.inject(0, Fault::Incomplete { collections: vec!["fm.plyr.*".to_owned()], events: 1_000_000 });
    sim.advance(200);
    let ours = |messages: &[Message]| texts(messages).filter(|text| text.contains("\"collection\":\"fm.plyr.")).count();
    let (incomplete, _) = read(&sim, V1).await;
    sim.heal(0);
    let (healed, _) = read(&sim, V1).await;
    assert!(sim.fired()["incomplete"] > 1);
    assert!(
        incomplete.len() < healed.len() && ours(&incomplete) < ours(&healed),
        "{before} {} {}",
        incomplete.len(),
        healed.len()
    );
}

#[tokio::test]
async fn compressed_streams_unpack_to_the_plain_ones() {
    let sim = a_sim(HostOptions::default()).await;
    let (status, dictionary) = {
        let url = format!("{}/xrpc/network.bsky.jetstream.getZstdDictionary", sim.url(0));
        let client = crate::support::http::client(Duration::from_secs(10));
        let response = client.get(url).send().await.unwrap();
        (response.status().as_u16(), response.bytes().await.unwrap().to_vec())
    };
    assert_eq!(status, 200);
    let id = u32::from_le_bytes(dictionary[4..8].try_into().unwrap());
    let mut of_v1 = dictionary.clone();
    of_v1[4..8].copy_from_slice(&1_612_007_021_u32.to_le_bytes());
    for (plain, packed, dictionary) in
        [(V1, format!("{V1}&compress=true"), of_v1), (V2, format!("{V2}&zstdDictionary={id}"), dictionary)]
    {
        let mut unpacker = zstd::bulk::Decompressor::with_dictionary(&dictionary).unwrap();
        let (expected, _) = read(&sim, plain).await;
        let (found, _) = read(&sim, &packed).await;
        let unpacked = found.iter().map(|message| {
            assert!(message.is_binary());
            unpacker.decompress(&message.clone().into_data(), 1 << 20).unwrap()
        });
        let unpacked: Vec<String> = unpacked.map(|bytes| String::from_utf8(bytes).unwrap()).collect();
        assert!(texts(&expected).eq(unpacked.iter().map(String::as_str)) && unpacked.len() > 300);
    }
    sim.rotate_dictionary();
    let old = connect_async(format!("ws://{}{V2}&zstdDictionary={id}", sim.address(0))).await.unwrap_err();
    let tokio_tungstenite::tungstenite::Error::Http(answer) = old else { panic!("{old}") };
    assert!(String::from_utf8_lossy(answer.body().as_ref().unwrap()).contains("UnknownZstdDictionary"));
}
