use std::fmt;

use ipld_core::cid::multibase::{self, Base};

use super::SyntaxError;

/// A public key on one of the two curves of atproto, as a point in compressed form, <https://atproto.com/specs/cryptography>.
///
/// Whether the point lies on its curve is checked where a signature is verified with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PublicKey {
    /// On secp256k1.
    K256([u8; 33]),
    /// On NIST P-256.
    P256([u8; 33]),
}

/// What the multicodec table calls `secp256k1-pub` and `p256-pub`, as varints.
const K256_PREFIX: [u8; 2] = [0xe7, 0x01];
const P256_PREFIX: [u8; 2] = [0x80, 0x24];
/// 65 bytes in base58 are 89 letters; nothing longer need be read, which takes the square of its length.
const TEXT_MAX: usize = 96;

impl PublicKey {
    /// Takes a Multikey (`z` and base58) as DID documents hold it, or the same behind `did:key:`.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let fail = |why| SyntaxError { kind: "public key", why };
        let multikey = text.strip_prefix("did:key:").unwrap_or(text);
        let bytes = decode(multikey)?;
        let (prefix, point) = bytes.split_first_chunk::<2>().ok_or_else(|| fail("too short"))?;
        let point: [u8; 33] = point.try_into().map_err(|_| fail("the point must be 33 bytes, compressed"))?;
        if !matches!(point[0], 2 | 3) {
            return Err(fail("the point must be compressed"));
        }
        match *prefix {
            K256_PREFIX => Ok(Self::K256(point)),
            P256_PREFIX => Ok(Self::P256(point)),
            _ => Err(fail("must be of the curve secp256k1 or P-256")),
        }
    }

    /// Takes a point alone, as older DID documents hold it (`z` and base58), on the curve that the caller names. Most are not
    /// compressed.
    pub fn parse_point(text: &str, curve: fn([u8; 33]) -> Self) -> Result<Self, SyntaxError> {
        let fail = |why| SyntaxError { kind: "public key", why };
        let mut point = [0; 33];
        match decode(text)?.as_slice() {
            compressed @ [2 | 3, ..] if compressed.len() == 33 => point.copy_from_slice(compressed),
            [4, whole @ ..] if whole.len() == 64 => {
                // Of the y coordinate, whether it is odd is enough.
                point[0] = 2 | (whole[63] & 1);
                point[1..].copy_from_slice(&whole[..32]);
            }
            _ => return Err(fail("must be a point of 33 or 65 bytes")),
        }
        Ok(curve(point))
    }

    /// The point, compressed (SEC1): a byte 2 or 3, and the x coordinate.
    pub fn point(&self) -> &[u8; 33] {
        match self {
            Self::K256(point) | Self::P256(point) => point,
        }
    }
}

fn decode(text: &str) -> Result<Vec<u8>, SyntaxError> {
    let fail = |why| SyntaxError { kind: "public key", why };
    if text.len() > TEXT_MAX {
        return Err(fail("too long"));
    }
    match multibase::decode(text) {
        Ok((Base::Base58Btc, bytes)) => Ok(bytes),
        _ => Err(fail("must be z and base58")),
    }
}

/// The Multikey, as [`PublicKey::parse`] takes it.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match self {
            Self::K256(_) => K256_PREFIX,
            Self::P256(_) => P256_PREFIX,
        };
        f.write_str(&multibase::encode(Base::Base58Btc, [&prefix[..], self.point()].concat()))
    }
}

impl std::str::FromStr for PublicKey {
    type Err = SyntaxError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}
