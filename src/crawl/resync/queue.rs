use std::time::Duration;

use sqlx::PgPool;

use super::{
    Options,
    pace::Pace,
    reader::{Reader, RepoHost},
};
use crate::{
    atproto::{Did, Timestamp},
    crawl::queue::{Entry, Leased, Limits, Place, Postponed, Queue, Read, Taken, Taking},
    identity::Identities,
    store::repos::{self, MovedLease, TakenRepo},
};

/// Repos that are taken from the table at the same time, for each that is read at the same time.
const TAKEN_PER_READER: usize = 8;

/// Which repos are due, and in between those whose turn it is in the audit.
pub(super) struct Repos {
    pool: PgPool,
    identities: Identities,
    options: Options,
    reader: Reader,
    audit: Pace,
    /// Readings that are to be tried again.
    pub(super) failed: u64,
}

/// A repo that is to be read, and where, once that is known.
pub(super) struct DueRepo {
    repo: TakenRepo,
    host: Option<Box<RepoHost>>,
}

impl Entry for DueRepo {
    type Key = Did;

    fn key(&self) -> Did {
        self.repo.did.clone()
    }

    fn place(&self) -> Place {
        let did = &self.repo.did;
        self.host.as_ref().map_or_else(|| Place::document(did), |host| Place::server(host.url().clone(), did))
    }
}

impl Repos {
    pub(super) fn new(reader: Reader, options: Options) -> Self {
        let (pool, identities) = (reader.context.pool.clone(), reader.context.identities.clone());
        Self { pool, identities, options, reader, audit: Pace::new(), failed: 0 }
    }

    /// Only the leader reads repos until cancelled: what a predecessor took and did not read is due again.
    pub(super) async fn take_back(&self) -> sqlx::Result<()> {
        repos::release_all(&mut *self.pool.acquire().await?).await
    }

    async fn take_due(&mut self, taking: &Taking<Did>) -> sqlx::Result<Vec<TakenRepo>> {
        let mut connection = self.pool.acquire().await?;
        let taken = repos::take_due(&mut connection, taking.limit(), taking.times()).await?;
        let Some(every) = self.options.audit_every.filter(|_| taken.is_empty()) else { return Ok(taken) };
        let allowed = self.audit.allowed(&mut connection, every).await?.min(taking.limit());
        if allowed == 0 {
            return Ok(taken);
        }
        let read_before = taking.now.utc() - every;
        let taken = repos::take_oldest(&mut connection, allowed, read_before, taking.times()).await?;
        self.audit.spend(taken.len());
        Ok(taken)
    }
}

impl Queue for Repos {
    type Entry = DueRepo;
    /// Whether it is to be tried again.
    type Outcome = bool;

    fn limits(&self) -> Limits {
        Limits {
            in_all: self.options.in_all,
            per_host: self.options.per_host,
            pace: Duration::ZERO,
            taken_max: self.options.in_all * TAKEN_PER_READER,
            waiting_per_host_max: usize::MAX,
            lease: self.options.lease,
            tick: Duration::from_secs(1),
        }
    }

    async fn take(&mut self, taking: Taking<Did>) -> sqlx::Result<Taken<DueRepo>> {
        let taken = self.take_due(&taking).await?;
        let is_more = taken.len() == taking.limit;
        let dids: Vec<&Did> = taken.iter().map(|repo| &repo.did).collect();
        // Those that cannot be found together are looked up one by one.
        let mut known = self.identities.find_known(&dids).await.unwrap_or_default();
        let entry = |repo: TakenRepo| {
            let host = known.remove(&repo.did).and_then(|identity| self.reader.host_of(identity));
            DueRepo { repo, host: host.map(Box::new) }
        };
        Ok(Taken { entries: taken.into_iter().map(entry).collect(), is_more })
    }

    fn read(&self, entry: DueRepo) -> impl Future<Output = Read<DueRepo, bool>> + Send + 'static {
        let reader = self.reader.clone();
        async move {
            if let Some(host) = &entry.host {
                return Read::Done(reader.read(&entry.repo, host).await);
            }
            match reader.locate(&entry.repo).await {
                Ok(host) => Read::Elsewhere(DueRepo { host: Some(Box::new(host)), ..entry }),
                Err(has_failed) => Read::Done(has_failed),
            }
        }
    }

    fn note(&mut self, has_failed: bool) {
        self.failed += u64::from(has_failed);
    }

    async fn postpone(&mut self, entries: &[Postponed<Did>]) -> sqlx::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let now = self.reader.context.clock.now();
        let until = |due_at: Timestamp| Some(due_at).filter(|due_at| *due_at > now);
        let moved =
            entries.iter().map(|entry| MovedLease { did: &entry.key, from: entry.lease, to: until(entry.due_at) });
        repos::move_leases(&mut *self.pool.acquire().await?, &moved.collect::<Vec<_>>()).await.map(drop)
    }

    async fn renew(&mut self, entries: &[Leased<Did>], until: Timestamp) -> sqlx::Result<Option<Vec<Did>>> {
        let moved = entries.iter().map(|entry| MovedLease { did: &entry.key, from: entry.lease, to: Some(until) });
        let kept = repos::move_leases(&mut *self.pool.acquire().await?, &moved.collect::<Vec<_>>()).await?;
        let lost = entries.iter().map(|entry| &entry.key).filter(|did| !kept.contains(*did));
        Ok(Some(lost.cloned().collect()))
    }

    async fn is_drained(&mut self) -> sqlx::Result<bool> {
        let mut connection = self.pool.acquire().await?;
        Ok(!repos::is_any_due(&mut connection, self.reader.context.clock.now().utc()).await?)
    }
}
