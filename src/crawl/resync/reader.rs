use std::time::Duration;

use tokio::sync::mpsc;

use super::{
    diff::{Both, Drift, Ours, Theirs},
    progress::Progress,
    read::{ReadError, RepoSource, read_archive, read_listed},
    repo::{load_ours, plan},
    write::Prepared,
};
use crate::{
    atproto::{Did, Timestamp},
    crawl::Context,
    identity::{Failure as IdentityFailure, Identity, IdentityError},
    model::{Collections, ResyncCause, UntrustedText},
    pds::{HostUrl, Server, XrpcError},
    retry::Backoff,
    store::{
        in_time,
        repos::{self, TakenRepo},
    },
};

/// The pauses before a repo is tried again.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(10), Duration::from_hours(6));
/// What a DID document said may be this old when its PDS is believed about what is no longer there.
const IDENTITY_AGE_MAX: Duration = Duration::from_mins(2);
/// The stream may take this long for what was written just now: before that it is not missing.
const STREAM_PATIENCE: Duration = Duration::from_secs(5);

/// Where a repo lies, as its owner's document said.
pub(super) struct RepoHost {
    server: Server,
    identity: Identity,
}

impl RepoHost {
    pub(super) fn url(&self) -> &HostUrl {
        self.server.url()
    }

    /// The server's URL, which names it in tables.
    fn name(&self) -> String {
        self.server.url().to_string()
    }
}

/// Reads one repo at a time; cloned for each.
#[derive(Clone)]
pub(super) struct Reader {
    pub(super) context: Context,
    collections: Collections,
    prepared: mpsc::Sender<Prepared>,
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

/// What a host gives of a repo.
enum Given {
    /// It lists this.
    Lists(Theirs),
    /// This is in it, and its owner has signed it.
    Holds(Theirs),
    /// It does not give it to the public.
    Nothing,
}

impl Reader {
    /// A reader that hands over what it has read.
    pub(super) fn new(context: Context, collections: Collections, prepared: mpsc::Sender<Prepared>) -> Self {
        Self { context, collections, prepared }
    }

    /// Where the repo of an account lies, if it has one.
    pub(super) fn host_of(&self, identity: Identity) -> Option<RepoHost> {
        let server = Server::untrusted(self.context.identities.client(), identity.pds.clone()?);
        Some(RepoHost { server, identity })
    }

    /// Finds out where a repo lies. An account that is no more, or has no PDS, has no repo, and that is all there is to read. Fails
    /// with whether it is to be tried again.
    pub(super) async fn locate(&self, repo: &TakenRepo) -> Result<RepoHost, bool> {
        let began_at = self.context.clock.now();
        let found = match self.context.identities.find(&repo.did).await {
            Ok(identity) => self.host_of(identity),
            Err(error) if is_gone(&error) => None,
            Err(error) => return Err(self.fail(repo, &error.into()).await),
        };
        match found {
            Some(host) => Ok(host),
            None => Err(self.prepared.send(Prepared::nothing(repo, None, began_at)).await.is_err()),
        }
    }

    /// Reads a repo, compares, and hands over what is to be written. Whether it is to be tried again.
    pub(super) async fn read(&self, repo: &TakenRepo, host: &RepoHost) -> bool {
        match self.prepare(repo, host).await {
            Ok(prepared) => self.prepared.send(prepared).await.is_err(),
            Err(failure) => self.fail(repo, &failure).await,
        }
    }

    async fn prepare(&self, repo: &TakenRepo, host: &RepoHost) -> Result<Prepared, Failure> {
        let began_at = self.context.clock.now();
        let (collections, did) = (&self.collections, &repo.did);
        let nothing = || Prepared::nothing(repo, Some(host.name()), began_at);
        let earlier = self.load(did).await?;
        let tries = u32::try_from(repo.tries).unwrap_or_default();
        let mut progress = Progress::begin(host.server.client().memory(), tries);
        let (theirs, is_signed) = match self.list(host, &earlier, &mut progress).await? {
            Given::Lists(theirs) => (theirs, false),
            Given::Holds(theirs) => (theirs, true),
            // The account's fate decides what is shown; that no host gives the repo says nothing of what is in it.
            Given::Nothing => return Ok(nothing()),
        };
        let reloaded;
        let mut both = Both { theirs: &theirs, ours: &earlier, earlier: &earlier };
        let mut repair = plan(collections, did, both);
        if !repair.paths.is_empty() && !is_first(repo.cause) {
            // What the streams have brought meanwhile is no difference.
            self.await_stream(repo.cause, &theirs).await;
            reloaded = self.load(did).await?;
            both = Both { ours: &reloaded, ..both };
            repair = plan(collections, did, both);
        }
        let mut rev = theirs.rev;
        // What a listing leaves out is not gone before the repo as its owner signed it says so.
        if !is_signed && (repair.count(Drift::Extra) > 0 || !both.above_head().is_empty()) {
            match self.refresh(host).await? {
                Some(identity) => {
                    let Given::Holds(verified) = self.read_archive(host, &identity, &mut progress).await? else {
                        return Ok(nothing());
                    };
                    rev = verified.rev;
                    repair = plan(collections, did, Both { theirs: &verified, ..both });
                }
                None => return Ok(nothing()),
            }
        }
        let (did, host, memory) = (did.clone(), Some(host.name()), Some(progress.memory));
        Ok(Prepared { did, cause: repo.cause, host, rev: Some(rev), began_at, repair, memory })
    }

    async fn load(&self, did: &Did) -> sqlx::Result<Ours> {
        in_time(async {
            let mut connection = self.context.pool.acquire().await?;
            load_ours(&mut connection, &self.collections, did).await
        })
        .await
    }

    /// Has the repo listed, and reads it as a whole where that does not do.
    async fn list(&self, host: &RepoHost, ours: &Ours, progress: &mut Progress) -> Result<Given, Failure> {
        let source = RepoSource { server: &host.server, collections: &self.collections, did: &host.identity.did };
        match read_listed(source, ours, progress).await {
            Ok(theirs) => self.accept(theirs).map(Given::Lists),
            Err(error) if error.is_of_listing() => match self.refresh(host).await? {
                Some(identity) => self.read_archive(host, &identity, progress).await,
                None => Ok(Given::Nothing),
            },
            Err(error) => self.interpret(host, error).await,
        }
    }

    /// Reads the repo as a whole, as its owner signed it.
    async fn read_archive(
        &self,
        host: &RepoHost,
        identity: &Identity,
        progress: &mut Progress,
    ) -> Result<Given, Failure> {
        let key = identity.signing_key.ok_or(Failure::NoKey)?;
        progress.begin_archive();
        let source = RepoSource { server: &host.server, collections: &self.collections, did: &identity.did };
        match read_archive(source, key, progress).await {
            Ok(theirs) => self.accept(theirs).map(Given::Holds),
            Err(error) => self.interpret(host, error).await,
        }
    }

    /// What would be written at a rev of a time that has not come would win over all that its owner writes later.
    fn accept(&self, theirs: Theirs) -> Result<Theirs, Failure> {
        if theirs.rev.is_from_future(self.context.clock.now()) {
            return Err(ReadError::FutureRev(theirs.rev).into());
        }
        Ok(theirs)
    }

    /// A host that no longer has the repo is believed when the document, as it is by now, still names it.
    async fn interpret(&self, host: &RepoHost, error: ReadError) -> Result<Given, Failure> {
        match error {
            ReadError::Xrpc(error) if error.is_unavailable() => self.refresh(host).await.map(|_| Given::Nothing),
            error => Err(error.into()),
        }
    }

    /// The owner as the document says by now, which must still name this host; none where the account is no more.
    async fn refresh(&self, host: &RepoHost) -> Result<Option<Identity>, Failure> {
        let known = &host.identity;
        if self.context.clock.now() < known.fetched_at.plus(IDENTITY_AGE_MAX) {
            return Ok(Some(known.clone()));
        }
        match self.context.identities.refresh(&known.did).await {
            Ok(identity) if identity.pds.is_none() => Ok(None),
            Ok(identity) if identity.pds.as_ref() == Some(host.server.url()) => Ok(Some(identity)),
            Ok(_) => Err(Failure::Moved),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the streams the time to bring what was written just before the audit came by.
    async fn await_stream(&self, cause: ResyncCause, theirs: &Theirs) {
        let settled_at = theirs.rev.time().plus(STREAM_PATIENCE);
        if cause == ResyncCause::Audit && self.context.clock.now() < settled_at {
            tokio::time::sleep(STREAM_PATIENCE).await;
        }
    }

    /// Stores the failure. When the database does not take even that, the repo is due again by its lease. Gives that it is to be
    /// tried again.
    async fn fail(&self, repo: &TakenRepo, failure: &Failure) -> bool {
        let tries = u32::try_from(repo.tries).unwrap_or_default();
        let pause = match failure {
            Failure::Moved => Duration::ZERO,
            _ => BACKOFF.pause(tries, rand::random()),
        };
        let now = self.context.clock.now().utc();
        let due_at = (now + pause).max(failure.retry_at().unwrap_or(now));
        tracing::debug!(error = %failure, tries, "a repo could not be read");
        metrics::counter!("plyr_repos_failed_total").increment(1);
        let noted = in_time(async {
            let mut connection = self.context.pool.acquire().await?;
            repos::fail(&mut connection, &repo.did, &UntrustedText::of(failure), due_at).await
        });
        if let Err(error) = noted.await {
            tracing::warn!(%error, "that a repo could not be read is not stored: it is due again when its lease ends");
        }
        true
    }
}

/// Whether it is the first reading, in which everything is new.
fn is_first(cause: ResyncCause) -> bool {
    matches!(cause, ResyncCause::Discovered | ResyncCause::FirstSeen)
}

/// Whether no account has the DID, or none any more.
fn is_gone(error: &IdentityError) -> bool {
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
