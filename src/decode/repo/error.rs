/// Why a commit or a repo fails verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum VerifyError {
    /// The blocks are no CAR, or a block does not hash to its name.
    #[error("the blocks cannot be read: {0}")]
    Blocks(&'static str),
    /// The signed commit is not there, or is none.
    #[error("the signed commit cannot be read: {0}")]
    Commit(&'static str),
    /// The signed commit is of something else than what it came with.
    #[error("the signed commit is of another {0}")]
    Other(&'static str),
    /// The key did not make the signature.
    #[error("the signature is not of the key in the DID document")]
    Signature,
    /// The tree is not of the one form that its records have.
    #[error("the tree is not as it must be: {0}")]
    Tree(&'static str),
    /// A block that verification needs is not there.
    #[error("a block that the proof needs did not come along")]
    Incomplete,
    /// The operations are not what happened to the tree.
    #[error("the operations are not what happened to the tree: {0}")]
    Operation(&'static str),
    /// Without the operations the tree is not the one that the commit says was there before.
    #[error("without its operations the commit is not what was there before")]
    Before,
}

impl VerifyError {
    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blocks(_) => "blocks",
            Self::Commit(_) => "commit",
            Self::Other(_) => "other",
            Self::Signature => "signature",
            Self::Tree(_) => "tree",
            Self::Incomplete => "incomplete",
            Self::Operation(_) => "operation",
            Self::Before => "before",
        }
    }

    /// All words, to register their counters at the start.
    pub const WORDS: [&'static str; 8] =
        ["blocks", "commit", "other", "signature", "tree", "incomplete", "operation", "before"];
}
