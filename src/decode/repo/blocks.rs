use std::collections::HashMap;

use foldhash::fast::RandomState;
use sha2::{Digest as _, Sha256};

use super::{cbor::Digest, commit::SignedCommit, error::VerifyError};
use crate::{atproto::Cid, decode::car};

/// The blocks of a CAR, each of which hashes to its name.
#[derive(Debug)]
pub(super) struct Blocks<'a> {
    root: Digest,
    /// The names are hashes already; the hasher is seeded all the same, because who sends them can choose among many.
    by_digest: HashMap<Digest, &'a [u8], RandomState>,
    bytes: usize,
}

impl<'a> Blocks<'a> {
    /// Reads a CAR with one root, and hashes every block.
    pub(super) fn read(car: &'a [u8]) -> Result<Self, VerifyError> {
        let (root, sections) = car::read(car).map_err(VerifyError::Blocks)?;
        let root = root.as_ref().and_then(Cid::record_digest).ok_or(VerifyError::Blocks("there is not one root"))?;
        let mut by_digest = HashMap::default();
        for section in sections {
            let (cid, block) = section.map_err(VerifyError::Blocks)?;
            let digest = Digest::from(Sha256::digest(block));
            if cid.record_digest() != Some(digest) {
                return Err(VerifyError::Blocks("a block does not hash to its CID"));
            }
            by_digest.insert(digest, block);
        }
        Ok(Self { root, by_digest, bytes: car.len() })
    }

    /// The bytes with this hash.
    pub(super) fn find(&self, digest: &Digest) -> Option<&'a [u8]> {
        self.by_digest.get(digest).copied()
    }

    /// How many bytes there are in all.
    pub(super) fn byte_count(&self) -> usize {
        self.bytes
    }

    /// What the root names: the signed commit.
    pub(super) fn commit(&self) -> Result<SignedCommit<'a>, VerifyError> {
        SignedCommit::read(self.find(&self.root).ok_or(VerifyError::Commit("it did not come along"))?)
    }

    /// What the CAR calls its root.
    pub(super) fn root(&self) -> Digest {
        self.root
    }
}
