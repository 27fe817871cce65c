//! Compressed messages: agreed upon, rotated, bounded, and given up rather than an event.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use plyr_likes::source::{Compression, Delivery, Dialect, Dictionary, Tuning};
use serde_json::json;
use zstd::bulk::Compressor;

use super::{Followed, Setting, quick};
use crate::support::upstream::{Act, Request, Upstream};

fn message(seq: u32) -> String {
    let payload = json!({"$type": "network.bsky.jetstream.subscribeEvents#account", "seq": seq, "did": "did:plc:a",
        "time": "2024-09-09T19:46:02Z", "account": {"active": true, "did": "did:plc:a", "seq": seq}});
    json!({"$type": "message", "payload": payload}).to_string()
}

/// A dictionary of such messages with that id. Making one takes seconds.
fn dictionary(id: u32) -> Vec<u8> {
    static MADE: OnceLock<Vec<u8>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let samples: Vec<String> = (0..1_000).map(|seq| message(seq * 7_919)).collect();
        zstd::dict::from_samples(&samples, 4_096).expect("enough samples")
    });
    let mut bytes = made.clone();
    bytes[4..8].copy_from_slice(&id.to_le_bytes());
    bytes
}

fn compress(dictionary: &[u8], text: &str) -> Act {
    let mut compressor = Compressor::with_dictionary(19, dictionary).expect("a dictionary");
    Act::Binary(compressor.compress(text.as_bytes()).expect("it can be compressed"))
}

fn gives_dictionary(request: &Request) -> bool {
    !request.is_upgrade && request.path == "/xrpc/network.bsky.jetstream.getZstdDictionary"
}

fn asked_ids(upstream: &Upstream) -> Vec<Option<String>> {
    let id = |request: &Request| request.all("zstdDictionary").first().map(|id| (*id).to_owned());
    upstream.requests().iter().map(id).collect()
}

fn setting(dialect: Dialect, compression: Compression) -> Setting {
    let tuning = Tuning { compression, ..quick() };
    Setting { tuning, committed: Some(20_000), ..Setting::of(dialect) }
}

fn v2() -> Setting {
    setting(Dialect::JetstreamV2, Compression::Auto { jetstream_v1: None })
}

/// The next messages, up to the one with that number.
async fn until(followed: &mut Followed, seq: u32) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.last() != Some(&message(seq)) {
        let Delivery { messages, .. } = followed.delivery().await;
        texts.extend(messages.iter().map(|message| String::from_utf8_lossy(message).into_owned()));
    }
    texts
}

#[tokio::test]
async fn a_jetstream_v2_hands_out_its_dictionary_once_and_compresses() {
    let bytes = dictionary(77);
    let upstream = Upstream::start(move |request| match request.connection {
        _ if gives_dictionary(request) => vec![Act::Bytes(bytes.clone())],
        0 => vec![compress(&bytes, &message(20_000)), Act::Text(message(20_001)), Act::WaitForGo, Act::Drop],
        _ => vec![compress(&bytes, &message(20_002)), Act::Stay],
    })
    .await;
    let mut followed = v2().follow(&upstream);
    let texts = until(&mut followed, 20_001).await;
    assert_eq!(texts, [message(20_000), message(20_001)], "text on a compressed connection is text");
    upstream.go();
    assert_eq!(until(&mut followed, 20_002).await, [message(20_002)]);
    assert_eq!(asked_ids(&upstream), [Some("77".to_owned()), Some("77".to_owned())]);
    assert_eq!(upstream.downloads().len(), 1, "it is kept");
    followed.stop().await;
}

#[tokio::test]
async fn a_dictionary_that_was_replaced_is_fetched_again() {
    let (old, new) = (dictionary(77), dictionary(78));
    let upstream = Upstream::start(move |request| {
        let id = request.all("zstdDictionary").first().and_then(|id| id.parse::<u32>().ok());
        match (request.connection, id) {
            (0, _) if gives_dictionary(request) => vec![Act::Bytes(old.clone())],
            _ if gives_dictionary(request) => vec![Act::Bytes(new.clone())],
            (0, Some(77)) => vec![compress(&old, &message(20_000)), Act::WaitForGo, Act::Close(1001)],
            (_, Some(78)) => vec![compress(&new, &message(20_001)), Act::Stay],
            _ => vec![unknown_dictionary()],
        }
    })
    .await;
    let mut followed = v2().follow(&upstream);
    until(&mut followed, 20_000).await;
    upstream.go();
    until(&mut followed, 20_001).await;
    assert_eq!(asked_ids(&upstream), [Some("77".to_owned()), Some("77".to_owned()), Some("78".to_owned())]);
    followed.stop().await;
}

fn unknown_dictionary() -> Act {
    let body = json!({"error": "UnknownZstdDictionary", "message": "current dictionary id is 78"}).to_string();
    Act::Answer { status: 400, headers: Vec::new(), body }
}

#[tokio::test]
async fn a_host_that_refuses_its_own_dictionary_sends_plain() {
    let bytes = dictionary(77);
    let upstream = Upstream::start(move |request| match request.all("zstdDictionary").is_empty() {
        _ if gives_dictionary(request) => vec![Act::Bytes(bytes.clone())],
        false => vec![unknown_dictionary()],
        true => vec![Act::Text(message(20_000)), Act::Stay],
    })
    .await;
    let mut followed = v2().follow(&upstream);
    until(&mut followed, 20_000).await;
    assert_eq!(asked_ids(&upstream), [Some("77".to_owned()), None]);
    followed.stop().await;
}

#[tokio::test]
async fn without_a_usable_dictionary_messages_come_plain() {
    let answers = [
        Act::Answer { status: 404, headers: Vec::new(), body: String::new() },
        Act::Answer { status: 302, headers: vec![("Location", "/elsewhere".to_owned())], body: String::new() },
        Act::Bytes(b"not a dictionary".to_vec()),
        Act::Bytes(Vec::new()),
        Act::Bytes([&dictionary(77)[..8], &[0xff; 600]].concat()),
        Act::Bytes(dictionary(0)),
        Act::Bytes([dictionary(77), vec![0; 2 << 20]].concat()),
        Act::HangBeforeUpgrade,
    ];
    for answer in answers {
        let name = answer.name();
        let upstream = Upstream::start(move |request| {
            if request.is_upgrade { vec![Act::Text(message(20_000)), Act::Stay] } else { vec![answer.clone()] }
        })
        .await;
        let mut setting = v2();
        setting.tuning.connect_timeout = Duration::from_millis(300);
        let mut followed = setting.follow(&upstream);
        until(&mut followed, 20_000).await;
        assert_eq!(asked_ids(&upstream), [None], "{name}");
        assert_eq!(upstream.downloads().len(), 1, "{name}");
        assert!(upstream.has_done(&name) || name == "bytes", "{name}");
        followed.stop().await;
    }
}

#[tokio::test]
async fn t17_a_compressed_message_that_cannot_be_read_comes_again_plain() {
    let bytes = dictionary(77);
    let Act::Binary(whole) = compress(&bytes, &message(20_001)) else { panic!("it is binary") };
    let mut flipped = whole.clone();
    let last = flipped.len() - 1;
    flipped.truncate(last);
    for broken in [flipped, b"no zstd at all".to_vec(), vec![0], message(20_001).into_bytes()] {
        let (bytes, fault) = (bytes.clone(), broken.clone());
        let upstream = Upstream::start(move |request| match request.all("zstdDictionary").is_empty() {
            _ if gives_dictionary(request) => vec![Act::Bytes(bytes.clone())],
            false => vec![compress(&bytes, &message(20_000)), Act::Binary(fault.clone()), Act::Stay],
            true => vec![Act::Text(message(20_000)), Act::Text(message(20_001)), Act::Stay],
        })
        .await;
        let mut followed = v2().follow(&upstream);
        let texts = until(&mut followed, 20_001).await;
        assert_eq!(texts, [message(20_000), message(20_000), message(20_001)], "none is lost: {broken:?}");
        assert_eq!(asked_ids(&upstream), [Some("77".to_owned()), None]);
        followed.stop().await;
    }
}

#[tokio::test]
async fn t17_a_zstd_bomb_is_one_message_and_the_connection_lives() {
    let bytes = dictionary(77);
    let said = zstd::bulk::compress(&vec![b' '; 1 << 30], 1).expect("it can be compressed");
    // The same without its size in the header: it is unknown before it is read.
    let unsaid =
        zstd::stream::encode_all(std::io::Read::take(std::io::repeat(b' '), 1 << 30), 1).expect("it can be compressed");
    assert!(said.len() < 200_000 && unsaid.len() < 200_000);
    let bombs = [said, unsaid];
    let sent = bombs.clone();
    let upstream = Upstream::start(move |request| {
        if gives_dictionary(request) {
            return vec![Act::Bytes(bytes.clone())];
        }
        let [said, unsaid] = sent.clone();
        vec![Act::Binary(said), Act::Binary(unsaid), compress(&bytes, &message(20_000)), Act::Stay]
    })
    .await;
    let mut followed = v2().follow(&upstream);
    let mut messages = Vec::new();
    while messages.len() < 3 {
        messages.extend(followed.delivery().await.messages);
    }
    // Not by `assert_eq`, which would print a gigabyte.
    assert!(messages[..2] == bombs, "not as they came, for the decoder to refuse");
    assert_eq!(messages[2], message(20_000).as_bytes());
    assert_eq!(upstream.requests().len(), 1, "on one connection");
    followed.stop().await;
}

#[tokio::test]
async fn jetstream_v1_compresses_where_its_dictionary_is_given() {
    let bytes = dictionary(1_612_007_021);
    let given = Arc::new(Dictionary::of_bytes(bytes.clone()).expect("a dictionary"));
    assert_eq!(given.id(), 1_612_007_021);
    let script = move |request: &Request| match request.all("compress").first() {
        Some(&"true") => vec![compress(&bytes, &message(20_000)), Act::Text(message(20_001)), Act::Stay],
        _ => vec![Act::Text(message(20_000)), Act::Text(message(20_001)), Act::Stay],
    };
    let cases = [
        (Compression::Auto { jetstream_v1: Some(given.clone()) }, true),
        (Compression::Auto { jetstream_v1: None }, false),
        (Compression::Off, false),
    ];
    for (compression, compressed) in cases {
        let upstream = Upstream::start(script.clone()).await;
        let mut followed = setting(Dialect::JetstreamV1, compression).follow(&upstream);
        assert_eq!(until(&mut followed, 20_001).await, [message(20_000), message(20_001)]);
        assert_eq!(upstream.requests()[0].all("compress").len(), usize::from(compressed));
        assert_eq!(upstream.downloads().len(), 0);
        followed.stop().await;
    }
}

#[tokio::test]
async fn t17_a_wrong_dictionary_of_jetstream_v1_costs_nothing_but_compression() {
    let bytes = dictionary(1_612_007_021);
    let other = Arc::new(Dictionary::of_bytes(dictionary(5)).expect("a dictionary"));
    let upstream = Upstream::start(move |request| {
        let plain = request.all("compress").is_empty();
        let sent = if plain { Act::Text(message(20_000)) } else { compress(&bytes, &message(20_000)) };
        vec![sent, Act::Stay]
    })
    .await;
    let mut followed = setting(Dialect::JetstreamV1, Compression::Auto { jetstream_v1: Some(other) }).follow(&upstream);
    assert_eq!(until(&mut followed, 20_000).await, [message(20_000)]);
    assert_eq!(upstream.requests().len(), 2);
    followed.stop().await;
}

#[tokio::test]
async fn off_means_that_no_dictionary_is_asked_for() {
    let upstream = Upstream::start(|_| vec![Act::Text(message(20_000)), Act::Stay]).await;
    let mut followed = setting(Dialect::JetstreamV2, Compression::Off).follow(&upstream);
    until(&mut followed, 20_000).await;
    assert_eq!((upstream.downloads().len(), asked_ids(&upstream)), (0, vec![None]));
    followed.stop().await;
}
