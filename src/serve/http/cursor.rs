//! Cursors: a place in an order, closed to those who did not get it from us and to every other query.
//!
//! A cursor is base64url of the place's bytes and the first half of their HMAC-SHA-256, keyed with the server's key, over
//! the query and the bytes. The query is the route with all that filters it.

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::error::ApiError;
use crate::{
    atproto::Timestamp,
    model::TrackId,
    store::views::{Place, tracks::PopularKey},
};

/// Bytes of the authentication code that a cursor carries.
const CODE_LENGTH: usize = 16;
/// Characters that a cursor of ours never exceeds: a place's longest key is an AT-URI.
const LENGTH_MAX: usize = 8192;

/// Seals and opens cursors.
#[derive(Clone)]
pub struct Cursors {
    code: Hmac<Sha256>,
}

/// What a cursor can hold.
pub trait CursorPlace: Sized {
    /// Appends the bytes.
    fn write(&self, bytes: &mut Vec<u8>);
    /// Reads all of the bytes.
    fn read(bytes: &[u8]) -> Option<Self>;
}

impl Cursors {
    /// Cursors under a key; servers that share the key understand each other's.
    pub fn new(key: &[u8; 32]) -> Self {
        Self { code: Hmac::new_from_slice(key).expect("HMAC takes a key of any length") }
    }

    /// A cursor for the rows behind `place` of `query`.
    pub fn seal<P: CursorPlace>(&self, query: &str, place: &P) -> String {
        let mut bytes = Vec::with_capacity(128);
        place.write(&mut bytes);
        let code = self.code_of(query, &bytes).finalize().into_bytes();
        bytes.extend_from_slice(&code[..CODE_LENGTH]);
        BASE64URL_NOPAD.encode(&bytes)
    }

    /// The place in a cursor, if it was sealed under this key for this query.
    pub fn open<P: CursorPlace>(&self, query: &str, cursor: &str) -> Result<P, ApiError> {
        self.open_if_ours(query, cursor).ok_or_else(ApiError::cursor)
    }

    fn open_if_ours<P: CursorPlace>(&self, query: &str, cursor: &str) -> Option<P> {
        if cursor.len() > LENGTH_MAX {
            return None;
        }
        let bytes = BASE64URL_NOPAD.decode(cursor.as_bytes()).ok()?;
        let (place, code) = bytes.split_at_checked(bytes.len().checked_sub(CODE_LENGTH)?)?;
        self.code_of(query, place).verify_truncated_left(code).ok()?;
        P::read(place)
    }

    fn code_of(&self, query: &str, place: &[u8]) -> Hmac<Sha256> {
        let mut code = self.code.clone();
        // The length keeps a query's end and a place's beginning apart.
        code.update(&(query.len() as u64).to_be_bytes());
        code.update(query.as_bytes());
        code.update(place);
        code
    }
}

impl std::fmt::Debug for Cursors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cursors")
    }
}

/// A place in an actor's own order of liked tracks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CustomPlace {
    /// Among the likes that are newer than the list.
    New {
        /// The last track shown.
        track_id: TrackId,
        /// Where its like stands.
        place: Place<i64>,
    },
    /// Among them too: the last like that was looked at, of no track that is shown.
    Passed(Place<i64>),
    /// In the list.
    Listed {
        /// The last track shown.
        track_id: TrackId,
        /// Its index among the list's liked tracks.
        index: i64,
    },
}

fn split_number(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((i64::from_be_bytes(*number), rest))
}

fn split_moment(bytes: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (micros, rest) = split_number(bytes)?;
    Some((Timestamp::from_micros(micros)?, rest))
}

impl CursorPlace for i64 {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_be_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_be_bytes)
    }
}

impl CursorPlace for Place<i64> {
    fn write(&self, bytes: &mut Vec<u8>) {
        self.sort_at.micros().write(bytes);
        self.key.write(bytes);
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (sort_at, key) = split_moment(bytes)?;
        Some(Self { sort_at, key: i64::read(key)? })
    }
}

impl CursorPlace for PopularKey {
    fn write(&self, bytes: &mut Vec<u8>) {
        self.like_count.write(bytes);
        self.id.number().write(bytes);
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (like_count, id) = split_number(bytes)?;
        Some(Self { like_count, id: i64::read(id)?.into() })
    }
}

impl CursorPlace for CustomPlace {
    fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::New { track_id, place } => {
                bytes.push(0);
                track_id.number().write(bytes);
                place.write(bytes);
            }
            Self::Passed(place) => {
                bytes.push(2);
                place.write(bytes);
            }
            Self::Listed { track_id, index } => {
                bytes.push(1);
                track_id.number().write(bytes);
                index.write(bytes);
            }
        }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        if *kind == 2 {
            return Some(Self::Passed(Place::read(rest)?));
        }
        let (track_id, rest) = split_number(rest)?;
        let track_id = TrackId::from(track_id);
        match kind {
            0 => Some(Self::New { track_id, place: Place::read(rest)? }),
            1 => Some(Self::Listed { track_id, index: i64::read(rest)? }),
            _ => None,
        }
    }
}
