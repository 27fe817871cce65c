//! The places of tracks by popularity follow their counts, where a statement moved many at once.

use sqlx::PgConnection;

/// Lets at most `tracks_max` places follow, in a transaction of [`crate::store::begin_apply`]. False when all have followed.
pub async fn follow_counts(connection: &mut PgConnection, tracks_max: i64) -> sqlx::Result<bool> {
    let followed = sqlx::query_scalar!(
        "WITH next AS (
            DELETE FROM unranked_tracks WHERE ctid = ANY (ARRAY(SELECT ctid FROM unranked_tracks LIMIT $1)) RETURNING track_id
        ), moved AS (
            UPDATE popular_tracks p SET like_count = c.like_count FROM (SELECT DISTINCT track_id FROM next) AS n
            JOIN track_counts c ON c.track_id = n.track_id
            WHERE p.track_id = n.track_id AND p.like_count <> c.like_count
        )
        SELECT count(*) AS \"count!\" FROM next",
        tracks_max
    )
    .fetch_one(connection)
    .await?;
    Ok(followed > 0)
}
