//! Compressed messages: each is one zstd frame made with a dictionary that both sides hold.
//!
//! A fault of compression never costs an event: the connection is made again without, from the committed position.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_tungstenite::tungstenite::Bytes;
use zstd::bulk::Decompressor;

use super::{Dialect, SourceSpec};

/// How long after a fault nothing is asked to be compressed.
const PLAIN_FOR: Duration = Duration::from_mins(10);
/// Likewise where the host could not be reached to be asked for its dictionary.
const PLAIN_FOR_UNREACHED: Duration = Duration::from_mins(1);
/// Bytes of a dictionary at most. That of the public hosts has 64 KiB.
const DICTIONARY_BYTES_MAX: usize = 1 << 20;
/// The first bytes of a dictionary; the next four are its id.
const MAGIC: [u8; 4] = [0x37, 0xa4, 0x30, 0xec];
/// What zstd says when a message is larger than it may be.
const TOO_LARGE: &str = "Destination buffer is too small";

/// Whether upstreams are asked to compress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compression {
    /// No.
    Off,
    /// Where both sides can: a Jetstream v2 hands out its dictionary, that of Jetstream v1 must be given.
    Auto {
        /// The dictionary of the Jetstream v1 hosts.
        jetstream_v1: Option<Arc<Dictionary>>,
    },
}

/// A zstd dictionary.
#[derive(Clone, PartialEq, Eq)]
pub struct Dictionary {
    id: u32,
    bytes: Vec<u8>,
}

/// The bytes are no zstd dictionary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not a zstd dictionary")]
pub struct NoDictionary;

impl Dictionary {
    /// Takes the bytes of a dictionary of the format of RFC 8878.
    pub fn of_bytes(bytes: Vec<u8>) -> Result<Self, NoDictionary> {
        let rest = bytes.strip_prefix(&MAGIC).ok_or(NoDictionary)?;
        let id = u32::from_le_bytes(*rest.first_chunk().ok_or(NoDictionary)?);
        if id == 0 || Decompressor::with_dictionary(&bytes).is_err() {
            return Err(NoDictionary);
        }
        Ok(Self { id, bytes })
    }

    /// Its number, which every frame names that was made with it.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Whether a message was made with it.
    #[must_use]
    fn is_of(&self, message: &[u8]) -> bool {
        zstd::zstd_safe::get_dict_id_from_frame(message).is_some_and(|id| id.get() == self.id)
    }
}

impl std::fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Dictionary({}, {} bytes)", self.id, self.bytes.len())
    }
}

/// What a compressed message comes to.
#[derive(Debug)]
pub(super) enum Inflated {
    /// The message.
    Message(Bytes),
    /// The message would be larger than any may be.
    TooLarge,
    /// It cannot be read, or not with this dictionary.
    Broken(String),
}

/// Reads the compressed messages of one connection.
pub(super) struct Inflater {
    dictionary: Arc<Dictionary>,
    decompressor: Decompressor<'static>,
}

impl Inflater {
    pub(super) fn new(dictionary: Arc<Dictionary>) -> io::Result<Self> {
        let decompressor = Decompressor::with_dictionary(&dictionary.bytes)?;
        Ok(Self { dictionary, decompressor })
    }

    /// Reads one message, taking no more memory than the greatest message needs.
    pub(super) fn inflate(&mut self, message: &[u8], bytes_max: usize) -> Inflated {
        match self.decompressor.decompress(message, bytes_max) {
            Ok(mut plain) => {
                // Where the frame does not state its size, much more than that was set aside.
                plain.shrink_to_fit();
                Inflated::Message(plain.into())
            }
            Err(error) if error.to_string().contains(TOO_LARGE) => Inflated::TooLarge,
            Err(error) if self.dictionary.is_of(message) => Inflated::Broken(error.to_string()),
            Err(_) => Inflated::Broken(format!("it is not made with dictionary {}", self.dictionary.id)),
        }
    }
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Inflater({:?})", self.dictionary)
    }
}

/// Decides for one source whether to ask for compression, and holds the dictionary.
#[derive(Debug)]
pub(super) struct Agreement {
    compression: Compression,
    dialect: Dialect,
    held: Option<Arc<Dictionary>>,
    /// The dictionary came just before the connection that is being made.
    is_fresh: bool,
    plain_until: Option<Instant>,
}

impl Agreement {
    pub(super) fn new(compression: Compression, dialect: Dialect) -> Self {
        let held = match (&compression, dialect) {
            (Compression::Auto { jetstream_v1 }, Dialect::JetstreamV1) => jetstream_v1.clone(),
            _ => None,
        };
        Self { compression, dialect, held, is_fresh: false, plain_until: None }
    }

    /// The dictionary to ask for now, fetched if need be.
    pub(super) async fn dictionary(&mut self, source: &SourceSpec, timeout: Duration) -> Option<Arc<Dictionary>> {
        self.is_fresh = false;
        if self.compression == Compression::Off || self.plain_until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        if self.held.is_none() && self.dialect == Dialect::JetstreamV2 {
            match fetch_dictionary(source, timeout).await {
                Ok(dictionary) => {
                    tracing::debug!(%source, ?dictionary, "messages will come compressed");
                    self.held = Some(Arc::new(dictionary));
                    self.is_fresh = true;
                }
                Err(NotFetched::Unreached(reason)) => {
                    tracing::debug!(%source, reason, "messages will come uncompressed");
                    self.plain_until = Some(Instant::now() + PLAIN_FOR_UNREACHED);
                }
                Err(NotFetched::Unusable(reason)) => {
                    tracing::info!(%source, reason, "messages will come uncompressed");
                    self.plain_until = Some(Instant::now() + PLAIN_FOR);
                }
            }
        }
        self.held.clone()
    }

    /// The upstream does not know our dictionary: there is a newer, or none that would do.
    pub(super) fn refused(&mut self, source: &SourceSpec) {
        self.held = None;
        if self.is_fresh {
            self.go_plain(source, "it does not know the dictionary that it gave us");
        }
    }

    /// Asks for plain messages for `PLAIN_FOR`.
    pub(super) fn go_plain(&mut self, source: &SourceSpec, reason: &str) {
        tracing::warn!(%source, reason, "messages will come uncompressed");
        self.plain_until = Some(Instant::now() + PLAIN_FOR);
        if self.dialect == Dialect::JetstreamV2 {
            self.held = None;
        }
    }
}

/// What is added to an address to get compressed messages.
pub(super) fn parameter(dialect: Dialect, dictionary: &Dictionary) -> String {
    match dialect {
        Dialect::JetstreamV1 => "&compress=true".to_owned(),
        Dialect::JetstreamV2 => format!("&zstdDictionary={}", dictionary.id),
        Dialect::Firehose => String::new(),
    }
}

/// Why there is no dictionary.
enum NotFetched {
    /// The host did not answer, or not to the end.
    Unreached(String),
    /// The host gives none that would do.
    Unusable(String),
}

/// Asks a Jetstream v2 host for its present dictionary.
async fn fetch_dictionary(source: &SourceSpec, timeout: Duration) -> Result<Dictionary, NotFetched> {
    let url = format!("{}/xrpc/network.bsky.jetstream.getZstdDictionary", source.http_origin());
    let said = |error: reqwest::Error| NotFetched::Unreached(error.without_url().to_string());
    let client = super::tls::client(timeout).map_err(said)?;
    let mut answer = client.get(url).timeout(timeout).send().await.map_err(said)?;
    if !answer.status().is_success() {
        let reason = format!("it answered HTTP {} to a request for its dictionary", answer.status().as_u16());
        return Err(NotFetched::Unusable(reason));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(said)? {
        if bytes.len() + chunk.len() > DICTIONARY_BYTES_MAX {
            let reason = format!("its dictionary has more than {DICTIONARY_BYTES_MAX} bytes");
            return Err(NotFetched::Unusable(reason));
        }
        bytes.extend_from_slice(&chunk);
    }
    Dictionary::of_bytes(bytes).map_err(|error| NotFetched::Unusable(format!("its dictionary is of no use: {error}")))
}
