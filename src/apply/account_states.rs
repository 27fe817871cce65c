use std::collections::BTreeMap;

use foldhash::{HashMap, HashSet};
use sqlx::PgConnection;

use super::{fold::Fold, ids::BatchIds};
use crate::{
    atproto::Tid,
    model::ActorId,
    store::actors::{tombstones, visibility},
};

/// What an applier remembers of accounts: which are hidden, and which were deleted, up to which rev.
#[derive(Debug, Default)]
pub struct AccountStates {
    generation: Option<i64>,
    hidden: HashSet<ActorId>,
    tombstones: HashMap<ActorId, Tid>,
}

impl AccountStates {
    /// Reads again what has changed since. Under the lock of the transaction nothing changes after that.
    pub async fn refresh(&mut self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let generation = Some(visibility::find_generation(connection).await?);
        if self.generation != generation {
            self.hidden = visibility::load_hidden(connection).await?.into_iter().collect();
            self.tombstones = tombstones::load_tombstones(connection).await?.into_iter().collect();
            self.generation = generation;
        }
        Ok(())
    }

    /// Drops the operations that an account's deletion has overtaken. The actors' ids are resolved.
    ///
    /// This is the tombstone of every path of the repo at once, and of nothing above its rev: not a guard that goes by the last
    /// rev seen of a repo in use.
    pub fn drop_tombstoned(&self, fold: &mut Fold<'_>, ids: &BatchIds<'_>) {
        if !self.tombstones.is_empty() {
            fold.retain(|path| {
                let tombstone = ids.actor(path.did).ok().and_then(|id| self.tombstones.get(&id));
                tombstone.is_none_or(|rev| path.rev > *rev)
            });
        }
    }

    /// Actors that are hidden and have written, with the rev of their last commit in the batch. The actors' ids are resolved.
    pub fn hidden_writers(&self, folds: &[Fold<'_>], ids: &BatchIds<'_>) -> sqlx::Result<Vec<(ActorId, Tid)>> {
        if self.hidden.is_empty() {
            return Ok(Vec::new());
        }
        let mut last: BTreeMap<ActorId, Tid> = BTreeMap::new();
        for path in folds.iter().flat_map(Fold::paths) {
            let id = ids.actor(path.did)?;
            if self.hidden.contains(&id) {
                let rev = last.entry(id).or_insert(path.rev);
                *rev = path.rev.max(*rev);
            }
        }
        Ok(last.into_iter().collect())
    }
}
