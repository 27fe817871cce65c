//! A batch of events becomes one transaction: rows, tombstones, counts, rejects, gaps and positions.
//!
//! Contract: after [`Applier::apply`] has answered, either all of the batch is in the database, positions included, or nothing
//! of it is. Applying anything again changes nothing. Only `rev` orders, and only per path. Does not know where events
//! come from.

mod accounts;
mod batch;
mod chains;
mod fold;
mod gaps;
mod hints;
mod ids;
mod rows;

pub use accounts::{Answer, Decision, decide, settle};
pub use batch::{Applied, Batch, Counts, Gap, GapChange, Origin, Proof, Reached, kind};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    atproto::Nsid,
    clock::Clock,
    model::{Collection, Collections, Event},
    store::{
        self,
        actors::{account_checks, identities},
        rejects,
        sources::{last_delivered, lease::Token, positions},
    },
};
use accounts::Accounts;
use fold::Fold;
use hints::Hints;
use ids::Ids;

/// The batch is not in the database.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Postgres refused or is away: try the same batch again later.
    #[error("the database did not take the batch: {0}")]
    Database(#[source] sqlx::Error),
    /// The applier's token is no longer the lease's: another indexer works, and this one may not.
    #[error("another indexer has taken over")]
    TakenOver,
}

impl From<sqlx::Error> for ApplyError {
    fn from(error: sqlx::Error) -> Self {
        if store::sources::lease::is_taken_over(&error) { Self::TakenOver } else { Self::Database(error) }
    }
}

impl ApplyError {
    /// Whether Postgres refused what a row holds (SQLSTATE classes 22 and 23), so that trying again can't help.
    pub fn is_about_a_row(&self) -> bool {
        self.is_of_class(&["22", "23"])
    }

    /// Whether the database is not one that we can write to (no such table, no right to it), however often it is tried.
    pub fn is_about_the_schema(&self) -> bool {
        self.is_of_class(&["42", "0A"])
    }

    fn is_of_class(&self, classes: &[&str]) -> bool {
        let Self::Database(error) = self else { return false };
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        code.is_some_and(|code| classes.iter().any(|class| code.starts_with(class)))
    }
}

/// Applies batches, and remembers the ids of actors and tracks that it has met.
///
/// Ids never change and are never taken back, so that several appliers on one database may each remember their own.
#[derive(Debug)]
pub struct Applier {
    collections: Collections,
    clock: Clock,
    ids: Ids,
    hints: Hints,
    accounts: Accounts,
    token: Option<Token>,
}

impl Applier {
    /// An applier for the collections of one namespace.
    pub fn new(collections: Collections, clock: Clock) -> Self {
        Self {
            collections,
            clock,
            ids: Ids::default(),
            hints: Hints::default(),
            accounts: Accounts::default(),
            token: None,
        }
    }

    /// Applies only as long as the token is the lease's. Without one, whoever holds the lease does not matter.
    #[must_use]
    pub fn under(self, token: Token) -> Self {
        Self { token: Some(token), ..self }
    }

    /// Forgets ids and accounts: to be called when the database may be another one than before, or an older state of it.
    pub fn forget(&mut self) {
        self.ids = Ids::default();
        self.accounts = Accounts::default();
    }

    /// Applies a batch in one transaction on `connection`, which must be in none.
    pub async fn apply(&mut self, connection: &mut PgConnection, batch: &Batch) -> Result<Applied, ApplyError> {
        let now = self.clock.now().utc();
        let mut fold = Fold::of_events(&batch.events);
        let mut burials = Fold::of_rejects(batch.rejects.iter().map(|(_, reject)| reject));
        let mut transaction = store::begin_apply(connection, self.token).await?;
        let track_nsid = self.collections.nsid(Collection::Track);
        let folds = &mut [&mut fold, &mut burials];
        let mut met = self.ids.resolve_actors(&mut transaction, track_nsid, folds).await?;
        self.accounts.refresh(&mut transaction).await?;
        for fold in folds.iter_mut() {
            self.accounts.drop_buried(fold);
        }
        // Tracks come first, so that one whose record is here is written once, and not mentioned before.
        let mut outcomes = [Applied::default(); 2];
        for (outcome, fold) in outcomes.iter_mut().zip(folds.iter()) {
            write_tracks(&mut transaction, (fold, track_nsid), now, outcome).await?;
        }
        met.resolve_subjects(&mut transaction, track_nsid, folds).await?;
        for (outcome, fold) in outcomes.iter_mut().zip(folds.iter()) {
            write_others(&mut transaction, fold, now, outcome).await?;
        }
        let [mut applied, buried] = outcomes;
        self.ask_for_checks(&mut transaction, folds, now).await?;
        let recalled = self.hints.recall(met.dids());
        let (accounts, identities) = write_hints(&mut transaction, &batch.events, &recalled, now).await?;
        for (origin, reject) in &batch.rejects {
            rejects::insert(&mut transaction, &rows::reject(&self.collections, origin, reject), now).await?;
        }
        gaps::write(&mut transaction, &batch.gaps, now, &mut applied).await?;
        last_delivered::write(&mut transaction, &rows::proofs(&batch.positions), now).await?;
        chains::follow(&mut transaction, &batch.links, now, &mut applied).await?;
        for reached in &batch.positions {
            positions::write(&mut transaction, rows::position(reached), now).await?;
        }
        for (source, until) in &batch.rests {
            positions::write_quiet(&mut transaction, source, until.utc()).await?;
        }
        transaction.commit().await?;

        self.ids.keep(met);
        self.hints.keep(&batch.events);
        applied.add_hints(accounts, identities);
        applied.settle(&batch.events);
        applied.rejected = batch.rejects.len() as u64;
        applied.buried = buried.applied;
        Ok(applied)
    }

    /// A live commit of a hidden account makes us ask about it again.
    async fn ask_for_checks(
        &self,
        connection: &mut PgConnection,
        folds: &mut [&mut Fold<'_>],
        now: DateTime<Utc>,
    ) -> sqlx::Result<()> {
        let commits: Vec<_> = folds.iter_mut().flat_map(|fold| self.accounts.hidden_writers(fold)).collect();
        if commits.is_empty() {
            return Ok(());
        }
        account_checks::request_for_commits(connection, &commits, now).await
    }
}

/// Writes what a fold says of tracks, whose artists' ids are known.
async fn write_tracks(
    connection: &mut PgConnection,
    (fold, nsid): (&Fold<'_>, &Nsid),
    now: DateTime<Utc>,
    outcome: &mut Applied,
) -> sqlx::Result<()> {
    let tracks = rows::tracks(fold.of(Collection::Track), nsid);
    let written = store::records::tracks::write(connection, &tracks, now).await?;
    outcome.add_written(Collection::Track, written, fold.anomalies(Collection::Track));
    Ok(())
}

/// Writes what a fold says of all other paths, whose ids are all known.
async fn write_others(
    connection: &mut PgConnection,
    fold: &Fold<'_>,
    now: DateTime<Utc>,
    outcome: &mut Applied,
) -> sqlx::Result<()> {
    let likes = store::records::likes::write(connection, &rows::likes(fold.of(Collection::Like)), now).await?;
    outcome.add_written(Collection::Like, likes, fold.anomalies(Collection::Like));
    let lists = store::records::lists::write(connection, &rows::lists(fold.of(Collection::List)), now).await?;
    outcome.add_written(Collection::List, lists, fold.anomalies(Collection::List));
    let profiles =
        store::records::profiles::write(connection, &rows::profiles(fold.of(Collection::Profile)), now).await?;
    outcome.add_written(Collection::Profile, profiles, fold.anomalies(Collection::Profile));
    Ok(())
}

/// Keeps the last thing that the batch says of each account, and that somebody's document may have changed.
async fn write_hints(
    connection: &mut PgConnection,
    events: &[Event],
    recalled: &[Event],
    now: DateTime<Utc>,
) -> sqlx::Result<(u64, u64)> {
    let hints = rows::account_hints(events.iter().chain(recalled));
    let accounts = accounts::take_hints(connection, &hints, now).await?;
    let identities = identities::mark_told(connection, &rows::identity_hints(events), now).await?;
    Ok((accounts, identities))
}
