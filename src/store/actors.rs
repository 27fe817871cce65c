//! Actors: a DID and its eight-byte id.

use sqlx::PgConnection;

use crate::atproto::{Did, Timestamp};

/// Ids of those DIDs that have one, in pairs of (place in `dids`, id).
pub async fn load_ids(connection: &mut PgConnection, dids: &[&str]) -> sqlx::Result<Vec<(usize, i64)>> {
    let rows = sqlx::query!(
        r#"SELECT d.place AS "place!", a.id FROM UNNEST($1::text[]) WITH ORDINALITY AS d (did, place)
        JOIN actors a ON a.did = d.did"#,
        dids as &[&str]
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (super::place(row.place), row.id)).collect())
}

/// Gives an id to each DID that has none; does nothing for the others.
pub async fn insert(connection: &mut PgConnection, dids: &[&str]) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO actors (did) SELECT * FROM UNNEST($1::text[]) ON CONFLICT (did) DO NOTHING",
        dids as &[&str]
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What an `#account` event said of an actor.
#[derive(Debug)]
pub struct AccountHint<'a> {
    /// Whose account.
    pub did: &'a Did,
    /// Whether the host serves the repo.
    pub active: bool,
    /// Why not.
    pub status: Option<&'a str>,
    /// When, by the host's clock.
    pub at: Timestamp,
}

/// Keeps the latest hint of each actor that we know; strangers stay strangers.
pub async fn update_accounts(connection: &mut PgConnection, hints: &[AccountHint<'_>]) -> sqlx::Result<u64> {
    if hints.is_empty() {
        return Ok(0);
    }
    let dids: Vec<&str> = hints.iter().map(|hint| hint.did.as_str()).collect();
    let active: Vec<bool> = hints.iter().map(|hint| hint.active).collect();
    let statuses: Vec<Option<&str>> = hints.iter().map(|hint| hint.status).collect();
    let times: Vec<_> = hints.iter().map(|hint| hint.at.utc()).collect();
    let done = sqlx::query!(
        "UPDATE actors a SET active = h.active, status = h.status, status_at = h.at
        FROM UNNEST($1::text[], $2::bool[], $3::text[], $4::timestamptz[]) AS h (did, active, status, at)
        WHERE a.did = h.did AND (a.status_at IS NULL OR a.status_at < h.at)",
        &dids as &[&str],
        &active,
        &statuses as &[Option<&str>],
        &times
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
