//! The standing check of the like counts: a few tracks at a time are counted again.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::model::{ActorId, TrackId};

/// A track whose kept count was not what counting its likes says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drift {
    /// The track.
    pub track_id: TrackId,
    /// What was kept.
    pub kept: i64,
    /// What counting says.
    pub counted: i64,
}

/// Counts the likes of the next `tracks` tracks, in the order of their ids and then from the first again, and answers those
/// whose count has drifted. Corrects nothing, and takes no lock.
pub async fn check_next(connection: &mut PgConnection, tracks: i64, now: DateTime<Utc>) -> sqlx::Result<Vec<Drift>> {
    let rows = sqlx::query!(
        "SELECT c.track_id, c.like_count AS kept, (
            SELECT count(DISTINCT l.actor_id) FROM counted_likes l WHERE l.subject_id = c.track_id
        ) AS \"counted!\"
        FROM (
            SELECT track_id, like_count FROM track_counts
            WHERE track_id > (SELECT track_id FROM count_checks) ORDER BY track_id LIMIT $1
        ) AS c ORDER BY c.track_id",
        tracks
    )
    .fetch_all(&mut *connection)
    .await?;
    let checked = i64::try_from(rows.len()).unwrap_or(tracks);
    let reached = if checked < tracks { 0 } else { rows.last().map_or(0, |row| row.track_id) };
    sqlx::query!(
        "UPDATE count_checks SET track_id = $1, checked = checked + $2, checked_at = $3",
        reached,
        checked,
        now
    )
    .execute(connection)
    .await?;
    let drifts = rows.into_iter().filter(|row| row.kept != row.counted);
    Ok(drifts.map(|row| Drift { track_id: row.track_id.into(), kept: row.kept, counted: row.counted }).collect())
}

/// The next actor with many likes, in the order of their ids and then from the first again, if what is kept of it is not what counting
/// says. Corrects nothing, and takes no lock.
pub async fn check_next_liker(connection: &mut PgConnection) -> sqlx::Result<Option<ActorId>> {
    let next = sqlx::query!(
        "SELECT m.actor_id, m.like_count = (
            SELECT count(DISTINCT subject_id) FROM likes l WHERE l.actor_id = m.actor_id AND subject_id IS NOT NULL
        ) AS \"is_right!\"
        FROM many_likers m WHERE m.actor_id > (SELECT actor_id FROM count_checks) ORDER BY m.actor_id LIMIT 1"
    )
    .fetch_optional(&mut *connection)
    .await?;
    let reached = next.as_ref().map_or(0, |next| next.actor_id);
    sqlx::query!("UPDATE count_checks SET actor_id = $1", reached).execute(connection).await?;
    Ok(next.filter(|next| !next.is_right).map(|next| next.actor_id.into()))
}

/// Counts what one actor likes again and keeps what is found, in the transaction of [`crate::store::begin_apply`]. False when it was right.
pub async fn correct_liker(connection: &mut PgConnection, actor_id: ActorId) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE many_likers m SET like_count = n.counted FROM (
            SELECT count(DISTINCT subject_id) AS counted FROM likes WHERE actor_id = $1 AND subject_id IS NOT NULL
        ) AS n WHERE m.actor_id = $1 AND m.like_count <> n.counted",
        actor_id.number()
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Counts one track again and keeps what is found, in the transaction of [`crate::store::begin_apply`]; `None` when its count is right.
pub async fn correct(
    connection: &mut PgConnection,
    track_id: TrackId,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<Drift>> {
    let drift = sqlx::query!(
        "WITH counted AS (
            SELECT c.track_id, c.like_count AS kept, (
                SELECT count(DISTINCT l.actor_id) FROM counted_likes l WHERE l.subject_id = c.track_id
            ) AS counted FROM track_counts c WHERE c.track_id = $1
        ), corrected AS (
            UPDATE track_counts c SET like_count = n.counted FROM counted n
            WHERE c.track_id = n.track_id AND n.kept <> n.counted
        ), noted AS (
            UPDATE count_checks SET corrected = corrected + 1, corrected_at = $2
            WHERE EXISTS (SELECT FROM counted WHERE kept <> counted)
        )
        SELECT track_id, kept, counted AS \"counted!\" FROM counted WHERE kept <> counted",
        track_id.number(),
        now
    )
    .fetch_optional(connection)
    .await?;
    Ok(drift.map(|row| Drift { track_id: row.track_id.into(), kept: row.kept, counted: row.counted }))
}
