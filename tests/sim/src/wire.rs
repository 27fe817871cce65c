//! What happened in a repo, as a Jetstream v1 host and as a firehose write it. Shares no code with the library.

#![expect(missing_docs, reason = "commits, operations and records are named as the specifications name them")]

mod firehose;

use chrono::{DateTime, SecondsFormat};
use ipld_core::{cid::Cid, cid::multihash::Multihash, ipld::Ipld};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub use firehose::*;

use crate::model::{Kind, Like, List, Profile, Record, Track, What, Write, tid_text};

/// One commit of one repo: one rev, one or more operations.
#[derive(Debug, Clone)]
pub struct Commit {
    pub did: String,
    pub rev: i64,
    pub operations: Vec<Operation>,
}

#[derive(Debug, Clone)]
pub struct Operation {
    pub collection: String,
    pub rkey: String,
    pub body: Body,
}

#[derive(Debug, Clone)]
pub enum Body {
    /// A record as written, and what it means where it satisfies its lexicon.
    Put { json: Value, meaning: Option<Record>, created: bool },
    /// No record any more.
    Delete,
}

impl Operation {
    pub fn new(collection: &str, rkey: &str, body: Body) -> Self {
        Self { collection: collection.to_owned(), rkey: rkey.to_owned(), body }
    }

    pub fn like(rkey: &str, body: Body) -> Self {
        Self::new("fm.plyr.like", rkey, body)
    }

    pub fn track(rkey: &str, body: Body) -> Self {
        Self::new("fm.plyr.track", rkey, body)
    }

    pub fn list(rkey: &str, body: Body) -> Self {
        Self::new("fm.plyr.list", rkey, body)
    }
}

impl Commit {
    pub fn new(did: &str, rev: i64, operations: Vec<Operation>) -> Self {
        Self { did: did.to_owned(), rev, operations }
    }

    /// What the operation at this place means to the referee; none when it is not of our collections.
    pub fn write(&self, at: usize) -> Option<Write> {
        let operation = &self.operations[at];
        let what = match &operation.body {
            Body::Put { json, meaning: Some(record), .. } => {
                What::Valid { cid: cid_of(&cbor_of(json)).to_bytes(), record: record.clone() }
            }
            Body::Put { meaning: None, .. } => What::Invalid,
            Body::Delete => What::Deleted,
        };
        let kind = Kind::of_nsid(&operation.collection)?;
        Some(Write { did: self.did.clone(), kind, rkey: operation.rkey.clone(), rev: self.rev, what })
    }

    /// All of them.
    pub fn writes(&self) -> Vec<Write> {
        (0..self.operations.len()).filter_map(|at| self.write(at)).collect()
    }
}

/// Microseconds since 1970 of an RFC 3339 text.
pub fn micros(text: &str) -> i64 {
    DateTime::parse_from_rfc3339(text).expect("the tests write valid times here").timestamp_micros()
}

/// RFC 3339 with `Z`.
pub fn time_text(micros: i64) -> String {
    DateTime::from_timestamp_micros(micros).expect("a time of this age").to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// A CID that stands for some version of something.
pub fn some_cid(seed: &str) -> String {
    cid_of(seed.as_bytes()).to_string()
}

pub fn put(json: Value, meaning: Record) -> Body {
    Body::Put { json, meaning: Some(meaning), created: true }
}

/// A record that breaks its lexicon.
pub fn invalid(json: Value) -> Body {
    Body::Put { json, meaning: None, created: true }
}

/// The same body, as an update.
pub fn updated(body: Body) -> Body {
    match body {
        Body::Put { json, meaning, .. } => Body::Put { json, meaning, created: false },
        Body::Delete => Body::Delete,
    }
}

pub fn like_json(subject: &str, cid: &str, created_at: &str) -> Value {
    json!({"$type": "fm.plyr.like", "subject": {"uri": subject, "cid": cid}, "createdAt": created_at})
}

pub fn like(subject: &str, created_at: &str) -> Body {
    let cid = some_cid(subject);
    put(
        like_json(subject, &cid, created_at),
        Record::Like(Like { subject: subject.to_owned(), subject_cid: cid, created_at: micros(created_at) }),
    )
}

pub fn list(
    items: &[(String, String)],
    name: Option<&str>,
    list_type: Option<&str>,
    times: (&str, Option<&str>),
) -> Body {
    let (created_at, updated_at) = times;
    let mut json = json!({
        "$type": "fm.plyr.list",
        "items": items.iter().map(|(uri, cid)| json!({"subject": {"uri": uri, "cid": cid}})).collect::<Vec<_>>(),
        "createdAt": created_at,
    });
    for (field, value) in [("name", name), ("listType", list_type), ("updatedAt", updated_at)] {
        if let Some(value) = value {
            json[field] = value.into();
        }
    }
    let meaning = List {
        items: items.to_vec(),
        name: name.map(str::to_owned),
        list_type: list_type.map(str::to_owned),
        created_at: micros(created_at),
        updated_at: updated_at.map(micros),
    };
    put(json, Record::List(meaning))
}

/// A track with only what must be there.
pub fn track(title: &str, created_at: &str) -> Body {
    full_track(Track {
        title: title.to_owned(),
        artist: "The Wire".to_owned(),
        file_type: "mp3".to_owned(),
        album: None,
        duration: None,
        description: None,
        audio_url: None,
        audio_cid: None,
        image_url: None,
        features: Vec::new(),
        labels: Vec::new(),
        support_gate: None,
        created_at: micros(created_at),
    })
}

/// A track as the meaning says it.
pub fn full_track(meaning: Track) -> Body {
    let mut json = json!({
        "$type": "fm.plyr.track", "title": meaning.title, "artist": meaning.artist, "fileType": meaning.file_type,
        "createdAt": time_text(meaning.created_at),
    });
    let texts = [
        ("album", &meaning.album),
        ("description", &meaning.description),
        ("audioUrl", &meaning.audio_url),
        ("imageUrl", &meaning.image_url),
    ];
    for (field, value) in texts {
        if let Some(value) = value {
            json[field] = value.as_str().into();
        }
    }
    if let Some(duration) = meaning.duration {
        json["duration"] = duration.into();
    }
    if let Some(cid) = &meaning.audio_cid {
        json["audioBlob"] = json!({"$type": "blob", "ref": {"$link": cid}, "mimeType": "audio/mpeg", "size": 4096});
    }
    if !meaning.features.is_empty() {
        json["features"] = meaning.features.iter().map(|did| json!({"did": did})).collect();
    }
    if !meaning.labels.is_empty() {
        let values: Vec<Value> = meaning.labels.iter().map(|label| json!({"val": label})).collect();
        json["labels"] = json!({"$type": "com.atproto.label.defs#selfLabels", "values": values});
    }
    if let Some(gate) = &meaning.support_gate {
        json["supportGate"] = gate.clone();
    }
    put(json, Record::Track(Box::new(meaning)))
}

pub fn profile(bio: Option<&str>, avatar: Option<&str>, created_at: &str) -> Body {
    let mut json = json!({"$type": "fm.plyr.actor.profile", "createdAt": created_at});
    for (field, value) in [("bio", bio), ("avatar", avatar)] {
        if let Some(value) = value {
            json[field] = value.into();
        }
    }
    let meaning = Profile {
        avatar: avatar.map(str::to_owned),
        bio: bio.map(str::to_owned),
        created_at: micros(created_at),
        updated_at: None,
    };
    put(json, Record::Profile(meaning))
}

/// JSON of the data model as IPLD: `$link` and `$bytes` objects are links and bytes.
fn ipld_of(json: &Value) -> Ipld {
    match json {
        Value::Null => Ipld::Null,
        Value::Bool(value) => Ipld::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => Ipld::Integer(integer.into()),
            (None, Some(integer)) => Ipld::Integer(integer.into()),
            (None, None) => Ipld::Float(number.as_f64().expect("a number is an integer or a float")),
        },
        Value::String(text) => Ipld::String(text.clone()),
        Value::Array(items) => Ipld::List(items.iter().map(ipld_of).collect()),
        Value::Object(fields) => match (fields.len(), fields.get("$link").and_then(Value::as_str)) {
            (1, Some(link)) => Ipld::Link(Cid::try_from(link).expect("the tests write valid links")),
            _ => Ipld::Map(fields.iter().map(|(name, value)| (name.clone(), ipld_of(value))).collect()),
        },
    }
}

pub(crate) fn encode(ipld: &Ipld) -> Vec<u8> {
    serde_ipld_dagcbor::to_vec(ipld).expect("the data model has an encoding")
}

/// A record's bytes as its repo holds them.
pub fn cbor_of(json: &Value) -> Vec<u8> {
    encode(&ipld_of(json))
}

/// The CID of DAG-CBOR bytes.
pub fn cid_of(bytes: &[u8]) -> Cid {
    let hash = Multihash::wrap(0x12, &Sha256::digest(bytes)).expect("32 bytes fit");
    Cid::new_v1(0x71, hash)
}

/// The operation at this place as a Jetstream v1 message.
pub fn v1_message(commit: &Commit, at: usize, time_us: i64) -> Vec<u8> {
    let operation = &commit.operations[at];
    let mut body = json!({
        "rev": tid_text(commit.rev), "operation": "delete", "collection": operation.collection, "rkey": operation.rkey,
    });
    if let Body::Put { json, created, .. } = &operation.body {
        body["operation"] = if *created { "create" } else { "update" }.into();
        body["cid"] = cid_of(&cbor_of(json)).to_string().into();
        body["record"] = json.clone();
    }
    json!({"did": commit.did, "time_us": time_us, "kind": "commit", "commit": body}).to_string().into_bytes()
}

pub fn v1_identity(did: &str, handle: Option<&str>, time_us: i64) -> Vec<u8> {
    let mut identity = json!({"did": did, "seq": time_us, "time": time_text(time_us)});
    if let Some(handle) = handle {
        identity["handle"] = handle.into();
    }
    json!({"did": did, "time_us": time_us, "kind": "identity", "identity": identity}).to_string().into_bytes()
}

/// An `#account` event: whether the account is active and why not; when it happened, and when the host sends it.
pub fn v1_account(did: &str, (active, status): (bool, Option<&str>), (at_us, time_us): (i64, i64)) -> Vec<u8> {
    let mut account = json!({"active": active, "did": did, "seq": time_us, "time": time_text(at_us)});
    if let Some(status) = status {
        account["status"] = status.into();
    }
    json!({"did": did, "time_us": time_us, "kind": "account", "account": account}).to_string().into_bytes()
}
