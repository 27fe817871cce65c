use std::{collections::HashMap, panic::resume_unwind, time::Duration};

use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    fairness::{Fairness, Next},
    queue::{Entry, Postponed, Queue, Taken, Taking},
};
use crate::{
    atproto::Timestamp,
    clock::Clock,
    retry::Retry,
    store::{in_time, is_unavailable},
};

/// When to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// When nothing is due any more.
    NothingIsDue,
    /// When cancelled.
    Cancelled,
}

/// Reads what is due in a queue, until then or until cancelled: takes entries under a lease, finds out where each lies, and reads
/// each when it is its host's turn. Afterwards nothing runs, and what was taken and not read is due again.
///
/// A database that is away is waited for, except where nothing else is waited for either.
pub(super) async fn run<Q: Queue>(
    queue: &mut Q,
    clock: &Clock,
    until: Until,
    cancel: &CancellationToken,
) -> sqlx::Result<()> {
    let fairness = Fairness::new(queue.limits());
    let (held, tasks) = (HashMap::new(), JoinSet::new());
    let mut crawler = Crawler { queue, clock, until, fairness, held, tasks, look_at: Instant::now() };
    let outcome = cancel.run_until_cancelled(crawler.run()).await.unwrap_or(Ok(()));
    crawler.tasks.shutdown().await;
    crawler.release().await;
    outcome
}

type Key<Q> = <<Q as Queue>::Entry as Entry>::Key;

struct Crawler<'a, Q: Queue> {
    queue: &'a mut Q,
    clock: &'a Clock,
    until: Until,
    fairness: Fairness<Q::Entry>,
    /// The entries that were taken and are not done, each with the end of its lease.
    held: HashMap<Key<Q>, Timestamp>,
    tasks: JoinSet<Ended<Q::Entry, Q::Outcome>>,
    /// The table is not looked at before.
    look_at: Instant,
}

/// What a task has come to.
enum Ended<E: Entry, O> {
    Located(E),
    Nowhere { key: E::Key, outcome: O },
    Read { key: E::Key, outcome: O, host: String, took: Duration },
}

impl<Q: Queue> Crawler<'_, Q> {
    async fn run(&mut self) -> sqlx::Result<()> {
        let mut retry = Retry::of_database("the database is away: what is due is not read from hosts");
        loop {
            if self.has_room() && self.look_at <= Instant::now() {
                match self.look().await {
                    Ok(true) => return Ok(()),
                    Ok(false) => retry.succeeded(),
                    Err(error) if self.until == Until::Cancelled && is_unavailable(&error) => {
                        self.look_at = Instant::now() + retry.failed(&error);
                    }
                    Err(error) => return Err(error),
                }
            }
            let start_at = self.start_readings();
            tokio::select! {
                Some(ended) = self.tasks.join_next() => self.end(ended),
                () = sleep_until(start_at.unwrap_or(self.look_at)), if start_at.is_some() => {}
                () = sleep_until(self.look_at), if self.has_room() => {}
            }
        }
    }

    fn has_room(&self) -> bool {
        self.held.len() <= self.queue.limits().taken_max / 2
    }

    /// Takes some that are due. Whether there is nothing more to wait for.
    async fn look(&mut self) -> sqlx::Result<bool> {
        let (limits, now) = (self.queue.limits(), self.clock.now());
        self.fairness.forget_idle(now);
        let (limit, lease) = (limits.taken_max.saturating_sub(self.held.len()), now.plus(limits.lease));
        let held = self.held.keys().cloned().collect();
        let Taken { entries, is_more } = in_time(self.queue.take(Taking { limit, now, lease, held })).await?;
        let mut postponed = Vec::new();
        for entry in entries {
            // One whose lease has run out while it was waited for is not read twice.
            if self.held.insert(entry.key(), lease).is_none() {
                postponed.extend(self.receive(entry, now, lease));
            }
        }
        for entry in &postponed {
            self.held.remove(&entry.key);
        }
        in_time(self.queue.postpone(&postponed)).await?;
        self.look_at = if is_more { Instant::now() } else { Instant::now() + limits.tick };
        Ok(self.until == Until::NothingIsDue
            && !is_more
            && self.held.is_empty()
            && in_time(self.queue.is_drained()).await?)
    }

    /// Has an entry wait for its host, or for its host to be known, unless too many wait for that host.
    fn receive(&mut self, entry: Q::Entry, now: Timestamp, lease: Timestamp) -> Option<Postponed<Key<Q>>> {
        let Some(host) = entry.host() else {
            let (key, located) = (entry.key(), self.queue.locate(entry));
            self.tasks.spawn(async move {
                match located.await {
                    Ok(entry) => Ended::Located(entry),
                    Err(outcome) => Ended::Nowhere { key, outcome },
                }
            });
            return None;
        };
        let Some(due_at) = self.fairness.postpone(&host, now) else {
            self.fairness.add(host, entry, now);
            return None;
        };
        Some(Postponed { key: entry.key(), lease, due_at })
    }

    /// Begins as many readings as bounds and pace allow. When another may begin, if that is known.
    fn start_readings(&mut self) -> Option<Instant> {
        loop {
            let (host, entry) = match self.fairness.next() {
                Next::Start { host, entry } => (host, entry),
                Next::At(at) => return Some(at),
                Next::None => return None,
            };
            let (key, reading) = (entry.key(), self.queue.read(entry));
            self.tasks.spawn(async move {
                let began = Instant::now();
                let outcome = reading.await;
                Ended::Read { key, outcome, host, took: began.elapsed() }
            });
        }
    }

    fn end(&mut self, ended: Result<Ended<Q::Entry, Q::Outcome>, JoinError>) {
        match ended {
            Ok(Ended::Located(entry)) => {
                let host = entry.host().unwrap_or_default();
                self.fairness.add(host, entry, self.clock.now());
            }
            Ok(Ended::Nowhere { key, outcome }) => self.forget(&key, outcome),
            Ok(Ended::Read { key, outcome, host, took }) => {
                self.fairness.end(&host, took);
                self.forget(&key, outcome);
            }
            // A task is cancelled only together with all others.
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(_) => {}
        }
    }

    fn forget(&mut self, key: &Key<Q>, outcome: Q::Outcome) {
        self.held.remove(key);
        self.queue.note(outcome);
        if self.until == Until::NothingIsDue && self.held.is_empty() {
            self.look_at = Instant::now();
        }
    }

    /// Makes due what was taken and not read.
    async fn release(&mut self) {
        let due_at = self.clock.now();
        let held = self.held.drain().map(|(key, lease)| Postponed { key, lease, due_at });
        if let Err(error) = in_time(self.queue.postpone(&held.collect::<Vec<_>>())).await {
            tracing::debug!(%error, "entries that were taken are due again when their lease ends");
        }
    }
}
