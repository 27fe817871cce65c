use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_tungstenite::tungstenite::Bytes;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::blocking::CommitVerifier;
use crate::{
    ingest::{lag::Lags, received::Received},
    source::Delivery,
};

/// What the sources deliver, in its order: as it comes, or verified.
#[derive(Debug)]
pub struct ReceivedQueue {
    deliveries: mpsc::Receiver<Delivery>,
    verifying: Option<Verifying>,
}

/// Deliveries that are being verified, in their order: however long one of them takes, none overtakes it.
#[derive(Debug)]
struct Verifying {
    verifier: Arc<CommitVerifier>,
    waiting: VecDeque<Waiting>,
    /// In the messages of all that wait.
    bytes: usize,
    is_closed: bool,
    /// Are kept informed of how long the first has waited.
    lags: Arc<Lags>,
    cancel: CancellationToken,
    /// When what is not verified yet is given up, after cancellation.
    ends_at: Option<Instant>,
}

#[derive(Debug)]
struct Waiting {
    received: AbortOnDropHandle<Received>,
    received_at: std::time::Instant,
    bytes: usize,
}

/// What waits to be verified at most: deliveries, and bytes of their messages. A slow host delays its own delivery for as long as
/// [`CommitVerifier`] waits for a key; what comes meanwhile has its place here.
const WAITING_MAX: usize = 2_000;
const BYTES_MAX: usize = 8 << 20;
/// How long a stop waits for what is being verified. The rest comes again.
const GRACE: Duration = Duration::from_millis(500);

impl ReceivedQueue {
    /// Hands over what comes.
    pub fn of(deliveries: mpsc::Receiver<Delivery>) -> Self {
        Self { deliveries, verifying: None }
    }

    /// Hands over what has been verified. When cancelled, what takes longer is not handed over any more, nor what came after it.
    pub fn verified(
        deliveries: mpsc::Receiver<Delivery>,
        verifier: Arc<CommitVerifier>,
        lags: Arc<Lags>,
        cancel: CancellationToken,
    ) -> Self {
        let waiting = VecDeque::new();
        let verifying = Verifying { verifier, waiting, bytes: 0, is_closed: false, lags, cancel, ends_at: None };
        Self { deliveries, verifying: Some(verifying) }
    }

    /// The next delivery; none when the sources have stopped. Dropped while it waits, it loses nothing: the next call goes on.
    pub async fn next(&mut self) -> Option<Received> {
        let Some(queue) = &mut self.verifying else { return self.deliveries.recv().await.map(Received::from) };
        loop {
            let (has_some, has_room) = (!queue.waiting.is_empty(), queue.has_room());
            if !has_some && queue.is_closed {
                return None;
            }
            tokio::select! {
                // What can be verified beside the first is taken in before the first is handed over.
                biased;
                delivery = self.deliveries.recv(), if has_room => match delivery {
                    Some(delivery) => queue.push(delivery),
                    None => queue.is_closed = true,
                },
                ended = first(&mut queue.waiting), if has_some => {
                    queue.pop();
                    match ended {
                        Ok(received) => return Some(received),
                        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                        // Only a runtime that ends cancels it.
                        Err(_) => return None,
                    }
                }
                () = is_over(&queue.cancel, &mut queue.ends_at), if has_some => {
                    queue.waiting.clear();
                    queue.is_closed = true;
                    self.deliveries.close();
                    return None;
                }
            }
        }
    }
}

impl Verifying {
    fn has_room(&self) -> bool {
        !self.is_closed && self.waiting.len() < WAITING_MAX && self.bytes < BYTES_MAX
    }

    fn push(&mut self, delivery: Delivery) {
        let bytes = delivery.messages.iter().map(Bytes::len).sum();
        let (verifier, received_at) = (self.verifier.clone(), delivery.received_at);
        let received = AbortOnDropHandle::new(tokio::spawn(async move { verifier.verify(delivery).await }));
        self.waiting.push_back(Waiting { received, received_at, bytes });
        self.bytes += bytes;
        self.report();
    }

    fn pop(&mut self) {
        self.bytes -= self.waiting.pop_front().map_or(0, |first| first.bytes);
        self.report();
    }

    fn report(&self) {
        self.lags.verifies(self.waiting.front().map(|first| first.received_at));
    }
}

/// The first of those that wait, when it has been verified.
async fn first(waiting: &mut VecDeque<Waiting>) -> Result<Received, tokio::task::JoinError> {
    match waiting.front_mut() {
        Some(first) => (&mut first.received).await,
        None => std::future::pending().await,
    }
}

/// Waits for the end of the time that is left after cancellation.
async fn is_over(cancel: &CancellationToken, ends_at: &mut Option<Instant>) {
    cancel.cancelled().await;
    sleep_until(*ends_at.get_or_insert_with(|| Instant::now() + GRACE)).await;
}
