//! What the fake hosts answer as PDS, PLC directory and relay: repos whose trees and signatures are true.

use std::{collections::BTreeMap, time::Duration};

use futures_util::StreamExt as _;
use ipld_core::{cid::Cid, ipld::Ipld};
use k256::ecdsa::{Signature, VerifyingKey, signature::Verifier as _};
use plyr_likes_sim::{
    fault::{ReadFault, ReadPlan, When},
    model::Model,
    sim::{HostOptions, Options, Sim},
    wire,
    world::{Mix, Shape, Standing},
};
use reqwest::Client;
use serde_json::Value;

use crate::support::http::client;

const TIMEOUT: Duration = Duration::from_secs(10);

struct Reader {
    sim: Sim,
    client: Client,
}

impl Reader {
    async fn start(shape: Shape, hosts: Vec<HostOptions>) -> Self {
        let sim = Sim::start(Options { shape, hosts, web: 1, rate: 0 }).await.unwrap();
        Self { sim, client: client(TIMEOUT) }
    }

    async fn bytes(&self, host: usize, path: &str) -> (u16, Vec<u8>) {
        // The port in a did:web is encoded already, and belongs to the DID as it is.
        let path = path.replace('%', "%25");
        let response = self.client.get(format!("{}{path}", self.sim.url(host))).send().await.unwrap();
        (response.status().as_u16(), response.bytes().await.unwrap().to_vec())
    }

    async fn get(&self, host: usize, path: &str) -> (u16, Value) {
        let (status, bytes) = self.bytes(host, path).await;
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// All records of a collection, by key, page by page.
    async fn list(&self, (host, did): (usize, &str), collection: &str, reverse: bool) -> Vec<(String, String)> {
        let mut records = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!(
                "/xrpc/com.atproto.repo.listRecords?repo={did}&collection={collection}&limit=7&reverse={reverse}{cursor}"
            );
            let (status, page) = self.get(host, &path).await;
            assert_eq!(status, 200, "{page}");
            for record in page["records"].as_array().unwrap() {
                let text = |name: &str| record[name].as_str().unwrap().to_owned();
                assert_eq!(wire::cid_of(&wire::cbor_of(&record["value"])).to_string(), text("cid"));
                records.push((text("uri"), text("cid")));
            }
            match page["cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return records,
            }
        }
    }

    /// Who there is, with the host that has the repo, and whether it is shown.
    fn actors(&self) -> Vec<(usize, String, Standing)> {
        let state = self.sim.state();
        let dids: Vec<String> = state.world.dids().map(str::to_owned).collect();
        let actor = |(number, did): (u32, String)| {
            let held = state.world.actor(number);
            (usize::try_from(held.pds).unwrap(), did, held.standing)
        };
        (0..).zip(dids).map(actor).collect()
    }
}

fn a_world() -> Shape {
    Shape { seed: 5, actors: 9, tracks: 5, events: 500, mix: Mix::UNREST, signed: true, ..Shape::default() }
}

/// The blocks of a CAR, each checked against its CID, and the root.
fn blocks(car: &[u8]) -> (Cid, BTreeMap<Cid, Vec<u8>>) {
    let (header, mut rest) = section(car);
    let Ipld::Map(header) = serde_ipld_dagcbor::from_slice(header).unwrap() else { panic!("no header") };
    let Ipld::List(roots) = &header["roots"] else { panic!("no roots") };
    let Ipld::Link(root) = roots[0] else { panic!("no root") };
    let mut found = BTreeMap::new();
    while !rest.is_empty() {
        let (block, after) = section(rest);
        let (cid, bytes) = (Cid::try_from(&block[..36]).unwrap(), &block[36..]);
        assert_eq!(wire::cid_of(bytes), cid);
        found.insert(cid, bytes.to_vec());
        rest = after;
    }
    (root, found)
}

/// What a varint of its length stands before, and what follows.
fn section(bytes: &[u8]) -> (&[u8], &[u8]) {
    let digits = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    let length = bytes[..digits].iter().rev().fold(0, |length, byte| length << 7 | usize::from(byte & 0x7f));
    bytes[digits..].split_at(length)
}

/// The paths below a node, in order.
fn walk(blocks: &BTreeMap<Cid, Vec<u8>>, node: Cid, paths: &mut Vec<(String, Cid)>) {
    let Ipld::Map(node) = serde_ipld_dagcbor::from_slice(&blocks[&node]).unwrap() else { panic!("no node") };
    if let Ipld::Link(left) = node["l"] {
        walk(blocks, left, paths);
    }
    let Ipld::List(entries) = &node["e"] else { panic!("no entries") };
    let mut key = Vec::new();
    for entry in entries {
        let Ipld::Map(entry) = entry else { panic!("no entry") };
        let (Ipld::Integer(shared), Ipld::Bytes(suffix), Ipld::Link(cid)) = (&entry["p"], &entry["k"], &entry["v"])
        else {
            panic!("{entry:?}")
        };
        key.truncate(usize::try_from(*shared).unwrap());
        key.extend(suffix);
        paths.push((String::from_utf8(key.clone()).unwrap(), *cid));
        if let Ipld::Link(right) = entry["t"] {
            walk(blocks, right, paths);
        }
    }
}

/// The commit of a CAR, whose signature the key must have made: its rev and its tree.
fn commit_of(root: Cid, blocks: &BTreeMap<Cid, Vec<u8>>, key: &VerifyingKey) -> (String, Cid) {
    let Ipld::Map(mut commit) = serde_ipld_dagcbor::from_slice(&blocks[&root]).unwrap() else { panic!("no commit") };
    let Some(Ipld::Bytes(signature)) = commit.remove("sig") else { panic!("no signature") };
    let signature = Signature::from_slice(&signature).unwrap();
    assert_eq!(signature.normalize_s(), signature, "the low one of both");
    let unsigned = serde_ipld_dagcbor::to_vec(&Ipld::Map(commit.clone())).unwrap();
    key.verify(&unsigned, &signature).unwrap();
    let (Ipld::String(rev), Ipld::Link(data)) = (&commit["rev"], &commit["data"]) else { panic!("{commit:?}") };
    (rev.clone(), *data)
}

/// The key in a DID document.
fn key_of(document: &Value) -> VerifyingKey {
    const ALPHABET: &str = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let text = document["verificationMethod"][0]["publicKeyMultibase"].as_str().unwrap();
    let mut bytes = [0_u8; 35];
    for letter in text.strip_prefix('z').unwrap().chars() {
        let mut carry = ALPHABET.find(letter).unwrap();
        for byte in bytes.iter_mut().rev() {
            carry += usize::from(*byte) * 58;
            *byte = u8::try_from(carry & 0xff).unwrap();
            carry >>= 8;
        }
    }
    assert_eq!(bytes[..2], [0xe7, 0x01], "secp256k1");
    VerifyingKey::from_sec1_bytes(&bytes[2..]).unwrap()
}

#[tokio::test]
async fn repos_are_true_and_signed_and_say_what_the_world_says() {
    let reader = Reader::start(a_world(), vec![HostOptions::default(), HostOptions::default()]).await;
    let model = Model::of(&reader.sim.state().world.writes().collect::<Vec<_>>());
    let live = model.state().keys().filter(|line| line.starts_with("like ")).count();
    let (mut likes, mut repos) = (0, 0);
    for (host, did, standing) in reader.actors() {
        let (status, document) = if did.starts_with("did:web:") {
            reader.get(host, "/.well-known/did.json").await
        } else {
            reader.get(1 - host, &format!("/{did}")).await
        };
        if standing != Standing::Active {
            continue;
        }
        assert_eq!((status, document["id"].as_str()), (200, Some(did.as_str())));
        assert_eq!(document["service"][0]["serviceEndpoint"], reader.sim.url(host));
        let (_, latest) = reader.get(host, &format!("/xrpc/com.atproto.sync.getLatestCommit?did={did}")).await;
        let (_, car) = reader.bytes(host, &format!("/xrpc/com.atproto.sync.getRepo?did={did}")).await;
        let (root, blocks) = blocks(&car);
        let (rev, data) = commit_of(root, &blocks, &key_of(&document));
        assert_eq!(
            (latest["cid"].as_str(), latest["rev"].as_str()),
            (Some(root.to_string().as_str()), Some(rev.as_str()))
        );
        let mut paths = Vec::new();
        walk(&blocks, data, &mut paths);
        assert!(paths.is_sorted() && paths.iter().all(|(_, cid)| blocks.contains_key(cid)));
        for collection in ["fm.plyr.like", "fm.plyr.track", "fm.plyr.list", "fm.plyr.actor.profile"] {
            let mut listed = reader.list((host, &did), collection, false).await;
            let reversed = reader.list((host, &did), collection, true).await;
            listed.reverse();
            assert_eq!(listed, reversed);
            let prefix = format!("{collection}/");
            let held = paths.iter().filter(|(path, _)| path.starts_with(&prefix));
            let held: Vec<_> = held.map(|(path, cid)| (format!("at://{did}/{path}"), cid.to_string())).collect();
            assert_eq!(listed, held);
            if collection == "fm.plyr.like" {
                likes += model.state().keys().filter(|line| line.starts_with(&format!("like {did} "))).count();
            }
        }
        repos += 1;
    }
    assert!(repos >= 4 && likes > 50 && likes <= live, "{repos} repos, {likes} likes");
}

#[tokio::test]
async fn each_signed_commit_of_the_firehose_proves_its_operations() {
    let reader = Reader::start(a_world(), vec![HostOptions::default()]).await;
    let keys: BTreeMap<String, VerifyingKey> = {
        let mut keys = BTreeMap::new();
        for (_, did, standing) in reader.actors() {
            // Who is gone has no document any more.
            if standing != Standing::Inactive("deleted") {
                let path = if did.starts_with("did:web:") { "/.well-known/did.json".into() } else { format!("/{did}") };
                keys.insert(did, key_of(&reader.get(0, &path).await.1));
            }
        }
        keys
    };
    let url = format!("ws://{}/xrpc/com.atproto.sync.subscribeRepos?cursor=0", reader.sim.address(0));
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let mut trees: BTreeMap<String, Cid> = BTreeMap::new();
    let mut verified = 0;
    while let Ok(Some(Ok(message))) = tokio::time::timeout(Duration::from_millis(400), socket.next()).await {
        let bytes = message.into_data();
        let mut reader = std::io::Cursor::new(&bytes);
        let Ipld::Map(header) = serde_ipld_dagcbor::de::from_reader_once(&mut reader).unwrap() else {
            panic!("no header")
        };
        let Ipld::Map(payload) = serde_ipld_dagcbor::de::from_reader_once(&mut reader).unwrap() else {
            panic!("no payload")
        };
        let is_commit = header["t"] == Ipld::String("#commit".to_owned());
        let did = match payload.get("repo").or(payload.get("did")) {
            Some(Ipld::String(did)) => did.clone(),
            other => panic!("{other:?}"),
        };
        let (Some(key), Some(Ipld::Bytes(car))) = (keys.get(&did), payload.get("blocks")) else { continue };
        let (root, blocks) = blocks(car);
        let (_, data) = commit_of(root, &blocks, key);
        let before = trees.insert(did.clone(), data);
        if !is_commit {
            continue;
        }
        assert_eq!(payload.get("prevData"), before.map(Ipld::Link).as_ref());
        let mut paths = Vec::new();
        walk(&blocks, data, &mut paths);
        let paths: BTreeMap<String, Cid> = paths.into_iter().collect();
        let Ipld::List(operations) = &payload["ops"] else { panic!("no operations") };
        for operation in operations {
            let Ipld::Map(operation) = operation else { panic!("no operation") };
            let Ipld::String(path) = &operation["path"] else { panic!("no path") };
            assert_eq!(operation["cid"], paths.get(path).map_or(Ipld::Null, |cid| Ipld::Link(*cid)));
            let creates = operation["action"] == Ipld::String("create".to_owned());
            assert_eq!(operation.contains_key("prev"), !creates, "{operation:?}");
            verified += 1;
        }
    }
    assert!(verified > 300, "{verified}");
}

#[tokio::test]
async fn what_cannot_be_read_says_why() {
    let shape = Shape { mix: Mix { accounts: 60, ..Mix::UNREST }, signed: false, actors: 40, ..a_world() };
    let reads = ReadPlan::default()
        .with("getLatestCommit", When::Every(1), ReadFault::Status { status: 429, retry_after: Some("2".into()) })
        .with("describeServer", When::Every(1), ReadFault::Truncate)
        .with("fm.plyr.track", When::Every(1), ReadFault::SameCursor);
    let hosts = vec![HostOptions { reads, ..HostOptions::default() }, HostOptions::default()];
    let reader = Reader::start(shape, hosts).await;
    let mut seen = BTreeMap::new();
    for (host, did, standing) in reader.actors() {
        let list = format!("/xrpc/com.atproto.repo.listRecords?repo={did}&collection=fm.plyr.like");
        let (status, answer) = reader.get(host, &list).await;
        let error = answer["error"].as_str().unwrap_or_default().to_owned();
        let wanted = match standing {
            Standing::Active => "",
            Standing::Inactive("takendown") => "RepoTakendown",
            Standing::Inactive("suspended") => "RepoSuspended",
            Standing::Inactive("deleted") => "RepoNotFound",
            Standing::Inactive(_) => "RepoDeactivated",
        };
        assert_eq!((status == 200, error.as_str()), (wanted.is_empty(), wanted));
        assert_eq!(reader.get(1 - host, &list).await.1["error"], "RepoNotFound", "it is the other host's");
        *seen.entry(wanted).or_insert(0) += 1;
    }
    assert!(seen.len() == 5, "{seen:?}");
    let (_, did, _) =
        reader.actors().into_iter().find(|(host, _, standing)| *host == 0 && *standing == Standing::Active).unwrap();
    let latest = format!("{}/xrpc/com.atproto.sync.getLatestCommit?did={did}", reader.sim.url(0));
    let limited = reader.client.get(latest).send().await.unwrap();
    assert_eq!((limited.status().as_u16(), limited.headers()["retry-after"].to_str().unwrap()), (429, "2"));
    let truncated = reader.client.get(format!("{}/xrpc/com.atproto.server.describeServer", reader.sim.url(0)));
    assert!(truncated.send().await.unwrap().bytes().await.is_err(), "half a body");
    let list = format!("/xrpc/com.atproto.repo.listRecords?repo={did}&collection=fm.plyr.track");
    assert!(reader.get(0, &list).await.1["cursor"].is_string());
    for fault in ["read 429 retry-after", "read truncate", "read samecursor"] {
        assert!(reader.sim.fired()[fault] >= 1, "{fault}");
    }
    let (_, page) = reader.get(0, "/xrpc/com.atproto.sync.listReposByCollection?collection=fm.plyr.like&limit=3").await;
    assert_eq!(page["repos"].as_array().unwrap().len(), 3);
    let next = format!(
        "/xrpc/com.atproto.sync.listReposByCollection?collection=fm.plyr.like&cursor={}",
        page["cursor"].as_str().unwrap()
    );
    let (_, rest) = reader.get(0, &next).await;
    let active = reader.actors().iter().filter(|(_, _, standing)| *standing != Standing::Inactive("deleted")).count();
    assert!((active - 5..=active).contains(&(3 + rest["repos"].as_array().unwrap().len())), "{active}: {rest}");
}

/// A host on which this goes wrong with every read that holds a text, and an account on it that likes something.
async fn with_fault(on: &str, fault: ReadFault) -> (Reader, String) {
    with_plan(ReadPlan::default().with(on, When::Every(1), fault)).await
}

async fn with_plan(reads: ReadPlan) -> (Reader, String) {
    let shape = Shape { mix: Mix::LIFE, signed: false, ..a_world() };
    let reader = Reader::start(shape, vec![HostOptions { reads, ..HostOptions::default() }]).await;
    let model = Model::of(&reader.sim.state().world.writes().collect::<Vec<_>>()).state();
    let likes = |did: &str| model.keys().any(|line| line.starts_with(&format!("like {did} ")));
    let liker = reader.actors().into_iter().find(|(_, did, _)| did.starts_with("did:plc:") && likes(did));
    let (_, did, _) = liker.expect("an account likes something");
    (reader, did)
}

fn likes_of(did: &str) -> String {
    format!("/xrpc/com.atproto.repo.listRecords?repo={did}&collection=fm.plyr.like&limit=100")
}

fn latest_of(did: &str) -> String {
    format!("/xrpc/com.atproto.sync.getLatestCommit?did={did}")
}

fn count(page: &(u16, Value)) -> usize {
    assert_eq!(page.0, 200, "{page:?}");
    page.1["records"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_read_that_is_never_answered() {
    let (reader, did) = with_fault("getLatestCommit", ReadFault::Hang).await;
    let request = reader.client.get(format!("{}{}", reader.sim.url(0), latest_of(&did)));
    let error = request.timeout(Duration::from_millis(300)).send().await.expect_err("there is no answer");
    assert!(error.is_timeout(), "{error:?}");
    assert_eq!(reader.sim.fired()["read hang"], 1);
    assert!(count(&reader.get(0, &likes_of(&did)).await) > 0, "other reads are answered");
}

#[tokio::test]
async fn a_read_that_is_refused_without_saying_for_how_long() {
    let fault = ReadFault::Status { status: 503, retry_after: None };
    let (reader, did) = with_fault("getLatestCommit", fault).await;
    let answer = reader.client.get(format!("{}{}", reader.sim.url(0), latest_of(&did))).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers().get("retry-after")), (503, None));
    assert_eq!(reader.sim.fired()["read 503"], 1);
}

#[tokio::test]
async fn a_read_that_is_sent_elsewhere() {
    let inside = "http://169.254.169.254/latest";
    let (reader, did) = with_fault("getLatestCommit", ReadFault::Redirect(inside.to_owned())).await;
    let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let answer = client.get(format!("{}{}", reader.sim.url(0), latest_of(&did))).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["location"].to_str().unwrap()), (302, inside));
    assert_eq!(reader.sim.fired()["read redirect"], 1);
}

#[tokio::test]
async fn a_repo_that_moves_on_while_it_is_read() {
    let (reader, did) = with_fault("getLatestCommit", ReadFault::Move).await;
    let before = count(&reader.get(0, &likes_of(&did)).await);
    let mut revs = Vec::new();
    for read in 1..=3 {
        let (status, latest) = reader.get(0, &latest_of(&did)).await;
        assert_eq!(status, 200, "{latest}");
        revs.push(latest["rev"].as_str().unwrap().to_owned());
        assert_eq!(count(&reader.get(0, &likes_of(&did)).await), before + read);
    }
    assert!(revs.is_sorted_by(|earlier, later| earlier < later), "{revs:?}");
    assert_eq!(reader.sim.fired()["read move"], 3);
}

#[tokio::test]
async fn a_document_and_a_listing_about_another_account() {
    let (reader, did) = with_fault("did:plc:", ReadFault::WrongDid).await;
    let (_, document) = reader.get(0, &format!("/{did}")).await;
    assert!(document["id"].as_str().is_some_and(|named| named.starts_with("did:plc:") && named != did), "{document}");
    let (_, page) = reader.get(0, &likes_of(&did)).await;
    let records = page["records"].as_array().unwrap();
    let is_theirs = |record: &Value| record["uri"].as_str().unwrap().starts_with(&format!("at://{did}/"));
    assert!(!records.is_empty() && !records.iter().any(is_theirs), "{page}");
    assert_eq!(reader.sim.fired()["read wrongdid"], 2);
}

#[tokio::test]
async fn a_document_that_names_another_server() {
    let inside = "http://127.0.0.1:9";
    let (reader, did) = with_fault("did:plc:", ReadFault::WrongPds(inside.to_owned())).await;
    let (_, document) = reader.get(0, &format!("/{did}")).await;
    assert_eq!((&document["id"], &document["service"][0]["serviceEndpoint"]), (&did.as_str().into(), &inside.into()));
    let (_, of_log) = reader.get(0, &format!("/{did}/data")).await;
    assert_eq!(of_log["services"]["atproto_pds"]["endpoint"], inside);
    assert_eq!(reader.sim.fired()["read wrongpds"], 2);
}

#[tokio::test]
async fn a_server_that_has_lost_the_records() {
    let (reader, did) = with_fault("listRecords", ReadFault::Empty).await;
    let page = reader.get(0, &likes_of(&did)).await;
    assert_eq!((count(&page), &page.1["cursor"]), (0, &Value::Null));
    assert_eq!(reader.sim.fired()["read empty"], 1);
    let (status, record) = reader.get(0, &format!("/xrpc/com.atproto.sync.getRepo?did={did}")).await;
    assert_eq!(status, 200, "the repo is there all the same: {record}");
}

#[tokio::test]
async fn read_faults_strike_when_they_are_planned() {
    let refusal = |status| ReadFault::Status { status, retry_after: None };
    let reads = ReadPlan::default()
        .with("describeServer", When::At(1), refusal(500))
        .with("_health", When::Every(3), refusal(502))
        .with("listRepos", When::OneIn(4), refusal(504));
    let (reader, _) = with_plan(reads).await;
    let statuses = async |path: &str, count: usize| {
        let mut statuses = Vec::new();
        for _ in 0..count {
            statuses.push(reader.get(0, path).await.0);
        }
        statuses
    };
    assert_eq!(statuses("/xrpc/com.atproto.server.describeServer", 3).await, [200, 500, 200]);
    assert_eq!(statuses("/xrpc/_health", 3).await, [200, 200, 502]);
    let by_chance = statuses("/xrpc/com.atproto.sync.listRepos", 100).await;
    let struck = by_chance.iter().filter(|status| **status == 504).count();
    assert!((5..=60).contains(&struck) && by_chance.contains(&200), "{by_chance:?}");
    let fired = reader.sim.fired();
    assert_eq!((fired["read 500"], fired["read 502"], fired["read 504"]), (1, 1, struck as u64));
}
