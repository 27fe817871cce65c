//! Records: a file for each collection's table, and one for the CIDs that likes name.
//!
//! Contract: rows are written by the apply floor alone, in the transaction of [`crate::store::begin_apply`], and each only over one of
//! a lower rev. What concerns the records of every collection is here, by exhaustive matches, and nowhere else: a new
//! collection does not compile until each is decided. Does not know what a record means.

#[cfg(feature = "fifth-collection")]
pub mod comments;
mod held;
pub mod likes;
pub mod lists;
pub mod profiles;
pub mod subject_cids;
pub mod tracks;

pub use held::{HeldRecord, RepoUpTo};

use std::sync::LazyLock;

use sqlx::{AssertSqlSafe, PgConnection};

use crate::{
    atproto::{Did, Tid},
    model::{ActorId, Collection, CollectionMap},
};
use held::{ChangedRevs, HeldRow};

/// All that the index holds of one repo, live or tombstone, in one statement: an audit asks it of every repo. It is put together, so
/// that it is checked by the tests alone.
pub async fn load_held(connection: &mut PgConnection, did: &Did) -> sqlx::Result<Vec<HeldRecord>> {
    static STATEMENT: LazyLock<String> = LazyLock::new(|| {
        let parts = Collection::ALL.map(|collection| {
            let part = match collection {
                Collection::Like => likes::HELD,
                Collection::List => lists::HELD,
                Collection::Track => tracks::HELD,
                Collection::Profile => profiles::HELD,
                #[cfg(feature = "fifth-collection")]
                Collection::Comment => comments::HELD,
            };
            format!("SELECT '{}', part.* FROM ({part}) AS part", collection.as_str())
        });
        format!(
            "SELECT held.* FROM actors AS actor,
            LATERAL ({}) AS held (collection, tid, uri, rev, head, cid) WHERE actor.did = $1",
            parts.join(" UNION ALL ")
        )
    });
    let rows: Vec<HeldRow> =
        sqlx::query_as(AssertSqlSafe(STATEMENT.as_str())).bind(did.as_str()).fetch_all(connection).await?;
    rows.into_iter().map(HeldRecord::try_from).collect()
}

/// The greatest rev that the index holds of one repo, live or tombstone.
pub async fn find_newest_rev(connection: &mut PgConnection, actor_id: ActorId) -> sqlx::Result<Option<Tid>> {
    let mut newest = None;
    for collection in Collection::ALL {
        newest = newest.max(match collection {
            Collection::Like => likes::find_newest_rev(connection, actor_id).await?,
            Collection::List => lists::find_newest_rev(connection, actor_id).await?,
            Collection::Track => tracks::find_newest_rev(connection, actor_id).await?,
            Collection::Profile => profiles::find_newest_rev(connection, actor_id).await?,
            #[cfg(feature = "fifth-collection")]
            Collection::Comment => comments::find_newest_rev(connection, actor_id).await?,
        });
    }
    Ok(newest.map(Tid::from_number))
}

/// Puts the rows of one repo that stand at these revs to a lower one, so that what the repo holds can be written over them.
pub async fn lower_revs(connection: &mut PgConnection, did: &Did, revs: &[Tid], to: Tid) -> sqlx::Result<()> {
    let actor_id = sqlx::query_scalar!("SELECT id FROM actors WHERE did = $1", did.as_str());
    let Some(actor_id) = actor_id.fetch_optional(&mut *connection).await? else { return Ok(()) };
    let revs: Vec<i64> = revs.iter().map(|rev| rev.number()).collect();
    for collection in Collection::ALL {
        let change = ChangedRevs { actor_id: actor_id.into(), revs: &revs, to };
        match collection {
            Collection::Like => likes::lower_revs(connection, change).await?,
            Collection::List => lists::lower_revs(connection, change).await?,
            Collection::Track => tracks::lower_revs(connection, change).await?,
            Collection::Profile => profiles::lower_revs(connection, change).await?,
            #[cfg(feature = "fifth-collection")]
            Collection::Comment => comments::lower_revs(connection, change).await?,
        }
    }
    Ok(())
}

/// Removes at most `rows_max` rows of one repo up to a rev. Answers whether there may be more of them.
pub async fn purge(connection: &mut PgConnection, repo: RepoUpTo, rows_max: i64) -> sqlx::Result<bool> {
    let mut room = rows_max;
    for collection in Collection::ALL {
        let removed = match collection {
            Collection::Like => likes::purge(connection, repo, room).await?,
            Collection::List => lists::purge(connection, repo, room).await?,
            Collection::Track => tracks::purge(connection, repo, room).await?,
            Collection::Profile => profiles::purge(connection, repo).await?,
            #[cfg(feature = "fifth-collection")]
            Collection::Comment => comments::purge(connection, repo, room).await?,
        };
        room -= i64::try_from(removed).unwrap_or(rows_max);
        if room <= 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Takes statistics of the tables that a batch fills, so that a table which was just loaded is asked by its indexes.
pub async fn analyze(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("ANALYZE actors").execute(&mut *connection).await?;
    for collection in Collection::ALL {
        match collection {
            Collection::Like => sqlx::query!("ANALYZE likes, subject_cids").execute(&mut *connection).await?,
            Collection::List => sqlx::query!("ANALYZE lists").execute(&mut *connection).await?,
            Collection::Track => {
                sqlx::query!("ANALYZE tracks, track_counts, shown_tracks, popular_tracks")
                    .execute(&mut *connection)
                    .await?
            }
            Collection::Profile => sqlx::query!("ANALYZE profiles").execute(&mut *connection).await?,
            #[cfg(feature = "fifth-collection")]
            Collection::Comment => sqlx::query("ANALYZE comments").execute(&mut *connection).await?,
        };
    }
    Ok(())
}

/// How many records of each collection are live.
pub async fn count(connection: &mut PgConnection) -> sqlx::Result<CollectionMap<i64>> {
    let mut counts = CollectionMap::default();
    for collection in Collection::ALL {
        counts[collection] = match collection {
            Collection::Like => likes::count(connection).await?,
            Collection::List => lists::count(connection).await?,
            Collection::Track => tracks::count(connection).await?,
            Collection::Profile => profiles::count(connection).await?,
            #[cfg(feature = "fifth-collection")]
            Collection::Comment => comments::count(connection).await?,
        };
    }
    Ok(counts)
}

/// How many live records of each collection the last ANALYZE or VACUUM found.
pub async fn estimate(connection: &mut PgConnection) -> sqlx::Result<CollectionMap<i64>> {
    // Where there is an index of live rows alone, or of tracks that are shown a table, its statistics count them alone.
    let relation = |collection| match collection {
        Collection::Like => "likes_actor_subject",
        Collection::List => "lists_actor",
        Collection::Track => "shown_tracks",
        Collection::Profile => "profiles",
        #[cfg(feature = "fifth-collection")]
        Collection::Comment => "comments",
    };
    let rows = sqlx::query!(
        r#"SELECT r.place AS "place!", c.reltuples::bigint AS "rows!"
        FROM UNNEST($1::text[]) WITH ORDINALITY AS r (name, place) JOIN pg_class c ON c.oid = r.name::regclass"#,
        &Collection::ALL.map(relation) as &[&str]
    )
    .fetch_all(connection)
    .await?;
    let mut counts = CollectionMap::default();
    for row in rows {
        if let Some(collection) = Collection::ALL.get(crate::store::place(row.place)) {
            counts[*collection] = row.rows;
        }
    }
    Ok(counts)
}
