use super::{
    firehose,
    frame::Message,
    jetstream_v1, jetstream_v2,
    operation::decode_put,
    record::RawRecord,
    refusal::Refusal,
    reject::{Item, RawFormat},
};
use crate::model::{Collections, RecordPath, RejectReason};

/// Reads again what was refused earlier, from the bytes that were kept.
///
/// `path` must be given for a record, as it was in the reject. Bytes that are still refused give a reject again; a message
/// of which nothing is ours any more gives no item.
pub fn decode_reject(collections: &Collections, format: RawFormat, path: Option<&RecordPath>, raw: &[u8]) -> Vec<Item> {
    match (format, path) {
        (RawFormat::JetstreamV1, _) => jetstream_v1::decode_message(collections, raw).items,
        (RawFormat::JetstreamV2, _) => items(jetstream_v2::decode_message(collections, raw)),
        (RawFormat::Firehose, _) => items(firehose::decode_message(collections, raw)),
        (RawFormat::RecordJson | RawFormat::RecordCbor, Some(path)) => {
            vec![decode_put(collections, path.clone(), RawRecord { format, bytes: raw })]
        }
        (RawFormat::RecordJson | RawFormat::RecordCbor, None) => {
            let refusal = Refusal::whole(RejectReason::Envelope, "a record without its path cannot be applied");
            vec![Item::Reject(Box::new(refusal.about(None, format, raw)))]
        }
    }
}

fn items(message: Message) -> Vec<Item> {
    match message {
        Message::Frame(frame) => frame.items,
        Message::Info { .. } | Message::Error { .. } => Vec::new(),
    }
}
