use std::{pin::pin, time::Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    model::Position,
    source::{self, Connection, Delivery, Follow},
};

/// What a source is to do, until something else is sent, be it the same again.
#[derive(Debug, Clone, Copy)]
pub enum Duty {
    /// Nothing.
    Pause,
    /// To follow its upstream, from this number if there is one, and else from its stored position.
    Follow { rewind_to: Option<i64> },
}

/// The task of one source.
#[derive(Debug)]
pub struct Runner {
    /// The source.
    pub follow: Follow,
    /// What it is to do.
    pub duty: watch::Receiver<Duty>,
}

impl Runner {
    /// Runs until cancelled.
    pub async fn run(mut self, cancel: CancellationToken) {
        while cancel.run_until_cancelled(self.do_duty(&cancel)).await == Some(true) {}
        // What the source does last is to say that it is gone, which a cut-off wait would have kept it from.
        metrics::gauge!("plyr_source_connected", "source" => self.follow.spec.to_string()).set(0.0);
    }

    /// Does the present duty until there is another. False when there will be none.
    async fn do_duty(&mut self, cancel: &CancellationToken) -> bool {
        let Duty::Follow { rewind_to } = *self.duty.borrow_and_update() else {
            self.follow.connection.send_replace(Connection::Paused);
            return self.duty.changed().await.is_ok();
        };
        if let Some(value) = rewind_to {
            self.rewind(value).await;
        }
        let stop = cancel.child_token();
        let mut following = pin!(source::follow(self.follow.clone(), stop.clone()));
        tokio::select! {
            () = &mut following => false,
            changed = self.duty.changed() => {
                stop.cancel();
                following.await;
                changed.is_ok()
            }
        }
    }

    /// Sets the stored position back, behind all that has been read: whatever of it is still under way comes before.
    async fn rewind(&mut self, value: i64) {
        let marker = Delivery {
            source: self.follow.index,
            dialect: self.follow.spec.dialect,
            opening: None,
            rewound_to: Some(value),
            messages: Vec::new(),
            received_at: Instant::now(),
        };
        if self.follow.deliveries.send(marker).await.is_ok() {
            let is_there = |position: &Option<Position>| position.as_ref().is_some_and(|held| held.value == value);
            // An error means that the writer is gone, and so are we soon.
            drop(self.follow.committed.wait_for(is_there).await);
        }
    }
}
