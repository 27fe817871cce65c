use crate::atproto::{AtUri, Cid, Timestamp};

/// A comment on a track: the fifth collection of a test build.
#[derive(Debug, Clone, PartialEq)]
pub struct Comment {
    /// The track, always in the track collection of the same namespace.
    pub subject: AtUri,
    /// The version of the track that the author heard.
    pub subject_cid: Cid,
    /// What the author says.
    pub text: String,
    /// What the author's clock said.
    pub created_at: Timestamp,
}
