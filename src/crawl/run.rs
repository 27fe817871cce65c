use std::{collections::HashMap, panic::resume_unwind, time::Duration};

use futures_util::future::join_all;
use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    fairness::{Fairness, Next, Turn},
    queue::{Entry, Leased, Place, Postponed, Queue, Read, Taken, Taking},
};
use crate::{
    atproto::Timestamp,
    identity::Identities,
    pds::{Client, Groups},
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

/// Before the table is looked at again after entries were postponed of hosts for which too many wait.
const CROWDED_PAUSE: Duration = Duration::from_millis(100);

/// Reads what is due in a queue, until then or until cancelled: takes entries under a lease, renews it while they wait and are read, and reads each
/// when it is its host's turn. Afterwards nothing runs, and what was taken and not read is due again. `identities` has the clock and the client.
///
/// A database that is away is waited for, except where nothing else is waited for either.
pub(super) async fn run<Q: Queue>(
    queue: &mut Q,
    identities: &Identities,
    until: Until,
    cancel: &CancellationToken,
) -> sqlx::Result<()> {
    let fairness = Fairness::new(queue.limits());
    let (held, tasks, postponed) = (HashMap::new(), JoinSet::new(), Vec::new());
    let (look_at, renew_at) = (Instant::now(), Instant::now() + queue.limits().lease / 3);
    let mut crawler = Crawler { queue, identities, until, fairness, held, tasks, look_at, renew_at, postponed };
    let outcome = cancel.run_until_cancelled(crawler.run()).await.unwrap_or(Ok(()));
    crawler.tasks.shutdown().await;
    crawler.release().await;
    outcome
}

type Key<Q> = <<Q as Queue>::Entry as Entry>::Key;

struct Crawler<'a, Q: Queue> {
    queue: &'a mut Q,
    identities: &'a Identities,
    until: Until,
    fairness: Fairness<Q::Entry>,
    /// The entries that were taken and are not done.
    held: HashMap<Key<Q>, Held>,
    tasks: JoinSet<Ended<Q::Entry, Q::Outcome>>,
    /// The table is not looked at before.
    look_at: Instant,
    /// Nor are leases renewed.
    renew_at: Instant,
    /// Entries that are to be postponed before it is looked.
    postponed: Vec<Postponed<Key<Q>>>,
}

/// An entry that was taken.
struct Held {
    /// The end of its lease.
    lease: Timestamp,
    /// Ends its reading, once the lease is lost.
    lost: CancellationToken,
}

/// What a task has come to.
enum Ended<E: Entry, O> {
    Located { entry: E, place: Place, groups: Groups },
    Read { key: E::Key, turn: Turn, took: Duration, read: Option<Read<E, O>> },
}

impl<Q: Queue> Crawler<'_, Q> {
    async fn run(&mut self) -> sqlx::Result<()> {
        let mut retry = Retry::of_database("the database is away: what is due is not read from hosts");
        loop {
            if self.has_room() && self.look_at <= Instant::now() {
                match in_time(self.look()).await {
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
                () = sleep_until(self.renew_at), if !self.held.is_empty() => self.renew().await,
            }
        }
    }

    fn has_room(&self) -> bool {
        self.held.len() <= self.queue.limits().taken_max / 2
    }

    /// Takes some that are due. Whether there is nothing more to wait for.
    async fn look(&mut self) -> sqlx::Result<bool> {
        let (limits, now) = (self.queue.limits(), self.identities.now());
        self.fairness.forget_idle(now);
        let (limit, lease) = (limits.taken_max.saturating_sub(self.held.len()), now.plus(limits.lease));
        self.queue.postpone(&self.postponed).await?;
        self.postponed.clear();
        let held = self.held.keys().cloned().collect();
        let Taken { entries, is_more } = self.queue.take(Taking { limit, now, lease, held }).await?;
        for entry in entries {
            // One whose lease has run out while it was waited for is not read twice.
            if self.held.insert(entry.key(), Held { lease, lost: CancellationToken::new() }).is_none() {
                self.locate(entry);
            }
        }
        self.look_at = if is_more { self.look_at.max(Instant::now()) } else { Instant::now() + limits.tick };
        Ok(self.until == Until::NothingIsDue && !is_more && self.held.is_empty() && self.queue.is_drained().await?)
    }

    /// Finds out with whom the host of an entry shares its limits.
    fn locate(&mut self, entry: Q::Entry) {
        let (place, client) = (entry.place(), self.identities.client());
        self.tasks.spawn(async move {
            let groups = find_groups(&client, &place).await;
            Ended::Located { entry, place, groups }
        });
    }

    /// Has an entry wait for its host, unless too many wait for that host.
    fn receive(&mut self, entry: Q::Entry, place: Place, groups: Groups) {
        let now = self.identities.now();
        let Some(due_at) = self.fairness.postpone(&place.name, &groups, now) else {
            return self.fairness.add(place.name, groups, entry, now);
        };
        self.look_at = self.look_at.max(Instant::now() + CROWDED_PAUSE);
        let key = entry.key();
        let held = self.held.remove(&key);
        self.postponed.extend(held.map(|Held { lease, .. }| Postponed { key, lease, due_at }));
    }

    /// Begins as many readings as bounds and pace allow. When another may begin, if that is known.
    fn start_readings(&mut self) -> Option<Instant> {
        loop {
            let (turn, entry) = match self.fairness.next() {
                Next::Start { turn, entry } => (turn, entry),
                Next::At(at) => return Some(at),
                Next::None => return None,
            };
            let key = entry.key();
            let Some(Held { lost, .. }) = self.held.get(&key) else {
                self.fairness.end(&turn, None);
                continue;
            };
            let (lost, reading) = (lost.clone(), self.queue.read(entry));
            self.tasks.spawn(async move {
                let began = Instant::now();
                let read = lost.run_until_cancelled_owned(reading).await;
                Ended::Read { key, turn, took: began.elapsed(), read }
            });
        }
    }

    fn end(&mut self, ended: Result<Ended<Q::Entry, Q::Outcome>, JoinError>) {
        match ended {
            Ok(Ended::Located { entry, place, groups }) => self.receive(entry, place, groups),
            Ok(Ended::Read { turn, read: None, .. }) => self.fairness.end(&turn, None),
            Ok(Ended::Read { key, turn, took, read: Some(read) }) => {
                self.fairness.end(&turn, Some(took));
                match read {
                    Read::Done(outcome) => self.forget(&key, outcome),
                    Read::Elsewhere(entry) => self.locate(entry),
                }
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

    /// Extends the leases of what waits and is read. What another has by now is not read on.
    async fn renew(&mut self) {
        let (lease, now) = (self.queue.limits().lease, self.identities.now());
        self.renew_at = Instant::now() + (lease / 3).max(Duration::from_secs(1));
        let held = self.held.iter().map(|(key, held)| Leased { key: key.clone(), lease: held.lease });
        let held: Vec<_> = held.collect();
        let lost = match in_time(self.queue.renew(&held, now.plus(lease))).await {
            Ok(Some(lost)) => lost,
            Ok(None) => return,
            Err(error) => return tracing::debug!(%error, "leases are not renewed now"),
        };
        for held in lost.iter().filter_map(|key| self.held.remove(key)) {
            held.lost.cancel();
        }
        for held in self.held.values_mut() {
            held.lease = now.plus(lease);
        }
    }

    /// Makes due what was taken and not read.
    async fn release(&mut self) {
        let due_at = self.identities.now();
        let held = self.held.drain().map(|(key, held)| Postponed { key, lease: held.lease, due_at });
        self.postponed.extend(held);
        if let Err(error) = in_time(self.queue.postpone(&self.postponed)).await {
            tracing::debug!(%error, "entries that were taken are due again when their lease ends");
        }
    }
}

/// The groups of all hosts of a place.
async fn find_groups(client: &Client, place: &Place) -> Groups {
    let groups = join_all(place.hosts.iter().map(|host| client.groups_of(host))).await;
    let mut groups: Vec<_> = groups.iter().flat_map(|groups| groups.iter().cloned()).collect();
    groups.sort_unstable();
    groups.dedup();
    groups.into()
}
