use std::{sync::Arc, time::Duration};

use sqlx::PgPool;
use tokio::sync::{Semaphore, mpsc};

use super::{
    Options,
    diff::{Drift, Ours, Theirs},
    read::{ReadError, read_archive, read_listed},
    repo::{load_ours, plan},
    write::Prepared,
};
use crate::{
    atproto::{Did, Timestamp},
    clock::Clock,
    identity::{Failure as IdentityFailure, Identity, IdentityError},
    model::ResyncCause,
    pds::{Server, XrpcError},
    store::repos::{self, TakenRepo},
};

/// The first and the longest wait before a repo is tried again.
const RETRY_MIN: Duration = Duration::from_secs(10);
const RETRY_MAX: Duration = Duration::from_hours(6);
/// What a DID document said may be this old when its PDS is believed about what is no longer there.
const IDENTITY_AGE_MAX: Duration = Duration::from_mins(2);
/// The stream may take this long for what was written just now: before that it is not missing.
const STREAM_PATIENCE: Duration = Duration::from_secs(5);
/// From this many records on that are said to be gone, the signed repo must say so too.
const EXTRA_UNPROVEN_MAX: usize = 20;

/// What a task has come to.
pub enum Step {
    /// The repo's host is known.
    Found(TakenRepo, Box<Home>),
    /// The repo's host is not known; that has been noted.
    NotFound {
        /// Whether it is to be tried again.
        failed: bool,
    },
    /// The repo was read from this host, or not.
    Read {
        /// Which.
        host: String,
        /// Whether it is to be tried again.
        failed: bool,
    },
}

/// Where a repo lies, as its owner's document said.
pub struct Home {
    server: Server,
    identity: Identity,
}

impl Home {
    /// The server's URL, which names it in tables and queues.
    pub fn host(&self) -> String {
        self.server.url().to_string()
    }
}

/// Reads one repo at a time; cloned for each.
#[derive(Clone)]
pub struct Reader {
    pool: PgPool,
    options: Options,
    clock: Clock,
    prepared: mpsc::Sender<Prepared>,
    /// A whole repo takes memory: one at a time is read.
    archives: Arc<Semaphore>,
}

/// Why a repo was not read.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("the repo has moved to another PDS while it was read")]
    Moved,
    #[error("the DID document has no key that proves the repo")]
    NoKey,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// What a host said of a repo.
enum Said {
    /// This is in it.
    Holds(Theirs),
    /// It gives it to nobody.
    Nothing,
}

impl Reader {
    /// A reader that hands over what it has read.
    pub fn new(pool: PgPool, options: Options, (clock, prepared): (Clock, mpsc::Sender<Prepared>)) -> Self {
        Self { pool, options, clock, prepared, archives: Arc::new(Semaphore::new(1)) }
    }

    /// Finds out where a repo lies. Somebody who is no more, or has no PDS, has no repo, and that is all there is to read.
    /// `known` is what is known of the owner already.
    pub async fn find(self, repo: TakenRepo, known: Option<Identity>) -> Step {
        let began_at = self.clock.now();
        let found = match known {
            Some(identity) => Ok(identity),
            None => self.options.identities.find(&repo.did).await,
        };
        let failure = match found {
            Ok(identity) => match identity.pds.clone() {
                Some(url) => {
                    let server = Server::of_stranger(self.options.client.clone(), url);
                    return Step::Found(repo, Box::new(Home { server, identity }));
                }
                None => None,
            },
            Err(error) if is_nobody(&error) => None,
            Err(error) => Some(error.into()),
        };
        let failed = match failure {
            None => self.prepared.send(Prepared::nothing(&repo, (None, began_at))).await.is_err(),
            Some(failure) => {
                self.fail(&repo, &failure).await;
                true
            }
        };
        Step::NotFound { failed }
    }

    /// Reads a repo, compares, and hands over what is to be written.
    pub async fn read(self, repo: TakenRepo, home: Box<Home>) -> Step {
        let began_at = self.clock.now();
        let failed = match self.prepare(&repo, &home, began_at).await {
            Ok(prepared) => self.prepared.send(prepared).await.is_err(),
            Err(failure) => {
                self.fail(&repo, &failure).await;
                true
            }
        };
        Step::Read { host: home.host(), failed }
    }

    async fn prepare(&self, repo: &TakenRepo, home: &Home, began_at: Timestamp) -> Result<Prepared, Failure> {
        let (collections, did) = (&self.options.collections, &repo.did);
        let nothing = || Prepared::nothing(repo, (Some(home.host()), began_at));
        let mut ours = self.load(did).await?;
        let theirs = match self.ask(home, (did, &ours)).await? {
            Said::Holds(theirs) => theirs,
            // The account's fate decides what is shown; that nobody gives the repo says nothing of what is in it.
            Said::Nothing => return Ok(nothing()),
        };
        let mut repair = plan(collections, did, &theirs, &ours);
        if !repair.paths.is_empty() && !is_first(repo.cause) {
            // What the streams have brought meanwhile is no difference.
            self.await_stream(repo.cause, &theirs).await;
            ours = self.load(did).await?;
            repair = plan(collections, did, &theirs, &ours);
        }
        let mut rev = theirs.rev;
        let extra = repair.count(Drift::Extra);
        if extra > 0 {
            match self.refresh(home).await? {
                Some(_) if extra <= EXTRA_UNPROVEN_MAX && !theirs.records.is_empty() => {}
                Some(identity) => {
                    let Said::Holds(proven) = self.ask_archive(home, &identity).await? else { return Ok(nothing()) };
                    rev = proven.rev;
                    repair = plan(collections, did, &proven, &ours);
                }
                None => return Ok(nothing()),
            }
        }
        Ok(Prepared { did: did.clone(), cause: repo.cause, host: Some(home.host()), rev: Some(rev), began_at, repair })
    }

    async fn load(&self, did: &Did) -> sqlx::Result<Ours> {
        let mut connection = self.pool.acquire().await?;
        load_ours(&mut connection, &self.options.collections, did).await
    }

    /// Has the repo listed, and reads it as a whole where that does not do.
    async fn ask(&self, home: &Home, (did, ours): (&Did, &Ours)) -> Result<Said, Failure> {
        match read_listed(&home.server, &self.options.collections, (did, ours)).await {
            Ok(theirs) => Ok(Said::Holds(theirs)),
            Err(ReadError::Restless | ReadError::Malformed(_)) => match self.refresh(home).await? {
                Some(identity) => self.ask_archive(home, &identity).await,
                None => Ok(Said::Nothing),
            },
            Err(error) => self.interpret(home, error).await,
        }
    }

    /// Reads the repo as a whole, as its owner signed it.
    async fn ask_archive(&self, home: &Home, identity: &Identity) -> Result<Said, Failure> {
        let key = identity.signing_key.ok_or(Failure::NoKey)?;
        // The semaphore is never closed; should it be, nothing is lost but its bound.
        let _one_at_a_time = self.archives.acquire().await.ok();
        match read_archive(&home.server, &self.options.collections, (&identity.did, key)).await {
            Ok(theirs) => Ok(Said::Holds(theirs)),
            Err(error) => self.interpret(home, error).await,
        }
    }

    /// A host that no longer has the repo is believed when the document, as it is by now, still names it.
    async fn interpret(&self, home: &Home, error: ReadError) -> Result<Said, Failure> {
        match error {
            ReadError::Xrpc(error) if error.is_unavailable() => self.refresh(home).await.map(|_| Said::Nothing),
            error => Err(error.into()),
        }
    }

    /// The owner as the document says by now, which must still name this host; none where nobody is there any more.
    async fn refresh(&self, home: &Home) -> Result<Option<Identity>, Failure> {
        let known = &home.identity;
        if self.clock.now() < known.fetched_at.plus(IDENTITY_AGE_MAX) {
            return Ok(Some(known.clone()));
        }
        match self.options.identities.refresh(&known.did).await {
            Ok(identity) if identity.pds.is_none() => Ok(None),
            Ok(identity) if identity.pds.as_ref() == Some(home.server.url()) => Ok(Some(identity)),
            Ok(_) => Err(Failure::Moved),
            Err(error) if is_nobody(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the streams the time to bring what was written just before the audit came by.
    async fn await_stream(&self, cause: ResyncCause, theirs: &Theirs) {
        let settled_at = theirs.rev.time().plus(STREAM_PATIENCE);
        if cause == ResyncCause::Audit && self.clock.now() < settled_at {
            tokio::time::sleep(STREAM_PATIENCE).await;
        }
    }

    /// Notes the failure. When the database does not take even that, the repo is let go of by time.
    async fn fail(&self, repo: &TakenRepo, failure: &Failure) {
        let tries = u32::try_from(repo.tries).unwrap_or_default().min(20);
        let wait = match failure {
            Failure::Moved => Duration::ZERO,
            _ => RETRY_MIN.saturating_mul(2_u32.saturating_pow(tries)).min(RETRY_MAX),
        };
        let now = self.clock.now().utc();
        let due_at = (now + wait.mul_f64(0.75 + rand::random::<f64>() / 2.0)).max(failure.retry_at().unwrap_or(now));
        tracing::debug!(error = %failure, tries, "a repo could not be read");
        metrics::counter!("plyr_repos_failed_total").increment(1);
        let noted = async {
            let mut connection = self.pool.acquire().await?;
            repos::fail(&mut connection, &repo.did, &failure.to_string(), due_at).await
        };
        if let Err(error) = noted.await {
            tracing::warn!(%error, "that a repo could not be read is not noted: it comes again");
        }
    }
}

/// Whether it is the first reading, in which everything is new.
fn is_first(cause: ResyncCause) -> bool {
    matches!(cause, ResyncCause::Discovered | ResyncCause::FirstSeen)
}

/// Whether the DID is of nobody, or of nobody any more.
fn is_nobody(error: &IdentityError) -> bool {
    matches!(error, IdentityError::Unresolved { failure: IdentityFailure::NotFound | IdentityFailure::Tombstone, .. })
}

impl Failure {
    /// When the host said that it may be asked again.
    fn retry_at(&self) -> Option<chrono::DateTime<chrono::Utc>> {
        match self {
            Self::Read(ReadError::Xrpc(XrpcError::Host(error))) => error.retry_at().map(Timestamp::utc),
            Self::Identity(IdentityError::Unresolved { retry_at, .. }) => Some(retry_at.utc()),
            _ => None,
        }
    }
}
