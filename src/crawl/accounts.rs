//! Accounts whose status is in doubt are asked about at the PDS that their DID document names by now.
//!
//! What a stream says of an account hides and shows it at once and enqueues a check here; what the account's own PDS says stands.
//! While no host answers, everything stays as it is, and is asked again later.

use std::{future::Future, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{
    Context, Until,
    queue::{Entry, Limits, Place, Postponed, Queue, Read, Taken, Taking},
};
use crate::{
    apply::{Answer, Answered, ApplyError, act_on_answer},
    atproto::Did,
    identity::{Failure, Identities, Identity, IdentityError},
    model::{AccountStatus, ActorId},
    pds::{HostUrl, Server, XrpcError},
    store::{
        actors::account_checks::{self, AccountCheck},
        in_time,
    },
};

/// Without a lease: only the leader checks accounts, and a check that was not answered is due still.
const LIMITS: Limits = Limits {
    in_all: 4,
    per_host: 2,
    pace: Duration::ZERO,
    taken_max: 32,
    waiting_per_host_max: usize::MAX,
    lease: Duration::ZERO,
    tick: Duration::from_secs(1),
};

/// Checks the accounts that are due. Gives how many were asked about.
pub async fn run(context: Context, until: Until, cancel: CancellationToken) -> sqlx::Result<u64> {
    let identities = context.identities.clone();
    let mut checks = Checks { context, asked: 0 };
    super::run::run(&mut checks, &identities, until, &cancel).await?;
    Ok(checks.asked)
}

struct Checks {
    context: Context,
    asked: u64,
}

struct DueCheck {
    check: AccountCheck,
    /// As it was known says whose turn it is. The one that is asked is the one of the document by now.
    server: Option<HostUrl>,
}

impl Entry for DueCheck {
    type Key = ActorId;

    fn key(&self) -> ActorId {
        self.check.actor_id
    }

    fn place(&self) -> Place {
        let did = &self.check.did;
        self.server.clone().map_or_else(|| Place::document(did), |server| Place::server(server, did))
    }
}

impl Queue for Checks {
    type Entry = DueCheck;
    type Outcome = ();

    fn limits(&self) -> Limits {
        LIMITS
    }

    async fn take(&mut self, taking: Taking<ActorId>) -> sqlx::Result<Taken<DueCheck>> {
        let (limit, now) = (taking.limit(), taking.now.utc());
        let due = {
            let mut connection = self.context.pool.acquire().await?;
            account_checks::list_due(&mut connection, now, limit, &taking.held).await?
        };
        let dids: Vec<&Did> = due.iter().map(|check| &check.did).collect();
        let mut known = self.context.identities.find_known(&dids).await.unwrap_or_default();
        let entry = |check: AccountCheck| {
            let server = known.remove(&check.did).and_then(|identity| identity.pds);
            DueCheck { check, server }
        };
        let is_more = due.len() == taking.limit;
        Ok(Taken { entries: due.into_iter().map(entry).collect(), is_more })
    }

    fn read(&self, entry: DueCheck) -> impl Future<Output = Read<DueCheck, ()>> + Send + 'static {
        let context = self.context.clone();
        async move {
            let DueCheck { check, server } = entry;
            if server.is_none()
                && let Ok(Identity { pds: Some(server), .. }) = context.identities.find(&check.did).await
            {
                return Read::Elsewhere(DueCheck { check, server: Some(server) });
            }
            if let Err(error) = answer(&context, &check).await {
                tracing::warn!(%error, did = %check.did, "what its PDS says of an account is not stored: it is asked again");
            }
            Read::Done(())
        }
    }

    fn note(&mut self, (): ()) {
        self.asked += 1;
    }

    async fn postpone(&mut self, entries: &[Postponed<ActorId>]) -> sqlx::Result<()> {
        let due: Vec<_> = entries.iter().map(|entry| (entry.key, entry.due_at)).collect();
        account_checks::delay(&mut *self.context.pool.acquire().await?, &due).await
    }
}

async fn answer(context: &Context, check: &AccountCheck) -> Result<(), ApplyError> {
    let asked_at = context.clock.now();
    let answer = ask(&context.identities, check).await;
    let decision = in_time(async {
        let mut connection = context.pool.acquire().await?;
        act_on_answer(&mut connection, check, Answered { answer, asked_at }, context.clock.now()).await
    })
    .await?;
    tracing::debug!(did = %check.did, ?decision, "asked about an account");
    Ok(())
}

/// What the account's own PDS says by now.
async fn ask(identities: &Identities, check: &AccountCheck) -> Answer {
    let identity = match identities.refresh(&check.did).await {
        Ok(identity) => identity,
        Err(IdentityError::Unresolved { failure: Failure::Tombstone, .. }) => return Answer::Tombstoned,
        Err(IdentityError::Unresolved { failure: Failure::NotFound, .. }) => return Answer::NotFound,
        Err(IdentityError::Unresolved { .. } | IdentityError::Database(_)) => return Answer::Unreachable,
    };
    // A document that names no server for a repo: there is none.
    let Some(pds) = identity.pds else { return Answer::NotFound };
    let server = Server::untrusted(identities.client(), pds);
    let inactive = |status| Answer::Inactive { status: Some(status) };
    match server.fetch_repo_status(&check.did).await {
        Ok(status) if status.active => Answer::Active { rev: status.rev },
        Ok(status) => Answer::Inactive { status: status.status },
        Err(XrpcError::RepoNotFound) => Answer::NotFound,
        Err(XrpcError::RepoTakendown) => inactive(AccountStatus::Takendown),
        Err(XrpcError::RepoSuspended) => inactive(AccountStatus::Suspended),
        Err(XrpcError::RepoDeactivated) => inactive(AccountStatus::Deactivated),
        Err(XrpcError::RecordNotFound | XrpcError::NotOffered | XrpcError::BadAnswer(_) | XrpcError::Host(_)) => {
            Answer::Unreachable
        }
    }
}
