use super::{
    Digest, VerifyError,
    cbor::{Malformed, Reader},
    signature,
};
use crate::atproto::PublicKey;

/// The block that the owner of a repo signs, version 3.
#[derive(Debug)]
pub(super) struct SignedCommit<'a> {
    /// Whose repo.
    pub did: &'a str,
    /// A TID.
    pub rev: &'a str,
    /// The root of the tree.
    pub data: Digest,
    signature: &'a [u8],
    /// The block before and behind the field of the signature.
    unsigned: [&'a [u8]; 2],
}

/// A map of the fields that are left when the signature is taken out.
const UNSIGNED_HEAD: [u8; 1] = [0xa5];

impl<'a> SignedCommit<'a> {
    /// Reads the block, which must have exactly the fields of version 3.
    pub(super) fn read(block: &'a [u8]) -> Result<Self, VerifyError> {
        Self::try_read(block).map_err(|Malformed| VerifyError::Commit("it is no commit of version 3"))
    }

    fn try_read(block: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::of(block);
        let at = |reader: &Reader<'_>| block.len() - reader.left();
        let fields = reader.map()?;
        let begin = at(&reader);
        reader.name("did")?;
        let did = reader.text()?;
        reader.name("rev")?;
        let rev = reader.text()?;
        let before = &block[begin..at(&reader)];
        reader.name("sig")?;
        let signature = reader.bytes()?;
        let behind = &block[at(&reader)..];
        reader.name("data")?;
        let data = reader.link()?;
        reader.name("prev")?;
        reader.optional_link()?;
        reader.name("version")?;
        let version = reader.unsigned()?;
        reader.end()?;
        if (fields, version) != (6, 3) {
            return Err(Malformed);
        }
        Ok(Self { did, rev, data, signature, unsigned: [before, behind] })
    }

    /// Whether this key made the signature.
    pub(super) fn check_signature(&self, key: &PublicKey) -> Result<(), VerifyError> {
        let [before, behind] = self.unsigned;
        let made = signature::is_made_by(key, &[&UNSIGNED_HEAD, before, behind], self.signature);
        if made { Ok(()) } else { Err(VerifyError::Signature) }
    }
}
