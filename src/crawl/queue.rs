use std::{
    future::{Future, ready},
    hash::Hash,
    time::Duration,
};

use crate::{
    atproto::{Did, Timestamp},
    pds::{HostUrl, document_host},
    store::LeaseTimes,
};

/// One kind of reading: where its entries are due, and how one of them is read.
///
/// An entry that is due is taken under a lease, so that no other process takes it and so that it is due again should this one die.
/// What comes of reading it is stored by [`Queue::read`] itself.
pub(super) trait Queue: Send {
    /// What is due.
    type Entry: Entry;
    /// What a reading reports back to its queue.
    type Outcome: Send + 'static;

    /// The bounds.
    fn limits(&self) -> Limits;

    /// Takes entries that are due, and does what else is to be done now and then.
    fn take(
        &mut self,
        taking: Taking<<Self::Entry as Entry>::Key>,
    ) -> impl Future<Output = sqlx::Result<Taken<Self::Entry>>> + Send;

    /// Reads an entry, and stores what came of it and when it is due again.
    fn read(&self, entry: Self::Entry) -> impl Future<Output = Read<Self::Entry, Self::Outcome>> + Send + 'static;

    /// Hears what has come of a reading.
    fn note(&mut self, outcome: Self::Outcome);

    /// Makes entries that were taken and not read due again, as far as their lease still stands.
    fn postpone(
        &mut self,
        entries: &[Postponed<<Self::Entry as Entry>::Key>],
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Extends leases, as far as they still stand. Gives the entries of which they do not: these are another's by now. None where a
    /// reading always ends within its lease.
    fn renew(
        &mut self,
        _entries: &[Leased<<Self::Entry as Entry>::Key>],
        _until: Timestamp,
    ) -> impl Future<Output = sqlx::Result<Option<Vec<<Self::Entry as Entry>::Key>>>> + Send {
        ready(Ok(None))
    }

    /// Whether nothing is due, here or under the lease of another process.
    fn is_drained(&mut self) -> impl Future<Output = sqlx::Result<bool>> + Send {
        ready(Ok(true))
    }
}

/// What is due.
pub(super) trait Entry: Send + 'static {
    /// What it is known by.
    type Key: Clone + Eq + Hash + Send + Sync + 'static;

    fn key(&self) -> Self::Key;

    /// The host that it is read from next.
    fn place(&self) -> Place;
}

/// What has come of reading an entry.
pub(super) enum Read<E, O> {
    /// It is done.
    Done(O),
    /// It goes on at another host, when it is that one's turn.
    Elsewhere(E),
}

/// Where an entry is read.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Entries of one name share the limits of one host.
    pub name: String,
    /// The untrusted hosts that take part; none of the operator's.
    pub hosts: Vec<HostUrl>,
}

impl Place {
    /// A server with repos, for an account. That of an account whose DID names a host of its own waits with those alone: asking that host is part
    /// of reading the account.
    pub(super) fn server(server: HostUrl, did: &Did) -> Self {
        let document = document_host(did);
        let name = document.as_ref().map_or_else(|| server.to_string(), |host| format!("{server} of {host}"));
        Self { name, hosts: [server].into_iter().chain(document).collect() }
    }

    /// Who has the document of a DID: the PLC directory, or the host of a `did:web`.
    pub(super) fn document(did: &Did) -> Self {
        let host = document_host(did);
        let name = host.as_ref().map_or_else(|| "did:plc".to_owned(), ToString::to_string);
        Self { name, hosts: host.into_iter().collect() }
    }
}

/// How much is read at the same time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Readings at the same time.
    pub in_all: usize,
    /// Of those, from one host.
    pub per_host: usize,
    /// Pause between two that begin.
    pub pace: Duration,
    /// Entries under a lease at the same time: more than are read, so that a host with many does not keep others waiting.
    pub taken_max: usize,
    /// Entries that wait for one host. Of a host with more the others are postponed to when it will have time for them.
    pub waiting_per_host_max: usize,
    /// How long an entry is taken for.
    pub lease: Duration,
    /// Between two looks at a table where nothing more was due.
    pub tick: Duration,
}

/// What to take.
#[derive(Debug)]
pub(super) struct Taking<K> {
    /// Entries at most.
    pub limit: usize,
    pub now: Timestamp,
    /// When the lease ends.
    pub lease: Timestamp,
    /// Entries that are taken already.
    pub held: Vec<K>,
}

impl<K> Taking<K> {
    /// The limit, for a statement.
    pub(super) fn limit(&self) -> i64 {
        i64::try_from(self.limit).unwrap_or(i64::MAX)
    }

    /// Now and the end of the lease, likewise.
    pub(super) fn times(&self) -> LeaseTimes {
        LeaseTimes { now: self.now.utc(), until: self.lease.utc() }
    }
}

/// What was taken.
#[derive(Debug)]
pub(super) struct Taken<E> {
    pub entries: Vec<E>,
    /// Whether more may be due at once.
    pub is_more: bool,
}

/// An entry that is taken.
#[derive(Debug, Clone)]
pub(super) struct Leased<K> {
    pub key: K,
    /// The end of the lease.
    pub lease: Timestamp,
}

/// An entry that is not read for now.
#[derive(Debug, Clone)]
pub(super) struct Postponed<K> {
    pub key: K,
    /// The end of the lease that it was taken under.
    pub lease: Timestamp,
    pub due_at: Timestamp,
}
