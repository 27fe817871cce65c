//! Accounts that there is doubt about are asked about, of the server that their DID document names by now.
//!
//! Contract: what a stream says of an account hides and shows it at once and puts it on a list; [`run`] works off that list, a few
//! at a time, and what the account's own server says stands. While nobody answers, everything stays as it is, and is asked
//! again later. Does not know where the doubt came from.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::{
    apply::{self, Answer, ApplyError},
    clock::Clock,
    identity::{Failure, Identities, IdentityError},
    model::AccountStatus,
    pds::{Server, XrpcError},
    store::actors::account_checks::{self, AccountCheck},
};

/// Accounts asked about at once.
const PARALLEL: usize = 4;
/// Accounts in one round.
const ROUND_MAX: i64 = 32;
/// How often the list is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Asks about accounts until cancelled.
pub async fn run(pool: PgPool, identities: Identities, clock: Clock, cancel: CancellationToken) {
    let checking = async {
        loop {
            if let Err(error) = check_due(&pool, &identities, &clock).await {
                tracing::debug!(%error, "accounts are asked about later");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let _: Option<()> = cancel.run_until_cancelled(checking).await;
}

/// Asks about those who are due, and does what follows. Answers how many were asked about.
pub async fn check_due(pool: &PgPool, identities: &Identities, clock: &Clock) -> Result<usize, ApplyError> {
    let due = account_checks::list_due(&mut *pool.acquire().await?, clock.now().utc(), ROUND_MAX).await?;
    let count = due.len();
    let mut asked = stream::iter(due)
        .map(|check| async move {
            let asked_at = clock.now();
            (ask(identities, &check).await, check, asked_at)
        })
        .buffer_unordered(PARALLEL);
    while let Some((answer, check, asked_at)) = asked.next().await {
        let mut connection = pool.acquire().await?;
        let decision = apply::settle((&mut connection, None), &check, answer, (asked_at, clock.now())).await?;
        tracing::debug!(did = %check.did, ?decision, "asked about an account");
    }
    Ok(count)
}

/// What the account's own server says by now.
async fn ask(identities: &Identities, check: &AccountCheck) -> Answer {
    let identity = match identities.refresh(&check.did).await {
        Ok(identity) => identity,
        Err(IdentityError::Unresolved { failure: Failure::Tombstone, .. }) => return Answer::Tombstoned,
        Err(IdentityError::Unresolved { failure: Failure::NotFound, .. }) => return Answer::NotFound,
        Err(IdentityError::Unresolved { .. } | IdentityError::Database(_)) => return Answer::Unreachable,
    };
    // A document that names no server for a repo: there is none.
    let Some(pds) = identity.pds else { return Answer::NotFound };
    let server = Server::of_stranger(identities.directory().client().clone(), pds);
    let inactive = |status| Answer::Inactive { status: Some(status) };
    match server.fetch_repo_status(&check.did).await {
        Ok(status) if status.active => Answer::Active { rev: status.rev },
        Ok(status) => Answer::Inactive { status: status.status },
        Err(XrpcError::RepoNotFound) => Answer::NotFound,
        Err(XrpcError::RepoTakendown) => inactive(AccountStatus::Takendown),
        Err(XrpcError::RepoSuspended) => inactive(AccountStatus::Suspended),
        Err(XrpcError::RepoDeactivated) => inactive(AccountStatus::Deactivated),
        Err(XrpcError::RecordNotFound | XrpcError::NotOffered | XrpcError::Lied(_) | XrpcError::Host(_)) => {
            Answer::Unreachable
        }
    }
}
