use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, MissedTickBehavior, interval},
};

use super::batch::{Feeder, Pending, Shipment};
use crate::{
    clock::Clock,
    ingest::{
        failover::Monitor,
        gaps::Continuities,
        verify::{Claims, Intake},
    },
    model::Collections,
};

/// How often a position that stands for no rows is stored.
const IDLE_POSITION: Duration = Duration::from_secs(5);

/// Decodes deliveries into batches, and ships a batch whenever the writer asks for one.
pub struct Feed {
    /// What the sources hand over.
    pub intake: Intake,
    /// To the writer.
    pub shipments: mpsc::Sender<Shipment>,
    /// Holds a permit while the writer waits for a shipment.
    pub wanted: Arc<Semaphore>,
    /// Which collections are ours.
    pub collections: Collections,
    /// Who delivers.
    pub feeders: Arc<[Feeder]>,
    /// Whether what they deliver follows on what we have.
    pub continuities: Continuities,
    /// Where commits are left to be proven.
    pub claims: Claims,
    /// The time.
    pub clock: Clock,
    /// Compares the sources, where there are several.
    pub monitor: Option<Monitor>,
}

impl Feed {
    /// Runs until all sources have stopped and all that they delivered has been shipped, or the writer is gone.
    pub async fn run(mut self) {
        let mut ticks = interval(self.monitor.as_ref().map_or(IDLE_POSITION, Monitor::pace));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let is_compared = self.monitor.is_some();
        let watchers = (self.continuities, self.monitor, self.claims);
        let mut pending = Pending::new(self.collections.clone(), self.feeders.clone(), watchers);
        let mut positions_due = Instant::now() + IDLE_POSITION;
        let mut open = true;
        while open || !pending.is_empty() {
            let due = pending.has_rows() || !open;
            tokio::select! {
                biased;
                permit = self.wanted.acquire(), if due => {
                    let Ok(permit) = permit else { return };
                    permit.forget();
                    positions_due = Instant::now() + IDLE_POSITION;
                    if self.shipments.send(pending.take()).await.is_err() {
                        return;
                    }
                }
                heard = self.intake.next(), if open && pending.has_room() => match heard {
                    Some(heard) => pending.absorb(heard, self.clock.now()),
                    None => open = false,
                },
                // After the deliveries: what a source has missed shows only when all that waits has been taken in.
                _ = ticks.tick(), if is_compared && open && pending.has_room() => pending.tick(),
                () = tokio::time::sleep_until(positions_due), if !due && !pending.is_empty() => {
                    let Ok(permit) = self.wanted.acquire().await else { return };
                    permit.forget();
                    positions_due = Instant::now() + IDLE_POSITION;
                    if self.shipments.send(pending.take()).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}
