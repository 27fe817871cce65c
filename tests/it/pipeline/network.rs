//! The network that the tests stand on is what they take it for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use ipld_core::ipld::Ipld;
use serde::Deserialize;
use tokio_tungstenite::tungstenite::Message;

use crate::support::network::{Network, Operation, like, list, track};

/// What a client of the firehose would call the state of the repos: path to CID, and what else it received.
#[derive(Default)]
struct Seen {
    records: BTreeMap<String, String>,
    accounts: Vec<(String, bool)>,
    handles: BTreeSet<String>,
}

impl Seen {
    fn take(&mut self, frame: &[u8]) {
        let mut decoder = serde_ipld_dagcbor::de::Deserializer::from_slice(frame);
        let header = Ipld::deserialize(&mut decoder).expect("a frame has a header");
        let payload = Ipld::deserialize(&mut decoder).expect("a frame has a payload");
        match text(&header, "t") {
            "#commit" => self.take_commit(&payload),
            "#account" => {
                let active = matches!(payload.get("active"), Ok(Some(Ipld::Bool(true))));
                self.accounts.push((text(&payload, "did").to_owned(), active));
            }
            "#identity" => {
                if let Ok(Some(Ipld::String(handle))) = payload.get("handle") {
                    self.handles.insert(handle.clone());
                }
            }
            _ => {}
        }
    }

    fn take_commit(&mut self, payload: &Ipld) {
        let Ok(Some(Ipld::List(operations))) = payload.get("ops") else { panic!("a commit has operations") };
        for operation in operations {
            let uri = format!("at://{}/{}", text(payload, "repo"), text(operation, "path"));
            match operation.get("cid") {
                Ok(Some(Ipld::Link(cid))) => self.records.insert(uri, cid.to_string()),
                _ => self.records.remove(&uri),
            };
        }
    }
}

fn text<'a>(value: &'a Ipld, field: &str) -> &'a str {
    match value.get(field) {
        Ok(Some(Ipld::String(text))) => text,
        other => panic!("{field} is {other:?}"),
    }
}

/// Reads the firehose from its start until `done` says so.
async fn read_firehose(network: &Network, done: impl Fn(&Seen) -> bool) -> Seen {
    let url = format!("{}/xrpc/com.atproto.sync.subscribeRepos?cursor=0", network.websocket_url());
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.expect("the PDS takes websockets");
    let mut seen = Seen::default();
    while !done(&seen) {
        let message = tokio::time::timeout(Duration::from_secs(20), socket.next()).await;
        match message.expect("an event within 20 s").expect("the socket stays open").expect("no fault on the socket") {
            Message::Binary(frame) => seen.take(&frame),
            Message::Ping(_) => {}
            other => panic!("not a frame of the firehose: {other:?}"),
        }
    }
    seen
}

#[tokio::test]
async fn firehose_and_list_records_agree() {
    let network = Network::start().await;
    let artist = network.account("artist").await;
    let mut fan = network.account("fan").await;
    let song = artist.create("fm.plyr.track", track("One")).await;
    let kept = fan.create("fm.plyr.like", like(&song)).await;
    let dropped = fan.create("fm.plyr.like", like(&song)).await;
    fan.delete("fm.plyr.like", dropped.rkey()).await;
    let album = list("album", "All", [&song, &song]);
    let written = fan
        .apply_writes(&[
            Operation::create("fm.plyr.list", album.clone()),
            Operation::delete("fm.plyr.like", kept.rkey()),
            Operation::create_at("fm.plyr.like", "3l3qo2vuowo2b", like(&song)),
        ])
        .await;
    let album_at = written[0].clone().expect("a create has a record");
    assert!(written[1].is_none());
    fan.put("fm.plyr.list", album_at.rkey(), list("album", "Renamed", [&song])).await;
    fan.update_handle("follower").await;

    network.stop_pds().await;
    network.start_pds().await;
    let last = fan.create("fm.plyr.like", like(&song)).await;

    let seen = read_firehose(&network, |seen| seen.records.contains_key(&last.uri)).await;
    let mut expected = BTreeMap::new();
    for (account, collection) in [(&artist, "fm.plyr.track"), (&fan, "fm.plyr.like"), (&fan, "fm.plyr.list")] {
        expected.extend(account.list_records(collection).await.into_iter().map(|record| (record.uri, record.cid)));
    }
    assert_eq!(expected.len(), 4);
    assert_eq!(seen.records, expected);
    assert!(seen.handles.contains("follower.test"), "{:?}", seen.handles);
    let (_, rev) = fan.get_latest_commit().await;
    assert!(rev.as_str() >= last.rkey(), "the newest commit is no older than the newest key");
}

#[tokio::test]
async fn pages_of_list_records_are_whole() {
    let network = Network::start().await;
    let fan = network.account("fan").await;
    let song = fan.create("fm.plyr.track", track("One")).await;
    let likes: Vec<Operation> = (0..150).map(|_| Operation::create("fm.plyr.like", like(&song))).collect();
    let written = fan.apply_writes(&likes).await;
    let mut uris: Vec<String> = written.into_iter().flatten().map(|record| record.uri).collect();
    let mut listed: Vec<String> = fan.list_records("fm.plyr.like").await.into_iter().map(|record| record.uri).collect();
    assert!(listed.is_sorted_by(|newer, older| newer > older), "newest key first");
    uris.sort();
    listed.sort();
    assert_eq!(uris, listed);
}

#[tokio::test]
async fn accounts_come_and_go() {
    let network = Network::start().await;
    let artist = network.account("artist").await;
    artist.create("fm.plyr.track", track("One")).await;
    artist.deactivate().await;
    artist.activate().await;
    network.takedown(&artist.did, true).await;
    network.takedown(&artist.did, false).await;
    let leaver = network.account("leaver").await;
    let left = leaver.did.clone();
    network.delete_account(leaver).await;
    let seen = read_firehose(&network, |seen| seen.accounts.contains(&(left.clone(), false))).await;
    let of_artist: Vec<bool> =
        seen.accounts.iter().filter(|(did, _)| *did == artist.did).map(|(_, active)| *active).collect();
    assert_eq!(of_artist, [true, false, true, false, true]);
}

/// The rest of the time measured in the bench is ours only if the PDS's own part is small.
#[tokio::test]
async fn fast_network_tells_at_once() {
    let network = Network::start_fast().await;
    let fan = network.account("fan").await;
    let url = format!("{}/xrpc/com.atproto.sync.subscribeRepos", network.websocket_url());
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.expect("the PDS takes websockets");
    let mut delays_ms = Vec::new();
    for number in 0..20 {
        let title = format!("title {number}");
        fan.create("fm.plyr.track", track(&title)).await;
        let written = Instant::now();
        loop {
            let message = tokio::time::timeout(Duration::from_secs(20), socket.next()).await;
            let message = message.expect("an event within 20 s").expect("the socket is open").expect("no fault");
            let frame = message.into_data();
            if frame.windows(title.len()).any(|bytes| bytes == title.as_bytes()) {
                break;
            }
        }
        delays_ms.push(written.elapsed().as_millis());
    }
    delays_ms.sort_unstable();
    assert!(delays_ms[delays_ms.len() / 2] < 100, "{delays_ms:?}");
}
