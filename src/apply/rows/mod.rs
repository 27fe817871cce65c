//! What the paths of a batch come to, as rows: a file for each collection.
//!
//! Contract: the ids of actors are resolved before anything is written; those of subjects after the tracks are, so that a track
//! whose record is in the batch is written once, and not named before.

#[cfg(feature = "fifth-collection")]
mod comment;
mod like;
mod list;
mod order;
mod profile;
mod text;
mod track;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{fold::Fold, ids::BatchIds};
#[cfg(feature = "fifth-collection")]
use crate::store::records::comments;
use crate::{
    model::{Collection, Collections},
    store::{
        Written,
        records::{likes, lists, profiles, tracks},
    },
};

/// Writes what a fold says of one collection.
pub async fn write(
    connection: &mut PgConnection,
    collection: Collection,
    fold: &Fold<'_>,
    context: &mut Context<'_, '_>,
) -> sqlx::Result<Written> {
    let (ids, now) = (&mut *context.ids, context.now);
    let paths = fold.of(collection);
    match collection {
        Collection::Like => likes::write(connection, &like::rows(paths, ids)?, now).await,
        Collection::List => lists::write(connection, &list::rows(paths, ids)?, now).await,
        Collection::Track => tracks::write(connection, &track::rows(paths, ids, context.collections)?, now).await,
        Collection::Profile => profiles::write(connection, &profile::rows(paths, ids)?, now).await,
        #[cfg(feature = "fifth-collection")]
        Collection::Comment => comments::write(connection, &comment::rows(paths, ids)?, now).await,
    }
}

/// What rows are made with.
#[derive(Debug)]
pub struct Context<'c, 'i> {
    /// The NSIDs.
    pub collections: &'c Collections,
    /// The ids that are resolved by now.
    pub ids: &'c mut BatchIds<'i>,
    /// When the rows are indexed.
    pub now: DateTime<Utc>,
}
