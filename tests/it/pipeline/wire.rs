//! Records, and messages as hosts send them: Jetstream's JSON and the firehose's DAG-CBOR.

use ipld_core::{cid::Cid as IpldCid, ipld::Ipld};
use plyr_likes::atproto::Cid;
use serde_json::{Value, json};

pub const DID: &str = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";
pub const CID: &str = "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a";
pub const REV: &str = "3l3qo2vutsw2b";
pub const KEY: &str = "3l3qo2vuowo2b";
pub const TRACK: &str = "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/fm.plyr.track/3l3pte3p2e325";

pub fn like() -> Value {
    json!({"$type": "fm.plyr.like", "createdAt": "2024-09-09T19:46:02.102Z", "subject": {"cid": CID, "uri": TRACK}})
}

pub fn list(items: usize) -> Value {
    json!({"$type": "fm.plyr.list", "createdAt": "2024-09-09T19:46:02.102Z",
        "items": vec![json!({"subject": {"cid": CID, "uri": TRACK}}); items]})
}

pub fn track() -> Value {
    json!({"$type": "fm.plyr.track", "createdAt": "2024-09-09T19:46:02.102Z", "title": "t", "artist": "a", "fileType": "mp3"})
}

/// A Jetstream message that creates a record.
pub fn create(collection: &str, rkey: &str, record: &Value) -> Value {
    json!({"did": DID, "time_us": 1_725_911_162_329_308_i64, "kind": "commit", "commit": {
        "rev": REV, "operation": "create", "collection": collection, "rkey": rkey, "record": record, "cid": CID}})
}

pub fn delete(collection: &str, rkey: &str) -> Value {
    json!({"did": DID, "time_us": 1, "kind": "commit",
        "commit": {"rev": REV, "operation": "delete", "collection": collection, "rkey": rkey}})
}

pub fn ipld(value: &Value) -> Ipld {
    match value {
        Value::Null => Ipld::Null,
        Value::Bool(value) => Ipld::Bool(*value),
        Value::Number(number) => match number.as_i64() {
            Some(number) => Ipld::Integer(number.into()),
            None => number.as_u64().map_or_else(|| Ipld::Float(number.as_f64().unwrap()), |n| Ipld::Integer(n.into())),
        },
        Value::String(text) => Ipld::String(text.clone()),
        Value::Array(items) => Ipld::List(items.iter().map(ipld).collect()),
        Value::Object(fields) => Ipld::Map(fields.iter().map(|(name, value)| (name.clone(), ipld(value))).collect()),
    }
}

/// One operation of a commit, with the block that goes along.
pub struct Sent {
    pub operation: Ipld,
    pub block: Option<(IpldCid, Vec<u8>)>,
}

pub fn ipld_cid(bytes: &[u8]) -> IpldCid {
    IpldCid::try_from(Cid::of_record(bytes).to_bytes()).unwrap()
}

pub fn operation(action: &str, path: &str, cid: Option<IpldCid>) -> Ipld {
    Ipld::Map(
        [
            ("action".to_owned(), action.into()),
            ("path".to_owned(), path.into()),
            ("cid".to_owned(), cid.map_or(Ipld::Null, Ipld::Link)),
        ]
        .into(),
    )
}

pub fn put(collection: &str, rkey: &str, block: &[u8]) -> Sent {
    let cid = ipld_cid(block);
    Sent {
        operation: operation("create", &format!("{collection}/{rkey}"), Some(cid)),
        block: Some((cid, block.to_vec())),
    }
}

pub fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap());
    bytes
}

pub fn car<'b>(blocks: impl Iterator<Item = &'b (IpldCid, Vec<u8>)>) -> Vec<u8> {
    let header = serde_ipld_dagcbor::to_vec(&ipld(&json!({"roots": [], "version": 1}))).unwrap();
    let mut car = [varint(header.len()), header].concat();
    for (cid, block) in blocks {
        let cid = cid.to_bytes();
        car.extend([varint(cid.len() + block.len()), cid, block.clone()].concat());
    }
    car
}

/// The payload of a `#commit`.
pub fn commit(sent: &[Sent]) -> Ipld {
    let mut payload =
        ipld(&json!({"repo": DID, "rev": REV, "since": null, "seq": 77, "time": "2024-09-09T19:46:02.102Z",
        "tooBig": false, "rebase": false, "blobs": []}));
    set(&mut payload, "commit", Ipld::Link(ipld_cid(b"commit")));
    set(&mut payload, "ops", Ipld::List(sent.iter().map(|sent| sent.operation.clone()).collect()));
    set(&mut payload, "blocks", Ipld::Bytes(car(sent.iter().filter_map(|sent| sent.block.as_ref()))));
    payload
}

pub fn set(map: &mut Ipld, name: &str, value: Ipld) {
    let Ipld::Map(entries) = map else { panic!("not a map") };
    entries.insert(name.to_owned(), value);
}

pub fn message(header: &Value, payload: &Ipld) -> Vec<u8> {
    [serde_ipld_dagcbor::to_vec(&ipld(header)).unwrap(), serde_ipld_dagcbor::to_vec(payload).unwrap()].concat()
}
