//! A batch of events becomes one transaction: rows, tombstones, counts, rejects, gaps and positions.
//!
//! Contract: after [`Applier::apply`] has answered, either all of the batch is in the database, positions included, or nothing
//! of it is. Applying anything again changes nothing. Only `rev` orders, and only per path. Does not know where events
//! come from.
//!
//! What is different for each collection is in `rows`.

mod account_answers;
mod account_hints;
mod account_states;
mod applied;
mod batch;
mod commit_chains;
mod error;
mod fold;
mod gaps;
mod ids;
mod positions;
mod rejects;
mod remembered_hints;
mod rows;

pub use account_answers::{Answer, Answered, Decision, act_on_answer, decide};
pub use applied::{Applied, Counts};
pub use batch::{Batch, Delivered, Gap, GapChange, Lowered, Origin, Quiet, Reached};
pub use error::ApplyError;

use sqlx::PgConnection;

use crate::{
    clock::Clock,
    model::{Collection, Collections, Event, EventBody},
    store::{
        self,
        actors::{account_checks, identities},
        sources::lease::Token,
    },
};
use account_hints::AccountHints;
use account_states::AccountStates;
use fold::Fold;
use ids::Ids;
use remembered_hints::RememberedHints;
use rows::Context;

/// Applies batches, and remembers the ids of the actors, tracks and CIDs in them.
///
/// Ids never change and are never taken back, so that several appliers on one database may each remember their own.
#[derive(Debug)]
pub struct Applier {
    collections: Collections,
    clock: Clock,
    ids: Ids,
    hints: RememberedHints,
    accounts: AccountStates,
    token: Option<Token>,
}

impl Applier {
    /// An applier for the collections of one namespace.
    pub fn new(collections: Collections, clock: Clock) -> Self {
        Self {
            collections,
            clock,
            ids: Ids::default(),
            hints: RememberedHints::default(),
            accounts: AccountStates::default(),
            token: None,
        }
    }

    /// Applies only as long as the token is the lease's. Without one, it does not matter which indexer holds the lease.
    #[must_use]
    pub fn under(self, token: Token) -> Self {
        Self { token: Some(token), ..self }
    }

    /// Forgets ids and accounts: to be called when the database may be another one than before, or an older state of it.
    pub fn forget(&mut self) {
        self.ids = Ids::default();
        self.accounts = AccountStates::default();
    }

    /// Applies a batch in one transaction on `connection`, which must be in none.
    pub async fn apply(&mut self, connection: &mut PgConnection, batch: &Batch) -> Result<Applied, ApplyError> {
        let now = self.clock.now().utc();
        let refused = Fold::of_rejects(batch.rejects.iter().map(|(_, reject)| reject));
        let mut folds = [Fold::of_events(&batch.events), refused];
        let mut transaction = store::begin_apply(connection, self.token).await?;
        for Lowered { did, revs, to } in &batch.lowered {
            store::records::lower_revs(&mut transaction, did, revs, *to).await?;
        }
        let mut ids = self.ids.begin(&folds);
        ids.resolve_actors(&mut transaction).await?;
        self.accounts.refresh(&mut transaction).await?;
        for fold in &mut folds {
            self.accounts.drop_tombstoned(fold, &ids);
        }
        let context = &mut Context { collections: &self.collections, ids: &mut ids, now };
        let [mut applied, tombstones] = write_records(&mut transaction, &folds, context).await?;
        let hidden_writers = self.accounts.hidden_writers(&folds, &ids)?;
        if !hidden_writers.is_empty() {
            account_checks::request_for_commits(&mut transaction, &hidden_writers, now).await?;
        }
        let recalled = self.hints.recall(ids.new_dids());
        let hints = AccountHints::of_events(batch.events.iter().chain(&recalled));
        let accounts = hints.write(&mut transaction, now).await?;
        let identities = identities::mark_changed(&mut transaction, &changed_identities(&batch.events), now).await?;
        rejects::write(&mut transaction, &self.collections, &batch.rejects, now).await?;
        let confirmed = commit_chains::list_confirmed(&mut transaction, &batch.links).await?;
        gaps::write(&mut transaction, &batch.gaps, &confirmed, now, &mut applied).await?;
        positions::write_delivered(&mut transaction, &batch.positions, now).await?;
        commit_chains::follow(&mut transaction, &batch.links, now, &mut applied).await?;
        positions::write(&mut transaction, &batch.positions, &batch.quiet, now).await?;
        transaction.commit().await?;

        let found = ids.into_found();
        self.ids.keep(found);
        self.hints.keep(&batch.events);
        applied.add_hints(accounts, identities);
        applied.count_ignored(&batch.events);
        applied.rejected = batch.rejects.len() as u64;
        applied.tombstoned = tombstones.applied;
        Ok(applied)
    }
}

/// Writes what the folds say of all paths. Answers what became of each fold.
async fn write_records(
    connection: &mut PgConnection,
    folds: &[Fold<'_>; 2],
    context: &mut Context<'_, '_>,
) -> sqlx::Result<[Applied; 2]> {
    let mut outcomes = [Applied::default(), Applied::default()];
    // Tracks come first, so that one whose record is here is written once, and not named before.
    let (first, others): (Vec<Collection>, Vec<Collection>) =
        Collection::ALL.into_iter().partition(|collection| *collection == Collection::Track);
    for collections in [first, others] {
        for (outcome, fold) in outcomes.iter_mut().zip(folds) {
            for collection in &collections {
                let written = rows::write(connection, *collection, fold, context).await?;
                outcome.add_written(*collection, written, fold.anomalies(*collection));
            }
        }
        // Once the tracks are written; after the others nothing is left to resolve.
        context.ids.resolve_subjects(connection).await?;
    }
    Ok(outcomes)
}

/// The DIDs whose documents may have changed. What an event claims of the handle is not taken: it is looked up.
fn changed_identities(events: &[Event]) -> Vec<&str> {
    let changed = events.iter().filter(|event| matches!(event.body, EventBody::Identity { .. }));
    let mut dids: Vec<&str> = changed.map(|event| event.did.as_str()).collect();
    dids.sort_unstable();
    dids.dedup();
    dids
}
