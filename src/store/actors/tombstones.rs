//! What is left of accounts that were deleted: up to which rev nothing of theirs is taken.
//!
//! All writes run in the transaction of [`crate::store::begin_apply`]. A deleted account's rows go by [`purge`], a bounded step at a
//! time.

use sqlx::PgConnection;

use super::visibility::advance_generation;
use crate::{
    atproto::{Did, Tid},
    model::ActorId,
    store::{
        records::{self, RepoUpTo},
        stored::stored_did,
    },
};

/// The ids of actors whose account was deleted, and the rev up to which nothing of theirs is taken.
pub async fn load_tombstones(connection: &mut PgConnection) -> sqlx::Result<Vec<(ActorId, Tid)>> {
    let rows = sqlx::query!("SELECT actor_id, rev FROM account_tombstones").fetch_all(connection).await?;
    rows.into_iter().map(|row| Ok((row.actor_id.into(), Tid::from_number(row.rev)))).collect()
}

/// Whether counts have still to follow an actor or places a count, or rows of a deleted account are still there.
pub async fn has_work(connection: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        "SELECT (EXISTS (SELECT FROM uncounted_actors WHERE NOT is_uncounted) OR EXISTS (
            SELECT FROM account_tombstones t JOIN uncounted_actors h ON h.actor_id = t.actor_id AND h.is_uncounted WHERE t.is_purging
        ) OR EXISTS (SELECT FROM unranked_tracks)) AS \"has_work!\""
    )
    .fetch_one(connection)
    .await
}

/// Marks an account, which is hidden, as deleted for good: nothing up to the greatest rev that we hold of it, as a row or as a
/// reject, or up to `rev` if that is greater, is taken any more, and its rows are to be removed. The handle is free for others.
pub async fn tombstone_account(connection: &mut PgConnection, actor_id: ActorId, rev: Tid) -> sqlx::Result<()> {
    let newest = records::find_newest_rev(connection, actor_id).await?;
    sqlx::query!(
        "INSERT INTO account_tombstones AS t (actor_id, rev, is_purging)
        SELECT $1, greatest($2, (SELECT max(r.rev) FROM rejects r JOIN actors a ON a.did = r.did WHERE a.id = $1)), true
        ON CONFLICT (actor_id) DO UPDATE SET rev = greatest(t.rev, EXCLUDED.rev), is_purging = true, needs_resync = false",
        actor_id.number(),
        newest.map_or(rev, |newest| newest.max(rev)).number()
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!("UPDATE actors SET handle = NULL WHERE id = $1", actor_id.number()).execute(&mut *connection).await?;
    advance_generation(connection).await
}

/// An account that was deleted is back, its repo at `rev`: whatever its server lists is taken from there on, and its repo is to be
/// read. What lies before that rev stays ignored, since the list holds all that is left of it. Does nothing for other accounts.
pub async fn restore_account(connection: &mut PgConnection, actor_id: ActorId, rev: Option<Tid>) -> sqlx::Result<()> {
    // A refused record leaves its tombstone directly before its own rev, and the head may hold one.
    let rev = rev.map_or(0, |rev| rev.before().before().number());
    let done = sqlx::query!(
        "UPDATE account_tombstones SET rev = $2, is_purging = false, needs_resync = true WHERE actor_id = $1",
        actor_id.number(),
        rev
    )
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO bluesky_profiles (actor_id, due_at) VALUES ($1, 'epoch') ON CONFLICT (actor_id) DO NOTHING",
        actor_id.number()
    )
    .execute(&mut *connection)
    .await?;
    advance_generation(connection).await
}

/// Removes at most `rows_max` rows of a deleted account's records, or with the last of them all else. The account's counts have followed
/// by then, so that none moves. False when nothing is left to remove.
pub async fn purge(connection: &mut PgConnection, rows_max: i64) -> sqlx::Result<bool> {
    let next = sqlx::query!(
        "SELECT t.actor_id, t.rev FROM account_tombstones t JOIN uncounted_actors h ON h.actor_id = t.actor_id AND h.is_uncounted
        WHERE t.is_purging ORDER BY t.actor_id LIMIT 1"
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(account) = next else { return Ok(false) };
    let repo = RepoUpTo { actor_id: account.actor_id.into(), rev: Tid::from_number(account.rev) };
    if !records::purge(connection, repo, rows_max).await? {
        purge_others(connection, repo).await?;
    }
    Ok(true)
}

/// Removes all but records, and ends the purge.
async fn purge_others(connection: &mut PgConnection, repo: RepoUpTo) -> sqlx::Result<()> {
    let actor_id = repo.actor_id.number();
    sqlx::query!("DELETE FROM bluesky_profiles WHERE actor_id = $1", actor_id).execute(&mut *connection).await?;
    sqlx::query!(
        "DELETE FROM many_likers WHERE actor_id = $1 AND NOT EXISTS (SELECT FROM likes WHERE actor_id = $1)",
        actor_id
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "DELETE FROM rejects r USING actors a WHERE a.id = $1 AND r.did = a.did AND r.rev <= $2",
        actor_id,
        repo.rev.number()
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!("UPDATE account_tombstones SET is_purging = false WHERE actor_id = $1", actor_id)
        .execute(connection)
        .await?;
    Ok(())
}

/// Accounts that came back after having been deleted, and whose repos are to be read, at most `limit`.
pub async fn list_pending_resync(connection: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<(ActorId, Did)>> {
    let rows = sqlx::query!(
        "SELECT a.id, a.did FROM account_tombstones t JOIN actors a ON a.id = t.actor_id WHERE t.needs_resync ORDER BY 1 LIMIT $1",
        limit
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| Ok((row.id.into(), stored_did(&row.did)?))).collect()
}

/// Notes that the repo of an account that came back has been read completely, or is in another queue.
pub async fn mark_resynced(connection: &mut PgConnection, actor_id: ActorId) -> sqlx::Result<()> {
    sqlx::query!("UPDATE account_tombstones SET needs_resync = false WHERE actor_id = $1", actor_id.number())
        .execute(connection)
        .await?;
    Ok(())
}
