use crate::{
    atproto::{Did, Tid},
    model::{Event, EventBody, RecordPath, RejectReason},
};

/// What comes out of a frame.
#[derive(Debug)]
pub enum Item {
    /// Something to apply.
    Event(Event),
    /// Something refused.
    Reject(Box<Reject>),
}

/// Something refused, with all that is needed to show it and to try again.
#[derive(Debug, Clone, PartialEq)]
pub struct Reject {
    /// Why, in one word.
    pub reason: RejectReason,
    /// The field at fault, as a path such as `subject.uri` or `items[3].subject.cid`, where one is.
    pub field: Option<String>,
    /// Why, in one sentence. May quote what is refused.
    pub detail: String,
    /// Which record, when the frame could be read that far. The index then knows that whatever it held at this path before
    /// this rev is no longer there.
    pub path: Option<RecordPath>,
    /// How to read `raw`.
    pub raw_format: RawFormat,
    /// The bytes as they came: of the record where it is the record that is at fault, of the whole message otherwise; none
    /// where a commit names a block that it does not carry. Of one message, one reject at most keeps the whole. Cut to [`Reject::RAW_MAX`].
    pub raw: Vec<u8>,
    /// How many bytes there were.
    pub raw_length: usize,
}

impl Reject {
    /// Bytes kept at most. A record that its PDS accepted is smaller.
    pub const RAW_MAX: usize = 1 << 20;

    /// Of a whole message, and of no record in particular.
    pub fn of_message(reason: RejectReason, detail: String, raw_format: RawFormat, message: &[u8]) -> Self {
        Self {
            reason,
            field: None,
            detail,
            path: None,
            raw_format,
            raw: message[..message.len().min(Self::RAW_MAX)].to_vec(),
            raw_length: message.len(),
        }
    }
}

impl Item {
    /// The repo and rev that it tells of.
    pub fn rev(&self) -> Option<(&Did, Tid)> {
        match self {
            Self::Event(event) => event.rev().map(|rev| (&event.did, rev)),
            Self::Reject(reject) => reject.path.as_ref().map(|path| (&path.did, path.rev)),
        }
    }

    /// Whether it tells of a record of ours.
    pub fn is_about_record(&self) -> bool {
        match self {
            Self::Event(event) => matches!(event.body, EventBody::Commit(_)),
            Self::Reject(reject) => reject.path.is_some(),
        }
    }
}

/// How the raw bytes of a reject are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawFormat {
    /// A record as JSON.
    RecordJson,
    /// A record as DAG-CBOR.
    RecordCbor,
    /// A whole Jetstream v1 message.
    JetstreamV1,
    /// A whole Jetstream v2 message.
    JetstreamV2,
    /// A whole firehose message.
    Firehose,
}

impl RawFormat {
    /// The word in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RecordJson => "record_json",
            Self::RecordCbor => "record_cbor",
            Self::JetstreamV1 => "jetstream_v1",
            Self::JetstreamV2 => "jetstream_v2",
            Self::Firehose => "firehose",
        }
    }

    /// Reads the word of the table.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::RecordJson, Self::RecordCbor, Self::JetstreamV1, Self::JetstreamV2, Self::Firehose]
            .into_iter()
            .find(|format| format.as_str() == text)
    }
}
