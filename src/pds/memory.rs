use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::HostError;

/// Bytes of answers that are held at the same time, by all readings together.
const BYTES_MAX: usize = 256 << 20;
/// Each may hold this much beside: what ordinary repos need waits for none.
const FREE: usize = 1 << 20;
/// Bytes are counted in pieces of this size.
const UNIT: usize = 1 << 10;
/// How long a reading waits for others to return what they hold.
const PATIENCE: Duration = Duration::from_secs(10);

/// The bytes that all readings may hold together. Clones share them.
#[derive(Debug, Clone)]
pub struct Memory(Arc<Semaphore>);

/// What one reading holds; returned when it is dropped.
#[derive(Debug)]
pub struct HeldBytes {
    memory: Memory,
    bytes: usize,
    drawn: Option<OwnedSemaphorePermit>,
}

impl Default for Memory {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BYTES_MAX / UNIT)))
    }
}

impl Memory {
    /// Nothing yet.
    pub fn hold(&self) -> HeldBytes {
        HeldBytes { memory: self.clone(), bytes: 0, drawn: None }
    }
}

impl HeldBytes {
    /// Holds so many bytes more. Waits while others hold too much, and fails where that takes too long.
    pub async fn grow(&mut self, bytes: usize) -> Result<(), HostError> {
        self.bytes += bytes;
        let drawn = self.drawn.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let wanted = self.bytes.saturating_sub(FREE).div_ceil(UNIT).saturating_sub(drawn);
        if wanted == 0 {
            return Ok(());
        }
        let wanted = u32::try_from(wanted).map_err(|_| HostError::NoRoom)?;
        let more = timeout(PATIENCE, self.memory.0.clone().acquire_many_owned(wanted)).await;
        let more = more.ok().and_then(Result::ok).ok_or(HostError::NoRoom)?;
        match &mut self.drawn {
            Some(drawn) => drawn.merge(more),
            None => self.drawn = Some(more),
        }
        Ok(())
    }
}
