//! Tokens of programs and browsers: made here, and known from then on only by their SHA-256.

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

/// A new token: 256 random bits as 43 characters of base64url. To be shown once; only [`hash_token`] of it is kept.
pub fn create_token() -> String {
    BASE64URL_NOPAD.encode(&rand::random::<[u8; 32]>())
}

/// What the sessions table holds of a token.
pub fn hash_token(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}
