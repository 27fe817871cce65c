//! Which actors are hidden.
//!
//! All writes run in the transaction of [`crate::store::begin_apply`]. Hiding and showing are one row each; the counts follow by
//! [`crate::store::counts::uncounted`].

use sqlx::PgConnection;

use crate::model::ActorId;

/// Advances whenever an actor is hidden, shown or purged. Under the lock of [`crate::store::begin_apply`] it stands still.
pub async fn find_generation(connection: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar!("SELECT last_value FROM account_generation").fetch_one(connection).await
}

pub(super) async fn advance_generation(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("SELECT nextval('account_generation') AS \"generation!\"").fetch_one(connection).await?;
    Ok(())
}

/// The ids of all actors that are hidden.
pub async fn load_hidden(connection: &mut PgConnection) -> sqlx::Result<Vec<ActorId>> {
    let ids = sqlx::query_scalar!("SELECT actor_id AS \"actor_id!\" FROM hidden_actors").fetch_all(connection).await?;
    Ok(ids.into_iter().map(ActorId::from).collect())
}

/// Hides actors from every view, with their tracks. Those that are hidden stay so.
pub async fn hide(connection: &mut PgConnection, actor_ids: &[ActorId]) -> sqlx::Result<()> {
    if actor_ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO uncounted_actors (actor_id, is_hidden, uncounted_to) SELECT id, true, -1 FROM UNNEST($1::bigint[]) AS a (id)
        ON CONFLICT (actor_id) DO UPDATE SET is_hidden = true",
        &numbers(actor_ids)
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "INSERT INTO hidden_tracks (track_id, artist_id) SELECT id, artist_id FROM tracks WHERE artist_id = ANY ($1)
        ON CONFLICT DO NOTHING",
        &numbers(actor_ids)
    )
    .execute(&mut *connection)
    .await?;
    advance_generation(connection).await
}

/// Shows actors in every view, with their tracks. Those that are shown stay so.
pub async fn show(connection: &mut PgConnection, actor_ids: &[ActorId]) -> sqlx::Result<()> {
    if actor_ids.is_empty() {
        return Ok(());
    }
    sqlx::query!("UPDATE uncounted_actors SET is_hidden = false WHERE actor_id = ANY ($1)", &numbers(actor_ids))
        .execute(&mut *connection)
        .await?;
    sqlx::query!("DELETE FROM hidden_tracks WHERE artist_id = ANY ($1)", &numbers(actor_ids))
        .execute(&mut *connection)
        .await?;
    advance_generation(connection).await
}

fn numbers(ids: &[ActorId]) -> Vec<i64> {
    ids.iter().map(|id| id.number()).collect()
}
