use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, WeakShared},
};
use sqlx::{PgConnection, PgPool};

use super::Failure;
use crate::{
    atproto::{Did, Handle, PublicKey, Timestamp},
    clock::Clock,
    model::UntrustedText,
    pds::{Client, DidDocument, Directory, DirectoryError, HostUrl},
    retry::{Backoff, spread},
    store::{
        self,
        actors::identities::{self, IdentityFailure, NewDocument, StoredIdentity},
    },
};

/// A first look-up that has come to nothing by then, since the process has died, is due for the crawler.
const FIRST_LOOKUP_MAX: Duration = Duration::from_mins(1);

/// How old what is known may become, and how often we ask.
#[derive(Debug, Clone, Copy)]
pub struct IdentityOptions {
    /// A document is read again when it is this old.
    pub age_max: Duration,
    /// What was read this lately is not looked up again.
    pub age_min: Duration,
    /// A handle that was confirmed is shown for this long while its domain or its document cannot be asked.
    pub handle_kept: Duration,
    /// Pauses after failures.
    pub backoff: Backoff,
    /// Identities looked up at once in the background.
    pub parallel: usize,
    /// Pause between two that begin in the background.
    pub pace: Duration,
    /// How often the table is asked which are due.
    pub tick: Duration,
    /// Gives numbers from 0 to 1, so that what was looked up together is not looked up together again.
    pub jitter: fn() -> f64,
}

impl Default for IdentityOptions {
    fn default() -> Self {
        Self {
            age_max: Duration::from_hours(24),
            age_min: Duration::from_secs(10),
            handle_kept: Duration::from_hours(7 * 24),
            backoff: Backoff::new(Duration::from_mins(1), Duration::from_hours(24)),
            parallel: 8,
            pace: Duration::from_millis(50),
            tick: Duration::from_secs(1),
            jitter: rand::random::<f64>,
        }
    }
}

/// What is known of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Which account.
    pub did: Did,
    /// The server of the repo; none where there is no repo.
    pub pds: Option<HostUrl>,
    /// The key that signs the repo's commits.
    pub signing_key: Option<PublicKey>,
    /// The handle, if document and domain name each other.
    pub handle: Option<Handle>,
    /// When the document was read.
    pub fetched_at: Timestamp,
}

/// An account cannot be resolved.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IdentityError {
    /// No host answered, or there is no such account.
    #[error("{did} cannot be resolved: {detail}")]
    Unresolved {
        /// Which account.
        did: Did,
        /// In one word.
        failure: Failure,
        /// In one sentence.
        detail: String,
        /// When asking again may help; before that, the same is answered without asking.
        retry_at: Timestamp,
        /// The host throttles or is away: this is not about the account.
        is_host_away: bool,
    },
    /// The database does not answer, or refuses a statement.
    #[error("the database: {0}")]
    Database(#[from] Arc<sqlx::Error>),
}

impl From<sqlx::Error> for IdentityError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(Arc::new(error))
    }
}

type Outcome = Result<Identity, IdentityError>;

/// Identities of accounts. Cheap to clone; all clones share the look-ups in flight.
#[derive(Clone)]
pub struct Identities(Arc<Inner>);

struct Inner {
    pool: PgPool,
    directory: Directory,
    clock: Clock,
    options: IdentityOptions,
    /// Look-ups at this moment. Callers that want the same one wait for it together.
    in_flight: Mutex<HashMap<Did, WeakShared<BoxFuture<'static, Outcome>>>>,
}

impl Identities {
    /// Keeps what `directory` says in the table of `pool`.
    pub fn new(pool: PgPool, directory: Directory, clock: Clock, options: IdentityOptions) -> Self {
        Self(Arc::new(Inner { pool, directory, clock, options, in_flight: Mutex::default() }))
    }

    /// An identity: from the table while that is young enough, and otherwise from the network. When that does not answer, what
    /// was known serves, however old: see [`Identity::fetched_at`].
    pub async fn find(&self, did: &Did) -> Outcome {
        match self.load(did).await?.and_then(|stored| self.recall(did, &stored)) {
            Some((known, true)) => Ok(known),
            Some((known, false)) => match self.refresh(did).await {
                Err(IdentityError::Unresolved { failure, .. }) if !failure.is_definite() => Ok(known),
                outcome => outcome,
            },
            None => self.refresh(did).await,
        }
    }

    /// Those of several that [`Self::find`] would know without a request.
    pub async fn find_known(&self, dids: &[&Did]) -> Result<HashMap<Did, Identity>, IdentityError> {
        let texts: Vec<&str> = dids.iter().map(|did| did.as_str()).collect();
        let stored = store::in_time(async {
            let mut connection = self.acquire().await?;
            identities::load(&mut connection, &texts).await
        })
        .await?;
        let known = stored.iter().filter_map(|(at, stored)| self.recall(dids.get(*at)?, stored));
        Ok(known.filter(|(_, is_young)| *is_young).map(|(known, _)| (known.did.clone(), known)).collect())
    }

    /// What a row says, and whether that is young enough not to be asked for again.
    fn recall(&self, did: &Did, stored: &StoredIdentity) -> Option<(Identity, bool)> {
        let known = read_stored(did, stored)?;
        let is_young = self.0.clock.now() < known.fetched_at.plus(self.0.options.age_max * 2);
        let is_told = stored.event_at > stored.fetched_at;
        Some((known, is_young && !is_told))
    }

    /// An identity as it is now, from the network: for callers with a reason to doubt what the table says. What was read a few seconds
    /// ago is not read again, and a failure is not repeated before its time.
    pub async fn refresh(&self, did: &Did) -> Outcome {
        self.look_up(did, None).await
    }

    /// Likewise, however lately it was read or has failed: for an operator who knows that the answer is another by now.
    pub async fn force_refresh(&self, did: &Did) -> Outcome {
        self.look_up(did, Some(self.0.clock.now())).await
    }

    /// What need not be asked for again: read or failed so lately. Checked inside the shared look-up, so that callers who come
    /// while the answer is being stored do not ask once more.
    async fn recent(&self, did: &Did) -> Result<Option<Outcome>, IdentityError> {
        let Some(stored) = self.load(did).await? else {
            self.begin(did).await?;
            return Ok(None);
        };
        let known = read_stored(did, &stored).filter(|known| {
            stored.failure.is_none() && self.0.clock.now() < known.fetched_at.plus(self.0.options.age_min)
        });
        if let Some(known) = known {
            return Ok(Some(Ok(known)));
        }
        let failure = read_failure(did, &stored).filter(|_| self.0.clock.now().utc() < stored.due_at);
        Ok(failure.map(Err))
    }

    /// Asks the network, or waits for the look-up in flight. `lease` is for the crawler: until when it sees to the handle.
    pub(crate) async fn look_up(&self, did: &Did, lease: Option<Timestamp>) -> Outcome {
        let shared = {
            let mut in_flight = self.in_flight();
            in_flight.get(did).and_then(WeakShared::upgrade).unwrap_or_else(|| {
                let (this, asked) = (self.clone(), did.clone());
                let future: BoxFuture<'static, Outcome> = Box::pin(async move {
                    let recent = if lease.is_none() { this.recent(&asked).await } else { Ok(None) };
                    let outcome = match recent {
                        Ok(Some(known)) => known,
                        Ok(None) => this.fetch(&asked, lease).await,
                        Err(error) => Err(error),
                    };
                    this.in_flight().remove(&asked);
                    outcome
                });
                let shared = future.shared();
                in_flight.extend(shared.downgrade().map(|weak| (did.clone(), weak)));
                shared
            })
        };
        shared.await
    }

    fn in_flight(&self) -> MutexGuard<'_, HashMap<Did, WeakShared<BoxFuture<'static, Outcome>>>> {
        // The map is whole after each statement, so that a panic elsewhere spoils nothing.
        let mut in_flight = self.0.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that all callers have given up have nothing left to wait for.
        if in_flight.len() > 1024 {
            in_flight.retain(|_, weak| weak.upgrade().is_some());
        }
        in_flight
    }

    async fn fetch(&self, did: &Did, lease: Option<Timestamp>) -> Outcome {
        // What an event says while the answer is on its way may be newer than the answer.
        let asked_at = self.0.clock.now();
        let fetched = self.0.directory.fetch_document(did).await;
        store::in_time(async {
            let mut connection = self.acquire().await?;
            match fetched {
                Ok(document) => store_document(&mut connection, document, asked_at, lease).await,
                Err(error) => Err(self.store_failure(&mut connection, did, &error, self.0.clock.now()).await?),
            }
        })
        .await
    }

    /// Stores a failure, and gives what is to be answered. That a host throttles does not count as a failure of the DID.
    async fn store_failure(
        &self,
        connection: &mut PgConnection,
        did: &Did,
        error: &DirectoryError,
        now: Timestamp,
    ) -> Result<IdentityError, IdentityError> {
        let (failure, detail) = (Failure::of(error), error.to_string());
        let patience = if let DirectoryError::Host(error) = error { error.retry_at() } else { None };
        let retry_at = if let Some(until) = patience {
            identities::postpone(connection, did, until.utc()).await?;
            until
        } else {
            let stored = identities::find(connection, did).await?;
            let retry_at = now.plus(self.retry_after(stored.map_or(0, |stored| stored.tries)));
            let failed = IdentityFailure {
                failure: failure.as_str(),
                detail: &UntrustedText::of(&detail),
                failed_at: now.utc(),
                due_at: retry_at.utc(),
            };
            identities::write_failure(connection, did, &failed).await?;
            retry_at
        };
        let is_host_away = patience.is_some();
        Ok(IdentityError::Unresolved { did: did.clone(), failure, detail, retry_at, is_host_away })
    }

    /// How long to wait after so many failures before this one.
    fn retry_after(&self, tries: i32) -> Duration {
        self.0.options.backoff.pause(u32::try_from(tries).unwrap_or(0), (self.0.options.jitter)())
    }

    /// A period with jitter.
    pub(crate) fn spread(&self, period: Duration) -> Duration {
        spread(period, (self.0.options.jitter)())
    }

    async fn begin(&self, did: &Did) -> Result<(), IdentityError> {
        let due_at = self.0.clock.now().plus(FIRST_LOOKUP_MAX).utc();
        store::in_time(async {
            let mut connection = self.acquire().await?;
            Ok(identities::begin(&mut connection, did, due_at).await?)
        })
        .await
    }

    async fn load(&self, did: &Did) -> Result<Option<StoredIdentity>, IdentityError> {
        store::in_time(async {
            let mut connection = self.acquire().await?;
            Ok(identities::find(&mut connection, did).await?)
        })
        .await
    }

    pub(crate) async fn acquire(&self) -> sqlx::Result<sqlx::pool::PoolConnection<sqlx::Postgres>> {
        self.0.pool.acquire().await
    }

    /// The client that asks.
    pub fn client(&self) -> Client {
        self.0.directory.client().clone()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    pub(crate) fn options(&self) -> &IdentityOptions {
        &self.0.options
    }

    /// Who is asked.
    pub fn directory(&self) -> &Directory {
        &self.0.directory
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identities").field("options", &self.0.options).finish_non_exhaustive()
    }
}

async fn store_document(
    connection: &mut PgConnection,
    document: DidDocument,
    now: Timestamp,
    lease: Option<Timestamp>,
) -> Outcome {
    let DidDocument { did, pds, signing_key, handle } = document;
    let row = NewDocument {
        did: &did,
        pds: pds.as_ref().map(ToString::to_string),
        signing_key: signing_key.map(|key| key.to_string()),
        handle: handle.as_ref(),
    };
    let is_confirmed = identities::write_document(connection, &row, now.utc(), lease.map(Timestamp::utc)).await?;
    Ok(Identity { did, pds, signing_key, handle: handle.filter(|_| is_confirmed), fetched_at: now })
}

/// What a row says of an account whose document was read. What cannot be read back is as if it was not there.
fn read_stored(did: &Did, stored: &StoredIdentity) -> Option<Identity> {
    let fetched_at = Timestamp::from_utc(stored.fetched_at?);
    let failure = stored.failure.as_deref().and_then(Failure::parse);
    let handle = stored.handle.as_deref().filter(|_| stored.confirmed_at.is_some());
    let identity = Identity {
        did: did.clone(),
        pds: stored.pds.as_deref().and_then(|pds| HostUrl::parse(pds).ok()),
        signing_key: stored.signing_key.as_deref().and_then(|key| PublicKey::parse(key).ok()),
        handle: handle.and_then(|handle| Handle::parse(handle).ok()),
        fetched_at,
    };
    Some(identity).filter(|_| failure.is_none_or(|failure| !failure.is_definite()))
}

fn read_failure(did: &Did, stored: &StoredIdentity) -> Option<IdentityError> {
    let failure = stored.failure.as_deref().and_then(Failure::parse)?;
    Some(IdentityError::Unresolved {
        did: did.clone(),
        failure,
        detail: stored.detail.clone().unwrap_or_default(),
        retry_at: Timestamp::from_utc(stored.due_at),
        is_host_away: false,
    })
}
