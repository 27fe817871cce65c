use std::{future::Future, time::Duration};

use tokio::time::{Instant, timeout_at};

use crate::pds::{HeldBytes, Memory};

/// How long a reading may take before it has brought anything; more after each failure, so that an honest host that is slow is read in the end,
/// and one that is not, seldom.
const GRACE: Duration = Duration::from_secs(10);
const GRACES_MAX: u32 = 6;
/// What each record that is listed for the first time adds: a page of a hundred five seconds.
const PER_RECORD: Duration = Duration::from_millis(50);
/// What each byte of an archive adds: 64 KiB a second.
const PER_BYTE: Duration = Duration::from_nanos(1_000_000_000 / (64 << 10));
/// From the beginning to the end of a reading, however much it brings.
const TOTAL: Duration = Duration::from_mins(10);

/// The server took longer than it may for what it gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server gives the repo too slowly")]
pub struct TooSlow;

/// How far a reading has come: until when it may go on, by what it has brought, and the bytes that it holds.
#[derive(Debug)]
pub struct Progress {
    grace: Duration,
    /// By when more must have come.
    deadline: Instant,
    /// When it ends in any case.
    end: Instant,
    /// What is held of it.
    pub memory: HeldBytes,
}

impl Progress {
    /// A reading that begins now, of a repo that has failed so often.
    pub fn begin(memory: &Memory, tries: u32) -> Self {
        let (now, grace) = (Instant::now(), GRACE * tries.saturating_add(1).min(GRACES_MAX));
        Self { grace, deadline: now + grace, end: now + TOTAL, memory: memory.hold() }
    }

    /// The repo is to be read as a whole, in place of what was listed.
    pub(super) fn begin_archive(&mut self) {
        self.deadline = Instant::now() + self.grace;
    }

    /// So many records were listed that had not been.
    pub(super) fn add_records(&mut self, records: usize) {
        self.deadline += PER_RECORD * u32::try_from(records).unwrap_or(u32::MAX);
    }

    /// So many bytes of an archive have come.
    pub(super) fn add_bytes(&mut self, bytes: usize) {
        self.deadline += PER_BYTE * u32::try_from(bytes).unwrap_or(u32::MAX);
    }

    /// Waits for a host as long as it may take.
    pub(super) async fn within<T>(&self, asking: impl Future<Output = T>) -> Result<T, TooSlow> {
        timeout_at(self.deadline.min(self.end), asking).await.map_err(|_| TooSlow)
    }
}
