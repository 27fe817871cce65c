use ipld_core::cid::{Cid as Inner, multihash::Multihash};
use sha2::{Digest, Sha256};

use super::SyntaxError;

/// A content identifier, <https://atproto.com/specs/data-model#link-and-cid-formats>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cid(Inner);

const DAG_CBOR: u64 = 0x71;
const SHA2_256: u64 = 0x12;

impl Cid {
    /// Takes the text form in any multibase, 8 to 256 characters.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let fail = |why| SyntaxError { kind: "CID", why };
        // The bound comes first: reading base58 takes the square of its length.
        if !(8..=256).contains(&text.len()) {
            return Err(fail("must be 8 to 256 characters"));
        }
        // The reader below would look for a CID behind `/ipfs/`.
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+=".contains(&b)) {
            return Err(fail("a character that a content identifier may not hold"));
        }
        Inner::try_from(text).map(Self).map_err(|_| fail("not a content identifier"))
    }

    /// Takes the binary form, without the zero byte that DAG-CBOR links start with.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SyntaxError> {
        match Self::split_from(bytes)? {
            (cid, []) => Ok(cid),
            _ => Err(SyntaxError { kind: "CID", why: "bytes behind the content identifier" }),
        }
    }

    /// Takes the binary form from the start of `bytes`, and gives the rest.
    pub fn split_from(bytes: &[u8]) -> Result<(Self, &[u8]), SyntaxError> {
        let mut rest = bytes;
        match Inner::read_bytes(&mut rest) {
            Ok(inner) => Ok((Self(inner), rest)),
            Err(_) => Err(SyntaxError { kind: "CID", why: "not a content identifier" }),
        }
    }

    /// The CID of a record with these DAG-CBOR bytes: version 1, SHA-256.
    pub fn of_record(bytes: &[u8]) -> Self {
        Self::of_digest(&Sha256::digest(bytes).into())
    }

    /// The CID of DAG-CBOR bytes whose SHA-256 is this.
    pub fn of_digest(digest: &[u8; 32]) -> Self {
        // A SHA-256 digest is 32 bytes and a multihash here holds 64.
        let hash = Multihash::wrap(SHA2_256, digest).expect("a 32-byte digest fits in a multihash");
        Self(Inner::new_v1(DAG_CBOR, hash))
    }

    /// The binary form.
    pub fn to_bytes(self) -> Vec<u8> {
        self.0.to_bytes()
    }

    /// The digest, where this is version 1 of DAG-CBOR bytes by SHA-256, as all CIDs in a repo are.
    pub fn record_digest(&self) -> Option<[u8; 32]> {
        let digest = self.digest().try_into().ok()?;
        (Self::of_digest(&digest) == *self).then_some(digest)
    }

    /// The digest alone, without version, codec and hash function.
    pub fn digest(&self) -> &[u8] {
        self.0.hash().digest()
    }

    /// The first eight bytes of the digest as a number, filled with zeros where it is shorter: enough to tell one version of
    /// an actor's own record from the next.
    pub fn head(&self) -> i64 {
        let mut first = [0; 8];
        for (to, from) in first.iter_mut().zip(self.digest()) {
            *to = *from;
        }
        i64::from_be_bytes(first)
    }
}

impl From<Inner> for Cid {
    fn from(inner: Inner) -> Self {
        Self(inner)
    }
}

impl std::fmt::Display for Cid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for Cid {
    type Err = SyntaxError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}
