use crate::model::{Event, RecordPath, RejectReason};

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
    /// Why, in one sentence. Cut to 300 characters.
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
