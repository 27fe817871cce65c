//! Events as each dialect writes them.

use ipld_core::ipld::Ipld;
use serde_json::{Value, json};

use crate::{
    event::{Event, What},
    host::Entry,
    model::tid_text,
    wire::{self, Body, Commit, time_text},
    world::World,
};

/// Where the types of Jetstream v2 are defined.
const V2: &str = "network.bsky.jetstream.subscribeEvents";

/// An event as one host knows it.
#[derive(Clone, Copy)]
pub(crate) struct HostEvent<'w> {
    pub world: &'w World,
    pub event: &'w Event,
    pub entry: &'w Entry,
}

/// What a row of a Jetstream is about, to be filtered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Topic {
    Commit { collection: String },
    Account,
    Identity,
    Sync,
}

impl Topic {
    /// The word that `kinds` has for it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Commit { .. } => "commit",
            Self::Account => "account",
            Self::Identity => "identity",
            Self::Sync => "sync",
        }
    }
}

impl HostEvent<'_> {
    fn did(&self) -> &str {
        self.world.did(self.event.actor)
    }

    /// What row number `row` of the event is about.
    pub(crate) fn topic(&self, row: usize) -> Topic {
        match &self.event.what {
            What::Like { .. } | What::Unlike { .. } => Topic::Commit { collection: "fm.plyr.like".to_owned() },
            What::Commit(operations) => Topic::Commit { collection: operations[row].collection.clone() },
            What::Account { .. } => Topic::Account,
            What::Identity { .. } => Topic::Identity,
            What::Sync { .. } => Topic::Sync,
        }
    }

    /// A row as a Jetstream v1 writes it; none of what it never carries. A v2 server says its own number besides.
    pub(crate) fn v1(&self, row: usize, says_cursor: bool) -> Option<Vec<u8>> {
        let Entry { time_us, .. } = *self.entry;
        let cursor = if says_cursor { format!(",\"cursor\":{}", self.seq(row)) } else { String::new() };
        let (did, kind) = (self.did(), self.topic(row).kind());
        let body = match &self.event.what {
            What::Sync { .. } => return None,
            What::Account { .. } => self.account(),
            What::Identity { .. } => self.identity(),
            _ => self.commit_json(row),
        };
        Some(format!(r#"{{"did":"{did}","time_us":{time_us}{cursor},"kind":"{kind}","{kind}":{body}}}"#).into_bytes())
    }

    /// A row as a Jetstream v2 writes it.
    pub(crate) fn v2(&self, row: usize) -> Vec<u8> {
        let (did, kind, seq) = (self.did(), self.topic(row).kind(), self.seq(row));
        let time = time_text(self.entry.time_us);
        let body = match &self.event.what {
            What::Account { .. } => format!(r#""account":{}"#, self.account()),
            What::Identity { .. } => format!(r#""identity":{}"#, self.identity()),
            What::Sync { .. } => format!(r#""sync":{}"#, self.sync()),
            _ => {
                let commit = self.commit_json(row);
                commit[1..commit.len() - 1].to_owned()
            }
        };
        format!(
            r#"{{"$type":"message","payload":{{"$type":"{V2}#{kind}","seq":{seq},"did":"{did}","time":"{time}",{body}}}}}"#
        )
        .into_bytes()
    }

    /// The number of a row.
    pub(crate) fn seq(&self, row: usize) -> i64 {
        self.entry.row + i64::try_from(row).expect("few operations")
    }

    /// The object `commit` of v1; v2 has the same fields one level up.
    fn commit_json(&self, row: usize) -> String {
        let rev = tid_text(self.event.rev);
        match &self.event.what {
            What::Like { rkey, track, update } => {
                let (rkey, operation) = (tid_text(*rkey), if *update { "update" } else { "create" });
                let like = LikeText::of(self, *track);
                format!(
                    r#"{{"rev":"{rev}","operation":"{operation}","collection":"fm.plyr.like","rkey":"{rkey}","record":{},"cid":"{}"}}"#,
                    like.json(),
                    wire::cid_of(&like.cbor())
                )
            }
            What::Unlike { rkey } => {
                let rkey = tid_text(*rkey);
                format!(r#"{{"rev":"{rev}","operation":"delete","collection":"fm.plyr.like","rkey":"{rkey}"}}"#)
            }
            What::Commit(operations) => {
                let operation = &operations[row];
                let mut body = json!({
                    "rev": rev, "operation": "delete", "collection": operation.collection, "rkey": operation.rkey,
                });
                if let Body::Put { json, created, .. } = &operation.body {
                    body["operation"] = if *created { "create" } else { "update" }.into();
                    body["cid"] = wire::cid_of(&wire::cbor_of(json)).to_string().into();
                    body["record"] = json.clone();
                }
                body.to_string()
            }
            _ => String::new(),
        }
    }

    fn account(&self) -> String {
        let What::Account { status } = &self.event.what else { return String::new() };
        let mut account = json!({
            "active": status.is_none(), "did": self.did(), "seq": self.entry.seq, "time": time_text(self.event.time_us()),
        });
        if let Some(status) = status {
            account["status"] = (*status).into();
        }
        account.to_string()
    }

    fn handle(&self) -> Option<String> {
        matches!(self.event.what, What::Identity { names_handle: true }).then(|| self.world.handle(self.event.actor))
    }

    fn identity(&self) -> String {
        let time = time_text(self.event.time_us());
        let mut identity = json!({"did": self.did(), "seq": self.entry.seq, "time": time});
        if let Some(handle) = self.handle() {
            identity["handle"] = handle.into();
        }
        identity.to_string()
    }

    fn sync(&self) -> Value {
        let blocks = data_encoding::BASE64_NOPAD.encode(&self.sync_blocks());
        json!({
            "did": self.did(), "rev": tid_text(self.event.rev), "seq": self.entry.seq,
            "time": time_text(self.event.time_us()), "blocks": {"$bytes": blocks},
        })
    }

    /// A CAR with the repo's commit alone.
    fn sync_blocks(&self) -> Vec<u8> {
        let at = self.entry.event;
        if let Some(slice) = self.world.trees.slice(at) {
            return slice.blocks.to_vec();
        }
        let signed = wire::commit_block(self.did(), self.event.rev, wire::empty_tree_cid());
        wire::car(wire::cid_of(&signed), &[signed])
    }

    /// The whole event as one message of a firehose.
    pub(crate) fn firehose(&self) -> Vec<u8> {
        let Entry { seq, time_us, .. } = *self.entry;
        let did = self.did();
        match &self.event.what {
            // Relays hand these on with the time at which their PDS said so.
            What::Account { status } => wire::firehose_account_as(did, *status, seq, self.event.time_us()),
            What::Identity { .. } => wire::firehose_identity(did, self.handle().as_deref(), seq, self.event.time_us()),
            What::Sync { .. } => {
                let fields = vec![
                    ("seq", Ipld::Integer(seq.into())),
                    ("did", Ipld::String(did.to_owned())),
                    ("rev", Ipld::String(tid_text(self.event.rev))),
                    ("blocks", Ipld::Bytes(self.sync_blocks())),
                    ("time", Ipld::String(time_text(time_us))),
                ];
                wire::message("#sync", &wire::map(fields))
            }
            _ => {
                let commit: Commit = self.event.commit(self.world);
                let since = (self.event.since != 0).then_some(self.event.since);
                self.world.trees.slice(self.entry.event).map_or_else(
                    || wire::firehose_message_since(&commit, since, (seq, time_us)),
                    |slice| wire::commit_message(&commit, slice, seq, time_us),
                )
            }
        }
    }
}

/// The texts of a like, written without a detour: most of what is ever sent.
struct LikeText {
    uri: String,
    cid: String,
    created_at: String,
}

impl LikeText {
    fn of(event: &HostEvent<'_>, track: u32) -> Self {
        let uri = event.world.track_uri(track);
        let cid = wire::some_cid(&uri);
        Self { uri, cid, created_at: time_text(event.event.time_us()) }
    }

    fn json(&self) -> String {
        let Self { uri, cid, created_at } = self;
        format!(r#"{{"$type":"fm.plyr.like","createdAt":"{created_at}","subject":{{"cid":"{cid}","uri":"{uri}"}}}}"#)
    }

    fn cbor(&self) -> Vec<u8> {
        let mut bytes = vec![0xa3];
        for part in ["$type", "fm.plyr.like", "subject"] {
            text(&mut bytes, part);
        }
        bytes.push(0xa2);
        for part in ["cid", &self.cid, "uri", &self.uri, "createdAt", &self.created_at] {
            text(&mut bytes, part);
        }
        bytes
    }
}

/// A CBOR text.
fn text(bytes: &mut Vec<u8>, text: &str) {
    let length = text.len();
    match u8::try_from(length) {
        Ok(short @ 0..24) => bytes.push(0x60 | short),
        Ok(byte) => bytes.extend([0x78, byte]),
        Err(_) => {
            bytes.push(0x79);
            bytes.extend(u16::try_from(length).expect("texts of likes are short").to_be_bytes());
        }
    }
    bytes.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likes_are_written_as_the_general_encoder_writes_them() {
        let uri = format!("at://did:web:{}/fm.plyr.track/3l3pte3p2e325", "long".repeat(60));
        let like = LikeText { cid: wire::some_cid(&uri), uri, created_at: "2025-01-01T00:00:00Z".to_owned() };
        let json = wire::like_json(&like.uri, &like.cid, &like.created_at);
        assert_eq!(wire::cbor_of(&json), like.cbor());
        assert_eq!(json, serde_json::from_str::<Value>(&like.json()).expect("JSON"));
    }
}
