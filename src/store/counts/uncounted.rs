//! The counts follow actors that were hidden or shown, in bounded steps, each in a transaction of [`crate::store::begin_apply`].

use sqlx::PgConnection;

use crate::model::ActorId;

/// An actor whose likes are not, or not all, in the counts.
struct UncountedActor {
    actor_id: ActorId,
    is_hidden: bool,
    uncounted_to: i64,
}

/// Lets the counts of at most `pairs_max` tracks follow one actor that was hidden or shown. False when all have followed.
pub async fn move_counts(connection: &mut PgConnection, pairs_max: i64) -> sqlx::Result<bool> {
    let unsettled = sqlx::query_as!(
        UncountedActor,
        "SELECT actor_id, is_hidden, uncounted_to FROM uncounted_actors WHERE NOT is_uncounted ORDER BY actor_id LIMIT 1"
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(actor) = unsettled else { return Ok(false) };
    if actor.is_hidden {
        take_out(connection, &actor, pairs_max).await?;
    } else {
        put_back(connection, &actor, pairs_max).await?;
    }
    Ok(true)
}

/// Takes the actor's next likes above the border out of the counts.
async fn take_out(connection: &mut PgConnection, actor: &UncountedActor, pairs_max: i64) -> sqlx::Result<()> {
    sqlx::query!(
        "WITH next AS (
            SELECT DISTINCT subject_id FROM likes WHERE actor_id = $1 AND subject_id > $2 ORDER BY subject_id LIMIT $3
        ), moved AS (
            UPDATE track_counts c SET like_count = c.like_count - 1 FROM next n WHERE c.track_id = n.subject_id
        )
        UPDATE uncounted_actors SET uncounted_to =
            (SELECT CASE WHEN count(*) < $3 THEN 9223372036854775807 ELSE max(subject_id) END FROM next)
        WHERE actor_id = $1",
        actor.actor_id.number(),
        actor.uncounted_to,
        pairs_max
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Puts the actor's next likes below the border back into the counts. With the last of them nothing is left to remember.
async fn put_back(connection: &mut PgConnection, actor: &UncountedActor, pairs_max: i64) -> sqlx::Result<()> {
    let next = sqlx::query!(
        "WITH next AS (
            SELECT DISTINCT subject_id FROM likes WHERE actor_id = $1 AND subject_id <= $2
            ORDER BY subject_id DESC LIMIT $3
        ), moved AS (
            UPDATE track_counts c SET like_count = c.like_count + 1 FROM next n WHERE c.track_id = n.subject_id
        )
        SELECT count(*) AS \"pairs!\", min(subject_id) AS lowest FROM next",
        actor.actor_id.number(),
        actor.uncounted_to,
        pairs_max
    )
    .fetch_one(&mut *connection)
    .await?;
    match next.lowest {
        Some(lowest) if next.pairs == pairs_max => {
            sqlx::query!(
                "UPDATE uncounted_actors SET uncounted_to = $2 WHERE actor_id = $1",
                actor.actor_id.number(),
                lowest - 1
            )
            .execute(connection)
            .await?;
        }
        _ => {
            sqlx::query!("DELETE FROM uncounted_actors WHERE actor_id = $1", actor.actor_id.number())
                .execute(connection)
                .await?;
        }
    }
    Ok(())
}
