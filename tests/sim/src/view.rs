//! How one connection sees a host's log: its dialect, its filter, its compression.

use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    fault::Garbage,
    frames::{HostEvent, Topic},
    wire,
};

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    V1 { says_cursor: bool },
    V2,
    Firehose,
}

/// What a connection wants, and how.
pub(crate) struct View {
    pub dialect: Dialect,
    /// Exact, or `prefix.*`; empty: all.
    pub collections: Vec<String>,
    pub dids: Vec<String>,
    pub kinds: Vec<String>,
    /// Rows with smaller numbers do not come: a cursor can name a row within a commit.
    pub first_row: i64,
    pub compressor: Option<zstd::bulk::Compressor<'static>>,
}

/// Whether a pattern of `wantedCollections` names a collection.
pub(crate) fn matches(pattern: &str, collection: &str) -> bool {
    match pattern.strip_suffix(".*") {
        Some(prefix) => collection.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.')),
        None => pattern == collection,
    }
}

impl View {
    fn wants(&self, event: &HostEvent<'_>, row: usize) -> bool {
        let topic = event.topic(row);
        let of_did = self.dids.is_empty() || self.dids.iter().any(|did| did == event.world.did(event.event.actor));
        let of_kind = self.kinds.is_empty() || self.kinds.iter().any(|kind| kind == topic.kind());
        // Collection filters never drop what is no commit.
        let of_collection = match &topic {
            Topic::Commit { collection } => {
                self.collections.is_empty() || self.collections.iter().any(|pattern| matches(pattern, collection))
            }
            _ => true,
        };
        of_did && of_kind && of_collection
    }

    /// The messages that this connection gets of an event. `withheld` are collections that the host does not deliver now.
    pub(crate) fn messages(
        &mut self,
        event: &HostEvent<'_>,
        (withheld, hidden): (&[String], &mut u64),
    ) -> Vec<Message> {
        let mut is_hidden = |row: usize| {
            let hides = match event.topic(row) {
                Topic::Commit { collection } => withheld.iter().any(|pattern| matches(pattern, &collection)),
                _ => false,
            };
            *hidden += u64::from(hides);
            hides
        };
        if self.dialect == Dialect::Firehose {
            return if is_hidden(0) { Vec::new() } else { vec![Message::binary(event.firehose())] };
        }
        let mut messages = Vec::new();
        for row in 0..event.event.rows() {
            if event.seq(row) < self.first_row || !self.wants(event, row) || is_hidden(row) {
                continue;
            }
            let json = match self.dialect {
                Dialect::V1 { says_cursor } => event.v1(row, says_cursor),
                _ => Some(event.v2(row)),
            };
            messages.extend(json.map(|json| self.message(json)));
        }
        messages
    }

    /// JSON as a message: text, or compressed.
    pub(crate) fn message(&mut self, json: Vec<u8>) -> Message {
        match &mut self.compressor {
            Some(compressor) => {
                Message::binary(compressor.compress(&json).expect("memory is large enough for a frame"))
            }
            None => Message::text(String::from_utf8(json).expect("JSON is UTF-8")),
        }
    }

    /// A client's `options_update`. False: it is none.
    pub(crate) fn update(&mut self, text: &str) -> bool {
        let Ok(update) = serde_json::from_str::<Value>(text) else { return false };
        if update["type"] != "options_update" {
            return false;
        }
        let texts = |name: &str| -> Vec<String> {
            let list = update["payload"][name].as_array().cloned().unwrap_or_default();
            list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        (self.collections, self.dids) = (texts("wantedCollections"), texts("wantedDids"));
        true
    }

    /// An error that ends the stream; none where the dialect has no word for it.
    pub(crate) fn error(&mut self, error: &str) -> Option<Message> {
        match self.dialect {
            Dialect::V1 { .. } => None,
            Dialect::V2 => {
                let json = serde_json::json!({"$type": "error", "error": error, "message": "as planned"});
                Some(self.message(json.to_string().into_bytes()))
            }
            Dialect::Firehose => Some(Message::binary(wire::firehose_error(error))),
        }
    }

    /// A word to the reader; none where the dialect has none.
    pub(crate) fn info(&mut self, name: &str) -> Option<Message> {
        match self.dialect {
            Dialect::V1 { .. } => None,
            Dialect::V2 => {
                let kind = "network.bsky.jetstream.subscribeEvents#info";
                let payload = serde_json::json!({"$type": kind, "name": name, "message": "as planned"});
                let json = serde_json::json!({"$type": "message", "payload": payload});
                Some(self.message(json.to_string().into_bytes()))
            }
            Dialect::Firehose => Some(Message::binary(wire::firehose_info(name))),
        }
    }

    /// A message that is none.
    pub(crate) fn garbage(&mut self, garbage: Garbage) -> Message {
        let firehose = self.dialect == Dialect::Firehose;
        match garbage {
            Garbage::Bomb => Message::binary(bomb()),
            Garbage::Text => Message::text("hello"),
            Garbage::NotJson if firehose => Message::binary(b"\xff\xffhello".to_vec()),
            Garbage::Truncated if firehose => {
                let whole = wire::firehose_identity("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", None, 1, 1);
                Message::binary(whole[..whole.len() / 2].to_vec())
            }
            Garbage::Huge if firehose => {
                Message::binary(wire::message("#identity", &wire::map(vec![("did", wire::text(&"x".repeat(5 << 20)))])))
            }
            Garbage::Deep if firehose => {
                let mut bytes = wire::message("#identity", &wire::map(Vec::new()));
                bytes.pop();
                bytes.extend(vec![0x81; 10_000]);
                Message::binary(bytes)
            }
            Garbage::BrokenFraming if firehose => Message::binary(vec![0xa2, 0x62]),
            Garbage::UnknownKind | Garbage::UnknownType | Garbage::UnknownOperation if firehose => {
                Message::binary(wire::message("#unknown", &wire::map(vec![("seq", ipld_core::ipld::Ipld::Integer(1))])))
            }
            other => {
                let text = json_garbage(other, self.dialect == Dialect::V2);
                self.message(text.into_bytes())
            }
        }
    }
}

/// A zstd frame of 1 GB of zeros in some 30 kB.
fn bomb() -> Vec<u8> {
    static BOMB: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    let make = || {
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).expect("the level exists");
        let zeros = vec![0_u8; 1 << 20];
        for _ in 0..1024 {
            std::io::Write::write_all(&mut encoder, &zeros).expect("a vector takes everything");
        }
        encoder.finish().expect("a vector takes everything")
    };
    BOMB.get_or_init(make).clone()
}

fn json_garbage(garbage: Garbage, v2: bool) -> String {
    let did = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
    let message = |kind: &str, operation: &str| {
        let commit = format!(
            r#""rev":"3l3qo2vutsw2b","operation":"{operation}","collection":"fm.plyr.like","rkey":"3l3qo2vuowo2b""#
        );
        if v2 {
            format!(
                r#"{{"$type":"message","payload":{{"$type":"network.bsky.jetstream.subscribeEvents#{kind}","seq":1,"did":"{did}","time":"2025-01-01T00:00:00Z",{commit}}}}}"#
            )
        } else {
            format!(r#"{{"did":"{did}","time_us":1735689600000000,"kind":"{kind}","commit":{{{commit}}}}}"#)
        }
    };
    match garbage {
        Garbage::Truncated => {
            let whole = message("commit", "create");
            whole[..whole.len() / 2].to_owned()
        }
        Garbage::Huge => format!("\"{}\"", "x".repeat(5 << 20)),
        Garbage::Deep => "[".repeat(10_000) + &"]".repeat(10_000),
        Garbage::UnknownKind => message("unheardOf", "create"),
        Garbage::UnknownType if v2 => r#"{"$type":"unheardOf","payload":{}}"#.to_owned(),
        Garbage::UnknownType => message("unheardOf", "unheardOf"),
        Garbage::UnknownOperation => message("commit", "unheardOf"),
        _ => "hello, this is no JSON".to_owned(),
    }
}
