use std::{future::Future, time::Duration};

use sqlx::PgConnection;
use tokio::time::Instant;

use super::{Options, read::ProfileReader};
use crate::{
    atproto::Timestamp,
    crawl::{
        Context,
        queue::{Entry, Limits, Place, Postponed, Queue, Read, Taken, Taking},
    },
    model::ActorId,
    pds::HostUrl,
    store::actors::bluesky_profiles::{self, DueProfile, Postponed as PostponedProfile},
};

/// Authors enrolled in one statement.
const ENROLL_MAX: i64 = 1_000;
/// A number may become visible after a greater one: so far back it is looked again.
const ENROLL_AGAIN: i64 = 200;
/// `#identity` events become visible late: so far back before the last look it is looked again.
const EVENTS_AGAIN: Duration = Duration::from_mins(1);

/// Whose profiles are due.
pub(super) struct Profiles {
    reader: ProfileReader,
    /// The greatest number of an author that was enrolled.
    enrolled: i64,
    /// Up to then it has been looked whom `#identity` events have named.
    events_until: Timestamp,
    /// It is not looked again before.
    events_from: Instant,
}

impl Entry for DueProfile {
    type Key = ActorId;

    fn key(&self) -> ActorId {
        self.actor_id
    }

    fn place(&self) -> Place {
        match self.host.as_deref().and_then(|host| HostUrl::parse(host).ok()) {
            Some(server) => Place::server(server, &self.did),
            None => Place::document(&self.did),
        }
    }
}

impl Profiles {
    pub(super) fn new(context: Context, options: Options) -> Self {
        let events_until = Timestamp::from_utc(context.clock.now().utc() - options.age_max);
        let reader = ProfileReader { context, options };
        Self { reader, enrolled: 0, events_until, events_from: Instant::now() }
    }

    /// Enrolls new authors. Whether there may be more.
    async fn enroll(&mut self, connection: &mut PgConnection, now: Timestamp) -> sqlx::Result<bool> {
        let from = self.enrolled.saturating_sub(ENROLL_AGAIN);
        let last = bluesky_profiles::enroll(connection, from, ENROLL_AGAIN + ENROLL_MAX, now.utc()).await?;
        let has_enrolled = last > Some(self.enrolled);
        self.enrolled = last.unwrap_or_default().max(self.enrolled);
        Ok(has_enrolled)
    }

    async fn mark_changed(&mut self, connection: &mut PgConnection, taking: &Taking<ActorId>) -> sqlx::Result<()> {
        if Instant::now() < self.events_from {
            return Ok(());
        }
        let since = self.events_until.utc() - EVENTS_AGAIN;
        bluesky_profiles::mark_changed(connection, since, taking.now.utc(), &taking.held).await?;
        let every = self.reader.options.identity_events_every;
        (self.events_until, self.events_from) = (taking.now, Instant::now() + every);
        Ok(())
    }
}

impl Queue for Profiles {
    type Entry = DueProfile;
    type Outcome = ();

    fn limits(&self) -> Limits {
        let Options { in_all, per_host, pace, tick, .. } = self.reader.options;
        Limits { in_all, per_host, pace, taken_max: 64, waiting_per_host_max: 4, lease: Duration::from_mins(5), tick }
    }

    async fn take(&mut self, taking: Taking<ActorId>) -> sqlx::Result<Taken<DueProfile>> {
        let mut connection = self.reader.context.pool.acquire().await?;
        let has_enrolled = self.enroll(&mut connection, taking.now).await?;
        self.mark_changed(&mut connection, &taking).await?;
        let due = bluesky_profiles::take_due(&mut connection, taking.limit(), taking.times()).await?;
        let is_full = due.len() == taking.limit;
        // Who is neither artist nor liker, is hidden, or has no host that is known, is looked at again later.
        let (entries, unread): (Vec<_>, Vec<_>) = due.into_iter().partition(|due| due.host.is_some());
        let unread = unread.iter().map(|due| PostponedProfile {
            actor_id: due.actor_id,
            lease: taking.lease,
            due_at: self.reader.retry_at(due),
            is_failure: true,
        });
        bluesky_profiles::postpone(&mut connection, &unread.collect::<Vec<_>>()).await?;
        Ok(Taken { entries, is_more: has_enrolled || is_full })
    }

    fn read(&self, due: DueProfile) -> impl Future<Output = Read<DueProfile, ()>> + Send + 'static {
        let reader = self.reader.clone();
        async move {
            reader.read(due).await;
            Read::Done(())
        }
    }

    fn note(&mut self, (): ()) {}

    async fn postpone(&mut self, entries: &[Postponed<ActorId>]) -> sqlx::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let postponed = entries.iter().map(|entry| PostponedProfile {
            actor_id: entry.key,
            lease: entry.lease,
            due_at: entry.due_at,
            is_failure: false,
        });
        let mut connection = self.reader.context.pool.acquire().await?;
        bluesky_profiles::postpone(&mut connection, &postponed.collect::<Vec<_>>()).await
    }
}
