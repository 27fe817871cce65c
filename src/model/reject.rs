use super::words::words;

words! {
    /// Every reason to refuse. Stored with the reject, and a label of the metric.
    pub enum RejectReason {
        /// The message is not of its dialect's encoding: not JSON, not DAG-CBOR, cut short.
        FrameEncoding = "frame_encoding",
        /// The message is larger or deeper nested than any honest one.
        FrameBound = "frame_bound",
        /// The message is well encoded, but a field of its envelope is missing or of the wrong type.
        Envelope = "envelope",
        /// A kind, message type or operation that the dialect does not know.
        UnknownKind = "unknown_kind",
        /// The envelope names something that is no DID, rev, NSID, record key or CID.
        Identifier = "identifier",
        /// The record's block is not in the commit's slice, or the slice cannot be read.
        BlockMissing = "block_missing",
        /// The record's bytes do not hash to the CID that the operation names.
        CidMismatch = "cid_mismatch",
        /// The commit was too big for the stream to carry.
        TooBig = "too_big",
        /// The record is not of the data model: not JSON or DAG-CBOR, a float, a lone surrogate, nested too deep.
        RecordEncoding = "record_encoding",
        /// The record's `$type` is missing or not that of its collection.
        RecordType = "record_type",
        /// The record breaks its lexicon in the named field.
        Lexicon = "lexicon",
        /// The record key is not of the form that the lexicon asks for.
        RecordKey = "record_key",
        /// A text that the index keeps holds U+0000, which Postgres refuses.
        NulCharacter = "nul_character",
        /// The database refused a row that the decoder let pass.
        NotStorable = "not_storable",
        /// The commit is not signed by the key in its owner's DID document.
        Signature = "signature",
        /// The commit does not verify against its owner's repo: it is of another repo, incomplete, or not what happened to the tree.
        Unproven = "unproven",
        /// The key by which the commit must be signed is not known.
        KeyUnknown = "key_unknown",
        /// The rev is more than five minutes ahead of our clock.
        FutureRev = "future_rev",
    }
}

impl RejectReason {
    /// Whether the message itself is in order, and only its verification failed: it may be applied as soon as it is verified.
    pub fn is_about_proof(self) -> bool {
        matches!(self, Self::Signature | Self::Unproven | Self::KeyUnknown)
    }

    /// Whether a whole commit was refused whose message could be read to its end.
    pub fn is_about_whole_commit(self) -> bool {
        self.is_about_proof() || self == Self::FutureRev
    }

    /// Whether what was delivered is at fault, and nothing is known of the owner's record: what the index holds of it stays, and
    /// the repo is to be read. Otherwise the record is at fault, and what it replaces is gone.
    pub fn is_of_delivery(self) -> bool {
        match self {
            Self::FrameEncoding
            | Self::FrameBound
            | Self::Envelope
            | Self::UnknownKind
            | Self::Identifier
            | Self::BlockMissing
            | Self::CidMismatch
            | Self::TooBig
            | Self::Signature
            | Self::Unproven
            | Self::KeyUnknown
            | Self::FutureRev => true,
            Self::RecordEncoding
            | Self::RecordType
            | Self::Lexicon
            | Self::RecordKey
            | Self::NulCharacter
            | Self::NotStorable => false,
        }
    }
}
