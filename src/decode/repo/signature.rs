//! Signatures by the two curves of atproto, <https://atproto.com/specs/cryptography>: ECDSA over SHA-256, 64 bytes, and of
//! the two values that fit always the lower one.

use k256::ecdsa::signature::MultipartVerifier;

use crate::atproto::PublicKey;

/// Whether the key signed the parts, one behind the other.
pub(super) fn is_made_by(key: &PublicKey, parts: &[&[u8]], signature: &[u8]) -> bool {
    macro_rules! check {
        ($curve:ident, $point:expr) => {{
            let read = $curve::ecdsa::Signature::from_slice(signature).ok();
            let low = read.filter(|signature| signature.normalize_s() == *signature);
            let key = $curve::ecdsa::VerifyingKey::from_sec1_bytes($point).ok();
            low.zip(key).is_some_and(|(signature, key)| key.multipart_verify(parts, &signature).is_ok())
        }};
    }
    match key {
        PublicKey::K256(point) => check!(k256, point),
        PublicKey::P256(point) => check!(p256, point),
    }
}
