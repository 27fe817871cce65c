//! Identities of accounts: from our table, or else from the network.
//!
//! Contract: [`Identities::find`] answers from the table while that is young enough, and asks the network otherwise, once for
//! each DID however many want to know; what it learns is in the table before it answers. What no
//! host answers leaves what was known, with its age. The crawler keeps the table young.

mod identities;

pub use identities::{Identities, Identity, IdentityError, IdentityOptions};

use crate::pds::DirectoryError;

/// Why a document could not be had, in one word of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No account has the DID.
    NotFound,
    /// The DID was given up for good.
    Tombstone,
    /// The DID is of no method that we know.
    Unsupported,
    /// What was served is no document, or that of another.
    Document,
    /// The host that has the document does not answer as it should.
    Host,
}

impl Failure {
    const ALL: [Self; 5] = [Self::NotFound, Self::Tombstone, Self::Unsupported, Self::Document, Self::Host];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Tombstone => "tombstone",
            Self::Unsupported => "unsupported",
            Self::Document => "document",
            Self::Host => "host",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|failure| failure.as_str() == text)
    }

    fn of(error: &DirectoryError) -> Self {
        match error {
            DirectoryError::NotFound => Self::NotFound,
            DirectoryError::Tombstone => Self::Tombstone,
            DirectoryError::Unsupported(_) => Self::Unsupported,
            DirectoryError::Document(_) => Self::Document,
            DirectoryError::Host(_) => Self::Host,
        }
    }

    /// Whether it says that there is no such account, rather than that nothing was learnt.
    pub fn is_definite(self) -> bool {
        matches!(self, Self::NotFound | Self::Tombstone | Self::Unsupported)
    }
}
