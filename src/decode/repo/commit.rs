use super::{
    cbor::{Digest, Malformed, Reader},
    error::VerifyError,
    signature,
};
use crate::{
    atproto::{Cid, PublicKey},
    decode::car,
};

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

/// The root of the tree as the signed commit in a CAR says it: the commit of this name, or else the CAR's root. Nothing is
/// checked.
pub(in crate::decode) fn find_data(car: &[u8], commit: Option<Cid>) -> Option<Cid> {
    let (root, mut blocks) = car::read(car).ok()?;
    let commit = commit.or(root)?;
    let block = blocks.find_map(|block| block.ok().filter(|(cid, _)| *cid == commit))?.1;
    Some(Cid::of_digest(&SignedCommit::read(block).ok()?.data))
}
