//! What an account's own server answers about it, and what follows. Only that server's word removes anything.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use super::{account_hints::says_visibility, error::ApplyError};
use crate::{
    atproto::{Tid, Timestamp},
    model::AccountStatus,
    retry::Backoff,
    store::{
        self,
        actors::{
            self, AccountAnswer,
            account_checks::{self, AccountCheck},
            tombstones, visibility,
        },
        repos,
    },
};

/// How long an account that is said to be deleted is kept, hidden, while its server cannot be asked.
const GRACE: TimeDelta = TimeDelta::days(30);
/// Between two attempts to ask. The hosts differ, so that no jitter is needed to keep the attempts apart.
const BACKOFF: Backoff = Backoff::new(Duration::from_mins(1), Duration::from_hours(12));

/// What the server that an account's DID document names says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It serves the repo, which is at this rev, if it says so.
    Active {
        /// The rev of the last commit.
        rev: Option<Tid>,
    },
    /// It does not, and why.
    Inactive {
        /// The reason, if it gives one.
        status: Option<AccountStatus>,
    },
    /// It does not know the account.
    NotFound,
    /// There is no such server: the DID itself was given up.
    Tombstoned,
    /// It did not answer, or not to the question.
    Unreachable,
}

/// What is to be done with an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Show it. Where it had been removed, its repo at this rev is to be read again.
    Show {
        /// The rev of the last commit.
        rev: Option<Tid>,
    },
    /// Hide it, and keep all rows.
    Hide {
        /// The reason.
        status: Option<AccountStatus>,
    },
    /// Hide it and remove its rows.
    Remove,
    /// Leave it as it is, and ask again later.
    Wait,
    /// Leave it as it is, and ask again at once: something was said since it was asked about.
    AskAgain,
    /// Leave it as it is.
    Keep,
}

/// What follows from what is held of an account and from its server's answer.
///
/// Rows are removed in two cases alone: the server of the current DID document confirms that the account is gone, or the account
/// was said to be deleted, and for a month no server has confirmed it.
pub fn decide(held: &AccountCheck, answer: Answer, now: Timestamp) -> Decision {
    let is_said_deleted = !held.active && held.status.as_deref() == Some(AccountStatus::Deleted.as_str());
    match answer {
        Answer::Active { rev } => Decision::Show { rev },
        Answer::Inactive { status: Some(AccountStatus::Deleted) } | Answer::Tombstoned => Decision::Remove,
        Answer::Inactive { status } if says_visibility(false, status.as_ref()) => Decision::Hide { status },
        Answer::Inactive { .. } => Decision::Keep,
        // Only together do the two say that it is gone: a server that has lost track of an account says the same.
        Answer::NotFound if is_said_deleted => Decision::Remove,
        Answer::NotFound | Answer::Unreachable if is_said_deleted && is_past_grace(held, now) => Decision::Remove,
        Answer::NotFound | Answer::Unreachable => Decision::Wait,
    }
}

/// Whether a month has passed both since the account was said to be deleted and since its server was first to be asked: what is
/// replayed out of the past has been asked about only now.
fn is_past_grace(held: &AccountCheck, now: Timestamp) -> bool {
    let is_past = |at: Timestamp| now.utc().signed_duration_since(at.utc()) > GRACE;
    held.status_at.is_some_and(is_past) && is_past(held.since)
}

/// Does what follows from an answer to a question that was sent at `asked_at`, in one transaction on `connection`, which must be in
/// none. To be called again with the next answer where this one decides nothing.
pub async fn act_on_answer(
    connection: &mut PgConnection,
    check: &AccountCheck,
    Answered { answer, asked_at }: Answered,
    now: Timestamp,
) -> Result<Decision, ApplyError> {
    let mut transaction = store::begin_apply(connection, None).await?;
    let connection = &mut *transaction;
    if account_checks::is_overtaken(connection, check, asked_at.utc()).await? {
        return Ok(Decision::AskAgain);
    }
    let decision = decide(check, answer, now);
    write_decision(connection, check, &decision, Moments { asked_at, now }).await?;
    if decision == Decision::Wait {
        account_checks::postpone(connection, check, next_attempt(check.attempts, now)).await?;
    } else {
        account_checks::remove_answered(connection, check).await?;
    }
    transaction.commit().await?;
    Ok(decision)
}

/// An answer, and when it was asked for.
#[derive(Debug, Clone)]
pub struct Answered {
    /// What the server says.
    pub answer: Answer,
    /// When the question was sent.
    pub asked_at: Timestamp,
}

#[derive(Debug, Clone, Copy)]
struct Moments {
    asked_at: Timestamp,
    now: Timestamp,
}

async fn write_decision(
    connection: &mut PgConnection,
    check: &AccountCheck,
    decision: &Decision,
    Moments { asked_at, now }: Moments,
) -> sqlx::Result<()> {
    let id = check.actor_id;
    match decision {
        Decision::Show { rev } => {
            actors::write_answer(connection, id, AccountAnswer { active: true, status: None, asked_at }).await?;
            tombstones::restore_account(connection, id, *rev).await?;
            visibility::show(connection, &[id]).await?;
            // While it was hidden, its server may have refused to serve the repo.
            repos::enqueue_unserved(connection, &[check.did.as_str()], now.utc()).await
        }
        Decision::Hide { status } => {
            let status = status.as_ref().map(AccountStatus::as_str);
            actors::write_answer(connection, id, AccountAnswer { active: false, status, asked_at }).await?;
            visibility::hide(connection, &[id]).await
        }
        Decision::Remove => {
            let status = Some(AccountStatus::Deleted.as_str());
            actors::write_answer(connection, id, AccountAnswer { active: false, status, asked_at }).await?;
            visibility::hide(connection, &[id]).await?;
            // All that was written until then, also between this deletion and another before it.
            tombstones::tombstone_account(connection, id, Tid::last_at(asked_at)).await
        }
        Decision::Keep | Decision::Wait | Decision::AskAgain => Ok(()),
    }
}

fn next_attempt(attempts: i32, now: Timestamp) -> DateTime<Utc> {
    now.plus(BACKOFF.pause(u32::try_from(attempts).unwrap_or_default(), 1.0)).utc()
}
