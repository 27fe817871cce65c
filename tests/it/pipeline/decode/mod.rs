//! The decoders at their edges: what hosts, clients and accidents send. Every broken message is one reject, none is a panic.

mod bluesky;
mod firehose_messages;
mod jetstream_messages;
mod jetstream_v2_messages;
mod records;
mod rejects;
pub mod verify;

use ipld_core::ipld::Ipld;
use plyr_likes::{
    decode::{
        Frame, Item, Reject,
        firehose::{self, Message},
        jetstream_v1,
    },
    model::{Collections, Event, EventBody, Operation, Record, RejectReason},
};
use serde_json::{Value, json};

use crate::pipeline::wire::{commit, create, ipld, message, put};

fn collections() -> Collections {
    Collections::of_namespace("fm.plyr").unwrap()
}

fn decode_json(message: &Value) -> Frame {
    jetstream_v1::decode_message(&collections(), message.to_string().as_bytes())
}

/// The same record through both dialects; they must say the same.
fn decode_both(collection: &str, rkey: &str, record: &Value) -> Result<Record, (RejectReason, Option<String>)> {
    let from_json = decode_json(&create(collection, rkey, record)).items;
    let block = serde_ipld_dagcbor::to_vec(&ipld(record)).unwrap();
    let from_cbor = decode_frame(&commit(&[put(collection, rkey, &block)])).items;
    let outcome = |items| match only_item(items) {
        Item::Event(event) => Ok(only_record(vec![Item::Event(event)])),
        Item::Reject(reject) => Err((reject.reason, reject.field)),
    };
    let (from_json, from_cbor) = (outcome(from_json), outcome(from_cbor));
    assert_eq!(from_json, from_cbor, "{record}");
    from_json
}

fn decode_of(kind: &str, payload: &Ipld) -> Frame {
    match firehose::decode_message(&collections(), &message(&json!({"op": 1, "t": kind}), payload)) {
        Message::Frame(frame) => frame,
        other => panic!("no frame: {other:?}"),
    }
}

fn decode_frame(payload: &Ipld) -> Frame {
    decode_of("#commit", payload)
}

fn only_item(items: Vec<Item>) -> Item {
    let [item] = <[Item; 1]>::try_from(items).unwrap();
    item
}

fn only_reject(items: Vec<Item>) -> Reject {
    match <[Item; 1]>::try_from(items) {
        Ok([Item::Reject(reject)]) => *reject,
        other => panic!("not exactly one reject: {other:?}"),
    }
}

fn only_event(items: Vec<Item>) -> Event {
    match <[Item; 1]>::try_from(items) {
        Ok([Item::Event(event)]) => event,
        other => panic!("not exactly one event: {other:?}"),
    }
}

fn only_record(items: Vec<Item>) -> Record {
    match only_event(items).body {
        EventBody::Commit(commit) => match commit.operation {
            Operation::Put { record, .. } => record,
            Operation::Delete => panic!("a delete"),
        },
        other => panic!("no commit: {other:?}"),
    }
}

/// Runs on a stack of 1 MiB, half of what a worker has; recursion as deep as the sender likes would end the process.
fn on_half_a_stack<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap().join().unwrap()
}
