//! Identities are looked up again by age, after a failure, and when an `#identity` event has reported a change.
//!
//! An actor's handle is shown as long as document and domain name each other. What no host answers leaves what was known.

use std::{future::Future, time::Duration};

use chrono::{DateTime, Utc};
use metrics::gauge;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Until,
    queue::{Entry, Limits, Place, Postponed, Queue, Read, Taken, Taking},
};
use crate::{
    atproto::{Did, Handle, Timestamp},
    identity::{Identities, Identity, IdentityError},
    pds::HandleAnswer,
    store::{
        actors::identities::{self, IdentityCounts},
        in_time, within,
    },
};

/// How long a look-up may take before it counts as lost: longer than all its requests together.
const LEASE: Duration = Duration::from_mins(5);
/// Authors enrolled in one statement.
const ENROLL_MAX: i64 = 500;
/// Numbers are given out before they are seen: those of the last few are looked at again.
const ENROLL_AGAIN: i64 = 100;
/// Between two counts of what is known.
const COUNT_EVERY: Duration = Duration::from_mins(1);

/// Keeps the table of identities until cancelled: every author in the index is looked up, and again when it is due.
pub async fn run(identities: Identities, cancel: CancellationToken) -> sqlx::Result<()> {
    let mut lookups = Lookups { identities: identities.clone(), enrolled: 0, plc_away_until: None, counted_at: None };
    super::run::run(&mut lookups, &identities, Until::Cancelled, &cancel).await
}

struct Lookups {
    identities: Identities,
    /// The greatest number of an author that was enrolled.
    enrolled: i64,
    plc_away_until: Option<Timestamp>,
    counted_at: Option<Instant>,
}

impl Entry for Did {
    type Key = Self;

    fn key(&self) -> Self {
        self.clone()
    }

    fn place(&self) -> Place {
        Place::document(self)
    }
}

impl Queue for Lookups {
    type Entry = Did;
    /// The moment until which the PLC directory asks for patience, if it does.
    type Outcome = Option<Timestamp>;

    fn limits(&self) -> Limits {
        let options = self.identities.options();
        Limits {
            in_all: options.parallel,
            per_host: options.parallel,
            pace: options.pace,
            // A flood of one host is to be passed over soon.
            taken_max: options.parallel * 8,
            waiting_per_host_max: usize::MAX,
            lease: LEASE,
            tick: options.tick,
        }
    }

    async fn take(&mut self, taking: Taking<Did>) -> sqlx::Result<Taken<Did>> {
        let now = taking.now;
        let mut connection = self.identities.acquire().await?;
        let is_minute = self.counted_at.is_none_or(|at| at.elapsed() >= COUNT_EVERY);
        if is_minute {
            let since = now.utc() - (self.identities.options().age_max * 3 / 2);
            measure(identities::count(&mut connection, Timestamp::from_utc(since)).await?);
            self.identities.directory().client().measure();
            self.counted_at = Some(Instant::now());
        }
        let from = self.enrolled.saturating_sub(ENROLL_AGAIN);
        let last = identities::enroll(&mut connection, from, ENROLL_MAX, now.utc()).await?;
        self.enrolled = last.unwrap_or(0).max(self.enrolled);
        // Of new authors at once, and of all, such as those who came back, now and then.
        for unshown in identities::list_unshown(&mut connection, if is_minute { 0 } else { from }).await? {
            identities::show_handle(&mut connection, &unshown.did, Some(&unshown.handle), now.utc()).await?;
        }
        let is_plc_away = self.plc_away_until.is_some_and(|until| now < until);
        let entries = identities::take_due(&mut connection, taking.limit(), taking.times(), is_plc_away).await?;
        Ok(Taken { is_more: entries.len() == taking.limit, entries })
    }

    fn read(&self, did: Did) -> impl Future<Output = Read<Did, Option<Timestamp>>> + Send + 'static {
        let identities = self.identities.clone();
        async move { Read::Done(look(&identities, &did).await) }
    }

    fn note(&mut self, plc_away_until: Option<Timestamp>) {
        let Some(until) = plc_away_until else { return };
        if self.plc_away_until.is_none_or(|before| before < self.identities.now()) {
            tracing::warn!(until = %until, "the PLC directory does not answer: what is known of accounts stays as it is");
        }
        self.plc_away_until = Some(until).max(self.plc_away_until);
    }

    async fn postpone(&mut self, entries: &[Postponed<Did>]) -> sqlx::Result<()> {
        let dids: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
        let leases: Vec<DateTime<Utc>> = entries.iter().map(|entry| entry.lease.utc()).collect();
        let Some(due_at) = entries.iter().map(|entry| entry.due_at.utc()).max() else { return Ok(()) };
        identities::release(&mut *self.identities.acquire().await?, &dids, &leases, due_at).await
    }
}

/// Looks one up: the document, and whether the handle's domain says the same. Gives the moment until which the PLC directory wants
/// to be left alone, if it does.
async fn look(identities: &Identities, did: &Did) -> Option<Timestamp> {
    let begun_at = identities.now();
    let (outcome, plc_away_until) = match identities.look_up(did, Some(begun_at.plus(LEASE))).await {
        Ok(identity) => (within(LEASE, confirm(identities, &identity, begun_at)).await, None),
        Err(IdentityError::Unresolved { failure, .. }) if failure.is_definite() => {
            (in_time(hide_handle(identities, did)).await, None)
        }
        Err(IdentityError::Unresolved { is_host_away, retry_at, .. }) => {
            let is_plc = is_host_away && did.as_str().starts_with("did:plc:");
            (in_time(hide_old_handle(identities, did)).await, Some(retry_at).filter(|_| is_plc))
        }
        Err(IdentityError::Database(error)) => {
            tracing::debug!(%error, "an identity waits for the database");
            (Ok(()), None)
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "an identity waits for the database");
    }
    plc_away_until
}

/// Asks the domain of the handle that a document claims, and shows the handle if it agrees.
async fn confirm(identities: &Identities, identity: &Identity, begun_at: Timestamp) -> sqlx::Result<()> {
    let did = &identity.did;
    let mut connection = identities.acquire().await?;
    let Some(stored) = identities::find(&mut connection, did).await? else { return Ok(()) };
    drop(connection);
    let claimed = stored.handle.as_deref().and_then(|handle| Handle::parse(handle).ok());
    let answer = match &claimed {
        Some(handle) => identities.directory().fetch_handle_owner(handle, identity.pds.as_ref()).await,
        None => HandleAnswer::NoAccount,
    };
    let (now, options) = (identities.now(), *identities.options());
    let is_kept = |at: &DateTime<Utc>| now < Timestamp::from_utc(*at).plus(options.handle_kept);
    let (confirmed_at, next) = match answer {
        HandleAnswer::Of(owner) if owner == *did => (Some(now.utc()), options.age_max),
        HandleAnswer::Of(_) | HandleAnswer::NoAccount if claimed.is_some() => (None, options.age_max / 4),
        HandleAnswer::Of(_) | HandleAnswer::NoAccount => (None, options.age_max),
        HandleAnswer::Unknown(_) => (stored.confirmed_at.filter(is_kept), options.age_max / 24),
    };
    let mut connection = identities.acquire().await?;
    let shown = claimed.as_ref().filter(|_| confirmed_at.is_some());
    identities::show_handle(&mut connection, did, shown, now.utc()).await?;
    let due_at = now.plus(identities.spread(next)).utc();
    identities::write_confirmation(&mut connection, did, begun_at.utc(), confirmed_at, due_at).await
}

/// An account that is no more has no handle.
async fn hide_handle(identities: &Identities, did: &Did) -> sqlx::Result<()> {
    let mut connection = identities.acquire().await?;
    identities::show_handle(&mut connection, did, None, identities.now().utc()).await?;
    identities::forget_confirmation(&mut connection, did).await
}

/// A handle that could not be confirmed for long is not shown any longer.
async fn hide_old_handle(identities: &Identities, did: &Did) -> sqlx::Result<()> {
    let mut connection = identities.acquire().await?;
    let Some(stored) = identities::find(&mut connection, did).await? else { return Ok(()) };
    drop(connection);
    let kept = identities.options().handle_kept;
    match stored.confirmed_at {
        Some(at) if Timestamp::from_utc(at).plus(kept) <= identities.now() => hide_handle(identities, did).await,
        _ => Ok(()),
    }
}

fn measure(counts: IdentityCounts) {
    let IdentityCounts { fresh, stale, failed, waiting } = counts;
    for (state, count) in [("fresh", fresh), ("stale", stale), ("failed", failed), ("waiting", waiting)] {
        gauge!("plyr_identities", "state" => state).set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
    }
}
