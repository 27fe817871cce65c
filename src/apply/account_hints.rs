//! What a batch says of accounts, and what is done about it.
//!
//! An `#account` event is a hint: the latest one takes effect at once, since it can be taken back at once, and whenever it changes
//! anything, or contradicts a later one, the account's own server is asked.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    model::{AccountStatus, ActorId, Event, EventBody},
    store::{
        actors::{
            self, AccountHint, HintOutcome,
            account_checks::{self, CheckReason},
            visibility,
        },
        repos,
    },
};

/// What a batch says of accounts.
#[derive(Debug, Default)]
pub struct AccountHints<'e> {
    /// The last hint of each DID.
    last: HashMap<&'e str, AccountHint<'e>>,
    /// The DIDs of those that say nothing of visibility.
    unclear: Vec<&'e str>,
    /// The DIDs of which both is said: that they are active, and that they are not.
    contradicted: Vec<&'e str>,
}

/// Whether a host's word on an account says whether it is to be shown.
pub fn says_visibility(active: bool, status: Option<&AccountStatus>) -> bool {
    active || status.is_none_or(AccountStatus::hides)
}

impl<'e> AccountHints<'e> {
    /// Sorts what these events say of accounts.
    pub fn of_events(events: impl Iterator<Item = &'e Event>) -> Self {
        let mut hints = Self::default();
        for event in events {
            let EventBody::Account { active, status, at } = &event.body else { continue };
            let did = event.did.as_str();
            if !says_visibility(*active, status.as_ref()) {
                hints.unclear.push(did);
                continue;
            }
            let held = hints.last.get(did);
            if held.is_some_and(|held| held.active != *active) {
                hints.contradicted.push(did);
            }
            if held.is_none_or(|held| held.at < *at) {
                let status = status.as_ref().map(AccountStatus::as_str);
                hints.last.insert(did, AccountHint { did: &event.did, active: *active, status, at: *at });
            }
        }
        hints
    }

    /// Keeps the last ones, hides and shows, and asks for checks. Answers how many were kept.
    pub async fn write(self, connection: &mut PgConnection, now: DateTime<Utc>) -> sqlx::Result<u64> {
        let last: Vec<AccountHint<'_>> = self.last.into_values().collect();
        let outcomes = actors::update_accounts(connection, &last).await?;
        let back: Vec<&str> = last.iter().filter(|hint| hint.active).map(|hint| hint.did.as_str()).collect();
        repos::enqueue_unserved(connection, &back, now).await?;
        visibility::hide(connection, &changed(&outcomes, false)).await?;
        visibility::show(connection, &changed(&outcomes, true)).await?;
        let mut checks: BTreeMap<ActorId, CheckReason> = BTreeMap::new();
        // Whether contradicting words come in one batch or in two must not matter: the last of them does not stand unchecked.
        for (dids, reason) in [(&self.unclear, CheckReason::Unclear), (&self.contradicted, CheckReason::Contradicted)] {
            if !dids.is_empty() {
                let known = actors::list_known(connection, dids).await?;
                checks.extend(known.into_iter().map(|id| (id, reason)));
            }
        }
        checks.extend(outcomes.iter().filter_map(|outcome| Some((outcome.actor_id, reason_to_check(outcome)?))));
        let checks: Vec<(ActorId, CheckReason)> = checks.into_iter().collect();
        account_checks::request(connection, &checks, now).await?;
        Ok(outcomes.iter().map(|outcome| u64::from(outcome.applied)).sum())
    }
}

/// The actors that are hidden, or shown, since these hints.
fn changed(outcomes: &[HintOutcome], active: bool) -> Vec<ActorId> {
    let changed = outcomes.iter().filter(|outcome| outcome.applied && outcome.active == active);
    changed.filter(|outcome| outcome.was_active != active).map(|outcome| outcome.actor_id).collect()
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
