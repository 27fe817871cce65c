use crate::{
    atproto::{Did, Tid},
    decode,
    source::Delivery,
};

/// A delivery, and its messages where they have been decoded already.
#[derive(Debug)]
pub struct Received {
    /// As it came.
    pub delivery: Delivery,
    /// One for each message, in the same order; or none at all.
    pub decoded: Vec<DecodedMessage>,
}

/// A message that has been decoded and verified.
#[derive(Debug)]
pub struct DecodedMessage {
    /// What it holds; of a commit that failed only the reject.
    pub message: decode::Message,
    /// The repo and the rev of a commit that failed.
    pub unverified: Option<(Did, Tid)>,
}

impl From<Delivery> for Received {
    fn from(delivery: Delivery) -> Self {
        Self { delivery, decoded: Vec::new() }
    }
}
