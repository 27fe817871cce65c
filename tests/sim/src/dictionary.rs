//! Compression with a dictionary, as the Jetstreams do it.

use std::sync::Arc;

use crate::{history, random::Random, wire};

/// The number of the dictionary of Jetstream v1.
pub const V1_ID: u32 = 1_612_007_021;
const LEVEL: i32 = 1;
const SAMPLES: usize = 400;
const BYTES_MAX: usize = 8 * 1024;

/// A dictionary of zstd.
#[derive(Debug, Clone)]
pub struct Dictionary {
    /// Its number, as v2 knows it; v1 always says [`V1_ID`].
    pub id: u32,
    /// As it is handed out.
    pub bytes: Arc<[u8]>,
}

impl Dictionary {
    /// A dictionary of messages that some world might send.
    pub(crate) fn train(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let samples: Vec<Vec<u8>> = (0..SAMPLES)
            .map(|_| {
                let (artist, number) = (random.below(1_000), random.below(1_000));
                let now_us = history::START_US + random.between(0, 1 << 40);
                let body = wire::like(&history::track_uri(artist, number), &wire::time_text(now_us));
                let like = wire::Operation::like(&history::key(1, number), body);
                let commit = wire::Commit::new(&history::did(number), history::tid(now_us, 1), vec![like]);
                wire::v1_message(&commit, 0, now_us)
            })
            .collect();
        let mut bytes = zstd::dict::from_samples(&samples, BYTES_MAX).expect("enough samples of one kind");
        let id = 1 + u32::try_from(random.below(1 << 30)).expect("30 bits");
        bytes[4..8].copy_from_slice(&id.to_le_bytes());
        Self { id, bytes: bytes.into() }
    }

    /// The same under the number of Jetstream v1.
    pub fn of_v1(&self) -> Vec<u8> {
        let mut bytes = self.bytes.to_vec();
        bytes[4..8].copy_from_slice(&V1_ID.to_le_bytes());
        bytes
    }

    pub(crate) fn compressor(&self, v1: bool) -> zstd::bulk::Compressor<'static> {
        let bytes = if v1 { self.of_v1() } else { self.bytes.to_vec() };
        zstd::bulk::Compressor::with_dictionary(LEVEL, &bytes).expect("a dictionary that zstd has made")
    }
}
