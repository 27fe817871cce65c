use super::{Collection, Event};
use crate::atproto::{Cid, Did, RecordKey, Tid};

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
    pub reason: Reason,
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

/// The record that a reject is about.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordPath {
    /// Whose repo.
    pub did: Did,
    /// Which of our collections.
    pub collection: Collection,
    /// Its key; need not be of the form that the lexicon asks for.
    pub rkey: RecordKey,
    /// The commit's rev.
    pub rev: Tid,
    /// The CID that the commit names.
    pub cid: Option<Cid>,
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

/// Every reason to refuse. Stored with the reject, and a label of the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The message is not of its dialect's encoding: not JSON, not DAG-CBOR, cut short.
    FrameEncoding,
    /// The message is larger or deeper nested than any honest one.
    FrameBound,
    /// The message is well encoded, but a field of its envelope is missing or of the wrong type.
    Envelope,
    /// A kind, message type or operation that the dialect does not know.
    UnknownKind,
    /// The envelope names something that is no DID, rev, NSID, record key or CID.
    Identifier,
    /// The record's block is not in the commit's slice, or the slice cannot be read.
    BlockMissing,
    /// The record's bytes do not hash to the CID that the operation names.
    CidMismatch,
    /// The commit was too big for the stream to carry.
    TooBig,
    /// The record is not of the data model: not JSON or DAG-CBOR, a float, a lone surrogate, nested too deep.
    RecordEncoding,
    /// The record's `$type` is missing or not that of its collection.
    RecordType,
    /// The record breaks its lexicon in the named field.
    Lexicon,
    /// The record key is not of the form that the lexicon asks for.
    RecordKey,
    /// A text that the index keeps holds U+0000, which Postgres refuses.
    NulCharacter,
    /// The database refused a row that the decoder let pass.
    NotStorable,
    /// The commit is not signed by the key in its owner's DID document.
    Signature,
    /// The commit is not what its owner's repo proves: of another repo, incomplete, or not what happened to the tree.
    Unproven,
    /// Nobody tells by which key the commit must be signed.
    KeyUnknown,
}

impl Reason {
    /// All of them, to register their counters at the start.
    pub const ALL: [Self; 17] = [
        Self::FrameEncoding,
        Self::FrameBound,
        Self::Envelope,
        Self::UnknownKind,
        Self::Identifier,
        Self::BlockMissing,
        Self::CidMismatch,
        Self::TooBig,
        Self::RecordEncoding,
        Self::RecordType,
        Self::Lexicon,
        Self::RecordKey,
        Self::NulCharacter,
        Self::NotStorable,
        Self::Signature,
        Self::Unproven,
        Self::KeyUnknown,
    ];

    /// The word in table, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FrameEncoding => "frame_encoding",
            Self::FrameBound => "frame_bound",
            Self::Envelope => "envelope",
            Self::UnknownKind => "unknown_kind",
            Self::Identifier => "identifier",
            Self::BlockMissing => "block_missing",
            Self::CidMismatch => "cid_mismatch",
            Self::TooBig => "too_big",
            Self::RecordEncoding => "record_encoding",
            Self::RecordType => "record_type",
            Self::Lexicon => "lexicon",
            Self::RecordKey => "record_key",
            Self::NulCharacter => "nul_character",
            Self::NotStorable => "not_storable",
            Self::Signature => "signature",
            Self::Unproven => "unproven",
            Self::KeyUnknown => "key_unknown",
        }
    }

    /// Reads the word of the table.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }

    /// Whether the message itself is in order, and only its proof is not: it may be applied as soon as it is proven.
    pub fn is_about_proof(self) -> bool {
        matches!(self, Self::Signature | Self::Unproven | Self::KeyUnknown)
    }
}
