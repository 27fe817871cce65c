//! Who is hidden, how far the like counts have followed, and what is left of accounts that were deleted.
//!
//! All writes run in the transaction of [`crate::store::begin_apply`]. Hiding and showing are one row each; the counts follow by
//! [`move_counts`], and a deleted account's rows go by [`purge`], a bounded step at a time.

use sqlx::PgConnection;

use crate::atproto::{Did, Tid};

/// Advances whenever an actor is hidden, shown or purged. Under the lock of [`crate::store::begin_apply`] it stands still.
pub async fn find_generation(connection: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar!("SELECT last_value FROM account_generation").fetch_one(connection).await
}

/// The ids of all actors that are hidden.
pub async fn load_hidden(connection: &mut PgConnection) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar!("SELECT actor_id AS \"actor_id!\" FROM hidden_actors").fetch_all(connection).await
}

/// The ids of actors whose account was deleted, and the rev up to which nothing of theirs is taken.
pub async fn load_floors(connection: &mut PgConnection) -> sqlx::Result<Vec<(i64, i64)>> {
    let rows = sqlx::query!("SELECT actor_id, rev FROM account_tombstones").fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| (row.actor_id, row.rev)).collect())
}

async fn advance_generation(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("SELECT nextval('account_generation') AS \"generation!\"").fetch_one(connection).await?;
    Ok(())
}

/// Whether counts have still to follow an actor, or rows of a deleted account are still there.
pub async fn has_work(connection: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        "SELECT (EXISTS (SELECT FROM uncounted_actors WHERE NOT is_uncounted) OR EXISTS (
            SELECT FROM account_tombstones t JOIN uncounted_actors h ON h.actor_id = t.actor_id AND h.is_uncounted WHERE t.is_purging
        )) AS \"has_work!\""
    )
    .fetch_one(connection)
    .await
}

/// Hides actors from every view, with their tracks. Those that are hidden stay so.
pub async fn hide(connection: &mut PgConnection, actor_ids: &[i64]) -> sqlx::Result<()> {
    if actor_ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO uncounted_actors (actor_id, is_hidden, uncounted_to) SELECT id, true, -1 FROM UNNEST($1::bigint[]) AS a (id)
        ON CONFLICT (actor_id) DO UPDATE SET is_hidden = true",
        actor_ids
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "INSERT INTO hidden_tracks (track_id, artist_id) SELECT id, artist_id FROM tracks WHERE artist_id = ANY ($1)
        ON CONFLICT DO NOTHING",
        actor_ids
    )
    .execute(&mut *connection)
    .await?;
    advance_generation(connection).await
}

/// Shows actors in every view, with their tracks. Those that are shown stay so.
pub async fn show(connection: &mut PgConnection, actor_ids: &[i64]) -> sqlx::Result<()> {
    if actor_ids.is_empty() {
        return Ok(());
    }
    sqlx::query!("UPDATE uncounted_actors SET is_hidden = false WHERE actor_id = ANY ($1)", actor_ids)
        .execute(&mut *connection)
        .await?;
    sqlx::query!("DELETE FROM hidden_tracks WHERE artist_id = ANY ($1)", actor_ids).execute(&mut *connection).await?;
    advance_generation(connection).await
}

/// Lets the counts of at most `pairs_max` tracks follow one actor that was hidden or shown. False when all have followed.
pub async fn move_counts(connection: &mut PgConnection, pairs_max: i64) -> sqlx::Result<bool> {
    let unsettled = sqlx::query!(
        "SELECT actor_id, is_hidden, uncounted_to FROM uncounted_actors WHERE NOT is_uncounted ORDER BY actor_id LIMIT 1"
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(actor) = unsettled else { return Ok(false) };
    if actor.is_hidden {
        take_out(connection, (actor.actor_id, actor.uncounted_to), pairs_max).await?;
    } else {
        put_back(connection, (actor.actor_id, actor.uncounted_to), pairs_max).await?;
    }
    Ok(true)
}

/// Takes the actor's next likes above the border out of the counts.
async fn take_out(connection: &mut PgConnection, (actor_id, border): (i64, i64), pairs_max: i64) -> sqlx::Result<()> {
    sqlx::query!(
        "WITH next AS (
            SELECT DISTINCT subject_id FROM likes WHERE actor_id = $1 AND subject_id > $2 ORDER BY subject_id LIMIT $3
        ), moved AS (
            UPDATE track_counts c SET like_count = c.like_count - 1 FROM next n WHERE c.track_id = n.subject_id
        )
        UPDATE uncounted_actors SET uncounted_to =
            (SELECT CASE WHEN count(*) < $3 THEN 9223372036854775807 ELSE max(subject_id) END FROM next)
        WHERE actor_id = $1",
        actor_id,
        border,
        pairs_max
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Puts the actor's next likes below the border back into the counts. With the last of them nothing is left to remember.
async fn put_back(connection: &mut PgConnection, (actor_id, border): (i64, i64), pairs_max: i64) -> sqlx::Result<()> {
    let next = sqlx::query!(
        "WITH next AS (
            SELECT DISTINCT subject_id FROM likes WHERE actor_id = $1 AND subject_id <= $2
            ORDER BY subject_id DESC LIMIT $3
        ), moved AS (
            UPDATE track_counts c SET like_count = c.like_count + 1 FROM next n WHERE c.track_id = n.subject_id
        )
        SELECT count(*) AS \"pairs!\", min(subject_id) AS lowest FROM next",
        actor_id,
        border,
        pairs_max
    )
    .fetch_one(&mut *connection)
    .await?;
    match next.lowest {
        Some(lowest) if next.pairs == pairs_max => {
            sqlx::query!("UPDATE uncounted_actors SET uncounted_to = $2 WHERE actor_id = $1", actor_id, lowest - 1)
                .execute(connection)
                .await?;
        }
        _ => {
            sqlx::query!("DELETE FROM uncounted_actors WHERE actor_id = $1", actor_id).execute(connection).await?;
        }
    }
    Ok(())
}

/// Marks an account, which is hidden, as deleted for good: nothing up to the greatest rev that we hold of it, as a row or as a
/// reject, or up to `rev` if that is greater, is taken any more, and its rows are to be removed. The handle is free for others.
pub async fn bury(connection: &mut PgConnection, actor_id: i64, rev: Tid) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO account_tombstones AS t (actor_id, rev, is_purging)
        SELECT $1, greatest($2, (SELECT max(rev) FROM likes WHERE actor_id = $1),
            (SELECT max(rev) FROM lists WHERE actor_id = $1), (SELECT max(rev) FROM tracks WHERE artist_id = $1),
            (SELECT rev FROM profiles WHERE actor_id = $1),
            (SELECT max(r.rev) FROM rejects r JOIN actors a ON a.did = r.did WHERE a.id = $1)), true
        ON CONFLICT (actor_id) DO UPDATE SET rev = greatest(t.rev, EXCLUDED.rev), is_purging = true, needs_resync = false",
        actor_id,
        rev.number()
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!("UPDATE actors SET handle = NULL WHERE id = $1", actor_id).execute(&mut *connection).await?;
    advance_generation(connection).await
}

/// An account that was deleted is back, its repo at `rev`: whatever its server lists is taken from there on, and its repo is to be
/// read. What lies before that rev stays ignored, since the list holds all that is left of it. Does nothing for other accounts.
pub async fn unbury(connection: &mut PgConnection, actor_id: i64, rev: Option<Tid>) -> sqlx::Result<()> {
    // A refused record leaves its tombstone directly before its own rev, and the head may hold one.
    let rev = rev.map_or(0, |rev| rev.before().before().number());
    let done = sqlx::query!(
        "UPDATE account_tombstones SET rev = $2, is_purging = false, needs_resync = true WHERE actor_id = $1",
        actor_id,
        rev
    )
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO bluesky_profiles (actor_id, due_at) VALUES ($1, 'epoch') ON CONFLICT (actor_id) DO NOTHING",
        actor_id
    )
    .execute(&mut *connection)
    .await?;
    advance_generation(connection).await
}

/// Removes at most `rows_max` likes of a deleted account, or with the last of them all else. The account's counts have followed by
/// then, so that none moves. False when nothing is left to remove.
///
/// A track keeps its id, which others' likes name, and loses its record and its rev, as if it had only been named: where the
/// account comes back with its repo as it was, the record is taken again at that very rev.
pub async fn purge(connection: &mut PgConnection, rows_max: i64) -> sqlx::Result<bool> {
    let next = sqlx::query!(
        "SELECT t.actor_id, t.rev FROM account_tombstones t JOIN uncounted_actors h ON h.actor_id = t.actor_id AND h.is_uncounted
        WHERE t.is_purging ORDER BY t.actor_id LIMIT 1"
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(account) = next else { return Ok(false) };
    let done = sqlx::query!(
        "DELETE FROM likes WHERE actor_id = $1 AND rkey = ANY (
            ARRAY(SELECT rkey FROM likes WHERE actor_id = $1 AND rev <= $2 LIMIT $3)
        )",
        account.actor_id,
        account.rev,
        rows_max
    )
    .execute(&mut *connection)
    .await?;
    if i64::try_from(done.rows_affected()).unwrap_or(rows_max) < rows_max {
        purge_others(connection, (account.actor_id, account.rev)).await?;
    }
    Ok(true)
}

/// Removes all but likes, and ends the purge.
async fn purge_others(connection: &mut PgConnection, (actor_id, rev): (i64, i64)) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM lists WHERE actor_id = $1 AND rev <= $2", actor_id, rev)
        .execute(&mut *connection)
        .await?;
    sqlx::query!("DELETE FROM profiles WHERE actor_id = $1 AND rev <= $2", actor_id, rev)
        .execute(&mut *connection)
        .await?;
    sqlx::query!("DELETE FROM bluesky_profiles WHERE actor_id = $1", actor_id).execute(&mut *connection).await?;
    sqlx::query!(
        "UPDATE tracks SET rev = NULL, sort_at = NULL, created_at = NULL, duration = NULL, cid = NULL, title = NULL, artist = NULL,
            file_type = NULL, album = NULL, description = NULL, audio_url = NULL, audio_cid = NULL, image_url = NULL,
            features = '{}', labels = '{}', support_gate = NULL
        WHERE artist_id = $1 AND rev <= $2",
        actor_id,
        rev
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "DELETE FROM rejects r USING actors a WHERE a.id = $1 AND r.did = a.did AND r.rev <= $2",
        actor_id,
        rev
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!("UPDATE account_tombstones SET is_purging = false WHERE actor_id = $1", actor_id)
        .execute(connection)
        .await?;
    Ok(())
}

/// Accounts that came back after having been deleted, and whose repos are to be read, at most `limit`.
pub async fn list_to_read(connection: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<(i64, Did)>> {
    let rows = sqlx::query!(
        "SELECT a.id, a.did FROM account_tombstones t JOIN actors a ON a.id = t.actor_id WHERE t.needs_resync ORDER BY 1 LIMIT $1",
        limit
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| Ok((row.id, crate::store::stored::stored_did(&row.did)?))).collect()
}

/// Notes that the repo of an account that came back has been read completely, or is in another queue.
pub async fn mark_read(connection: &mut PgConnection, actor_id: i64) -> sqlx::Result<()> {
    sqlx::query!("UPDATE account_tombstones SET needs_resync = false WHERE actor_id = $1", actor_id)
        .execute(connection)
        .await?;
    Ok(())
}
