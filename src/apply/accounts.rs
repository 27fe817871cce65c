//! What is said of accounts, and what follows from it.
//!
//! An `#account` event is a hint: the latest one takes effect at once, since it can be taken back at once, and whenever it changes
//! anything, or goes against a later one, the account's own server is asked. Only that server's word removes anything.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use foldhash::{HashMap, HashSet};
use sqlx::PgConnection;

use super::{ApplyError, fold::Fold, rows::AccountHints};
use crate::{
    atproto::{Tid, Timestamp},
    model::AccountStatus,
    retry::Backoff,
    store::{
        self,
        actors::{
            self, HintOutcome,
            account_checks::{self, AccountCheck, CheckReason},
            accounts,
        },
        repos,
        sources::lease::Token,
    },
};

/// How long an account that is said to be deleted is kept, hidden, while its server cannot be asked.
const GRACE: TimeDelta = TimeDelta::days(30);
/// Between two attempts to ask. The hosts differ, so that no jitter is needed to keep the attempts apart.
const BACKOFF: Backoff = Backoff::new(Duration::from_mins(1), Duration::from_hours(12));

/// Whether a host's word on an account says whether it is to be seen: slowed down or out of step are the host's own troubles.
pub(super) fn rules_visibility(active: bool, status: Option<&AccountStatus>) -> bool {
    active || !matches!(status, Some(AccountStatus::Throttled | AccountStatus::Desynchronized))
}

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
/// was said to be deleted, and for a month there has been nobody to confirm it.
pub fn decide(held: &AccountCheck, answer: Answer, now: Timestamp) -> Decision {
    let is_said_deleted = !held.active && held.status.as_deref() == Some(AccountStatus::Deleted.as_str());
    match answer {
        Answer::Active { rev } => Decision::Show { rev },
        Answer::Inactive { status: Some(AccountStatus::Deleted) } | Answer::Tombstoned => Decision::Remove,
        Answer::Inactive { status } if rules_visibility(false, status.as_ref()) => Decision::Hide { status },
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

/// Does what follows from an answer, in one transaction on `connection`, which must be in none. `asked_at` is when the question
/// was sent. To be called again with the next answer where this one decides nothing.
pub async fn settle(
    (connection, token): (&mut PgConnection, Option<Token>),
    check: &AccountCheck,
    answer: Answer,
    (asked_at, now): (Timestamp, Timestamp),
) -> Result<Decision, ApplyError> {
    let id = check.actor_id;
    let mut transaction = store::begin_apply(connection, token).await?;
    let connection = &mut *transaction;
    if account_checks::is_overtaken(connection, check, asked_at.utc()).await? {
        return Ok(Decision::AskAgain);
    }
    let decision = decide(check, answer, now);
    match &decision {
        Decision::Show { rev } => {
            actors::write_answer(connection, id, (true, None), asked_at).await?;
            accounts::unbury(connection, id, *rev).await?;
            accounts::show(connection, &[id]).await?;
            // While it was hidden, its server may have given nothing to whoever wanted to read the repo.
            repos::enqueue_unserved(connection, &[check.did.as_str()], now.utc()).await?;
        }
        Decision::Hide { status } => {
            let status = status.as_ref().map(AccountStatus::as_str);
            actors::write_answer(connection, id, (false, status), asked_at).await?;
            accounts::hide(connection, &[id]).await?;
        }
        Decision::Remove => {
            actors::write_answer(connection, id, (false, Some(AccountStatus::Deleted.as_str())), asked_at).await?;
            accounts::hide(connection, &[id]).await?;
            // All that was written until then, also between this deletion and another before it.
            accounts::bury(connection, id, Tid::last_at(asked_at)).await?;
        }
        Decision::Keep | Decision::Wait | Decision::AskAgain => {}
    }
    if decision == Decision::Wait {
        account_checks::postpone(connection, check, next_attempt(check.attempts, now)).await?;
    } else {
        account_checks::settle(connection, check).await?;
    }
    transaction.commit().await?;
    Ok(decision)
}

fn next_attempt(attempts: i32, now: Timestamp) -> DateTime<Utc> {
    now.plus(BACKOFF.pause(u32::try_from(attempts).unwrap_or_default(), 1.0)).utc()
}

/// Takes the hints of a batch: keeps the last ones, hides and shows, and asks for checks. Answers how many were kept.
pub(super) async fn take_hints(
    connection: &mut PgConnection,
    hints: &AccountHints<'_>,
    now: DateTime<Utc>,
) -> sqlx::Result<u64> {
    let outcomes = actors::update_accounts(connection, &hints.last).await?;
    let back: Vec<&str> = hints.last.iter().filter(|hint| hint.active).map(|hint| hint.did.as_str()).collect();
    repos::enqueue_unserved(connection, &back, now).await?;
    let changed = |active: bool| -> Vec<i64> {
        let changed = outcomes.iter().filter(|outcome| outcome.applied && outcome.active == active);
        changed.filter(|outcome| outcome.was_active != active).map(|outcome| outcome.actor_id).collect()
    };
    accounts::hide(connection, &changed(false)).await?;
    accounts::show(connection, &changed(true)).await?;
    let mut checks: BTreeMap<i64, CheckReason> = BTreeMap::new();
    // Whether contradicting words come in one batch or in two must not matter: the last of them is not believed unasked.
    for (dids, reason) in [(&hints.unclear, CheckReason::Unclear), (&hints.disputed, CheckReason::Contradicted)] {
        if !dids.is_empty() {
            let known = actors::list_known(connection, dids).await?;
            checks.extend(known.into_iter().map(|id| (id, reason)));
        }
    }
    checks.extend(outcomes.iter().filter_map(|outcome| Some((outcome.actor_id, reason_to_check(outcome)?))));
    let checks: Vec<(i64, CheckReason)> = checks.into_iter().collect();
    account_checks::request(connection, &checks, now).await?;
    Ok(outcomes.iter().map(|outcome| u64::from(outcome.applied)).sum())
}

fn reason_to_check(outcome: &HintOutcome) -> Option<CheckReason> {
    let is_deleted = !outcome.active && outcome.status.as_deref() == Some(AccountStatus::Deleted.as_str());
    match (outcome.applied, outcome.active == outcome.was_active) {
        (true, _) if is_deleted => Some(CheckReason::Deleted),
        (true, false) => Some(CheckReason::Changed),
        (false, false) => Some(CheckReason::Contradicted),
        (_, true) => None,
    }
}

/// What an applier remembers of accounts: who is hidden, and which were deleted, up to which rev.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    generation: Option<i64>,
    hidden: HashSet<i64>,
    floors: HashMap<i64, i64>,
}

impl Accounts {
    /// Reads again what has changed since. Under the lock of the transaction nothing changes after that.
    pub(super) async fn refresh(&mut self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let generation = Some(accounts::find_generation(connection).await?);
        if self.generation != generation {
            self.hidden = accounts::load_hidden(connection).await?.into_iter().collect();
            self.floors = accounts::load_floors(connection).await?.into_iter().collect();
            self.generation = generation;
        }
        Ok(())
    }

    /// Drops the operations that an account's deletion has overtaken. The actors' ids are known.
    ///
    /// This is the tombstone of every path of the repo at once, and of nothing above its rev: not a guard that goes by the last
    /// rev seen of a repo in use.
    pub(super) fn drop_buried(&self, fold: &mut Fold<'_>) {
        if !self.floors.is_empty() {
            fold.retain(|path| self.floors.get(&path.actor_id).is_none_or(|floor| path.rev.number() > *floor));
        }
    }

    /// Actors that are hidden and have written, with the rev of their last commit in the batch.
    pub(super) fn hidden_writers(&self, fold: &mut Fold<'_>) -> Vec<(i64, Tid)> {
        if self.hidden.is_empty() {
            return Vec::new();
        }
        let mut last: BTreeMap<i64, Tid> = BTreeMap::new();
        for (_, path) in fold.paths().filter(|(_, path)| self.hidden.contains(&path.actor_id)) {
            let rev = last.entry(path.actor_id).or_insert(path.rev);
            *rev = path.rev.max(*rev);
        }
        last.into_iter().collect()
    }
}
