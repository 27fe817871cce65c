use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_tungstenite::tungstenite::Bytes;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::before::Judge;
use crate::{
    atproto::{Did, Tid},
    decode,
    source::Delivery,
};

/// A delivery, and its messages where they have been read already.
#[derive(Debug)]
pub struct Heard {
    /// As it came.
    pub delivery: Delivery,
    /// One for each message, in the same order; or none at all.
    pub read: Vec<Read>,
}

/// A message that has been decoded and judged.
#[derive(Debug)]
pub struct Read {
    /// What it holds; of a commit that is not proven only the reject.
    pub message: decode::Message,
    /// Whose commit is not proven, and which.
    pub unproven: Option<(Did, Tid)>,
}

impl From<Delivery> for Heard {
    fn from(delivery: Delivery) -> Self {
        Self { delivery, read: Vec::new() }
    }
}

/// What the sources hand over, in its order: as it comes, or judged.
#[derive(Debug)]
pub struct Intake {
    deliveries: mpsc::Receiver<Delivery>,
    queue: Option<Queue>,
}

/// Deliveries that are being judged, in their order: however long one of them takes, none overtakes it.
#[derive(Debug)]
struct Queue {
    judge: Arc<Judge>,
    waiting: VecDeque<Waiting>,
    /// In the messages of all that wait.
    bytes: usize,
    is_closed: bool,
    cancel: CancellationToken,
    /// When what is not judged yet is given up, once we have been told to stop.
    ends_at: Option<Instant>,
}

#[derive(Debug)]
struct Waiting {
    heard: AbortOnDropHandle<Heard>,
    bytes: usize,
}

/// What waits to be judged at most: deliveries, and bytes of their messages. One slow host keeps its own delivery for as long as
/// [`Judge`] waits for a key; what comes meanwhile has its place here.
const WAITING_MAX: usize = 2_000;
const BYTES_MAX: usize = 8 << 20;
/// How long a stop waits for what is being judged. The rest comes again.
const GRACE: Duration = Duration::from_millis(500);

impl Intake {
    /// Hands over what comes.
    pub fn of(deliveries: mpsc::Receiver<Delivery>) -> Self {
        Self { deliveries, queue: None }
    }

    /// Hands over what comes when it has been judged. When cancelled, what takes longer is not handed over any more, nor what came
    /// after it.
    pub fn judged(deliveries: mpsc::Receiver<Delivery>, judge: Judge, cancel: CancellationToken) -> Self {
        let queue = Queue {
            judge: Arc::new(judge),
            waiting: VecDeque::new(),
            bytes: 0,
            is_closed: false,
            cancel,
            ends_at: None,
        };
        Self { deliveries, queue: Some(queue) }
    }

    /// The next delivery; none when the sources have stopped. What is given up while it waits is lost to nobody: the next call
    /// goes on.
    pub async fn next(&mut self) -> Option<Heard> {
        let Some(queue) = &mut self.queue else { return self.deliveries.recv().await.map(Heard::from) };
        loop {
            let (has_some, has_room) = (!queue.waiting.is_empty(), queue.has_room());
            if !has_some && queue.is_closed {
                return None;
            }
            tokio::select! {
                // What can be judged beside the first is taken in before the first is handed over.
                biased;
                delivery = self.deliveries.recv(), if has_room => match delivery {
                    Some(delivery) => queue.push(delivery),
                    None => queue.is_closed = true,
                },
                ended = first(&mut queue.waiting), if has_some => {
                    queue.pop();
                    match ended {
                        Ok(heard) => return Some(heard),
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

impl Queue {
    fn has_room(&self) -> bool {
        !self.is_closed && self.waiting.len() < WAITING_MAX && self.bytes < BYTES_MAX
    }

    fn push(&mut self, delivery: Delivery) {
        let bytes = delivery.messages.iter().map(Bytes::len).sum();
        let judge = self.judge.clone();
        let heard = AbortOnDropHandle::new(tokio::spawn(async move { judge.hear(delivery).await }));
        self.waiting.push_back(Waiting { heard, bytes });
        self.bytes += bytes;
    }

    fn pop(&mut self) {
        self.bytes -= self.waiting.pop_front().map_or(0, |first| first.bytes);
    }
}

/// The first of those that wait, when it has been judged.
async fn first(waiting: &mut VecDeque<Waiting>) -> Result<Heard, tokio::task::JoinError> {
    match waiting.front_mut() {
        Some(first) => (&mut first.heard).await,
        None => std::future::pending().await,
    }
}

/// Waits for the end of the time that is left after we have been told to stop.
async fn is_over(cancel: &CancellationToken, ends_at: &mut Option<Instant>) {
    cancel.cancelled().await;
    sleep_until(*ends_at.get_or_insert_with(|| Instant::now() + GRACE)).await;
}
