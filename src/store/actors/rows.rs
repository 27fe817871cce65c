//! Actors: a DID and its eight-byte id.

use sqlx::PgConnection;

use crate::{
    atproto::{Did, Timestamp},
    model::{ActorId, HostMoment},
};

/// An actor's id, and whether the actor is an author.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownActor {
    /// The id.
    pub id: ActorId,
    /// Whether the actor has written a record, and was not only mentioned.
    pub is_author: bool,
}

/// An actor that has no row yet.
#[derive(Debug, Clone, Copy)]
pub struct NewActor<'a> {
    /// Who.
    pub did: &'a str,
    /// Whether the actor has written a record, and is not only mentioned.
    pub is_author: bool,
}

/// Those DIDs that have an id, each with its place in `dids`.
pub async fn load_ids(connection: &mut PgConnection, dids: &[&str]) -> sqlx::Result<Vec<(usize, KnownActor)>> {
    let rows = sqlx::query!(
        r#"SELECT d.place AS "place!", a.id, a.author_no IS NOT NULL AS "is_author!" FROM UNNEST($1::text[]) WITH ORDINALITY AS d (did, place)
        JOIN actors a ON a.did = d.did"#,
        dids as &[&str]
    )
    .fetch_all(connection)
    .await?;
    let known = |id: i64, is_author| KnownActor { id: id.into(), is_author };
    Ok(rows.into_iter().map(|row| (crate::store::place(row.place), known(row.id, row.is_author))).collect())
}

/// Gives an id to each DID that has none, and answers with these; does nothing for the others.
pub async fn insert(connection: &mut PgConnection, actors: &[NewActor<'_>]) -> sqlx::Result<Vec<(String, ActorId)>> {
    if actors.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query!(
        "INSERT INTO actors (did, author_no) SELECT did, CASE WHEN is_author THEN nextval('author_numbers') END
        FROM UNNEST($1::text[], $2::boolean[]) AS n (did, is_author) ON CONFLICT (did) DO NOTHING RETURNING did, id",
        &actors.iter().map(|actor| actor.did).collect::<Vec<_>>() as &[&str],
        &actors.iter().map(|actor| actor.is_author).collect::<Vec<_>>()
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.did, row.id.into())).collect())
}

/// Notes that actors, who were only mentioned so far, have written a record.
pub async fn mark_authors(connection: &mut PgConnection, ids: &[ActorId]) -> sqlx::Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE actors SET author_no = nextval('author_numbers') WHERE id = ANY ($1) AND author_no IS NULL",
        &ids.iter().map(|id| id.number()).collect::<Vec<_>>()
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
    /// When.
    pub at: HostMoment,
}

/// What became of a hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HintOutcome {
    /// The actor.
    pub actor_id: ActorId,
    /// Whether what was said before is that the account is active.
    pub was_active: bool,
    /// What the hint says.
    pub active: bool,
    /// Why it is not active, by the hint.
    pub status: Option<String>,
    /// Whether it is the latest, and was kept.
    pub applied: bool,
}

/// Keeps the latest hint of each known actor; unknown DIDs stay unknown, and have no outcome. Each DID at most once.
pub async fn update_accounts(
    connection: &mut PgConnection,
    hints: &[AccountHint<'_>],
) -> sqlx::Result<Vec<HintOutcome>> {
    if hints.is_empty() {
        return Ok(Vec::new());
    }
    let dids: Vec<&str> = hints.iter().map(|hint| hint.did.as_str()).collect();
    let active: Vec<bool> = hints.iter().map(|hint| hint.active).collect();
    let statuses: Vec<Option<&str>> = hints.iter().map(|hint| hint.status).collect();
    let times: Vec<_> = hints.iter().map(|hint| hint.at.at.utc()).collect();
    let numbers: Vec<i64> = hints.iter().map(|hint| hint.at.seq).collect();
    let outcomes = sqlx::query!(
        r#"WITH hints AS (
            SELECT a.id, a.active AS was_active, h.active, h.status, h.at, h.seq
            FROM UNNEST($1::text[], $2::bool[], $3::text[], $4::timestamptz[], $5::bigint[])
                AS h (did, active, status, at, seq)
            JOIN actors a ON a.did = h.did
        ), kept AS (
            UPDATE actors a SET active = h.active, status = h.status, status_at = h.at, status_seq = h.seq FROM hints h
            WHERE a.id = h.id AND (a.status_at IS NULL OR (a.status_at, a.status_seq) < (h.at, h.seq)) RETURNING a.id
        )
        SELECT h.id AS actor_id, h.was_active, h.active AS "active!",
            h.status, h.id IN (SELECT id FROM kept) AS "applied!"
        FROM hints h"#,
        &dids as &[&str],
        &active,
        &statuses as &[Option<&str>],
        &times,
        &numbers
    )
    .fetch_all(connection)
    .await?;
    Ok(outcomes
        .into_iter()
        .map(|row| HintOutcome {
            actor_id: row.actor_id.into(),
            was_active: row.was_active,
            active: row.active,
            status: row.status,
            applied: row.applied,
        })
        .collect())
}

/// What an actor's own server said of the account.
#[derive(Debug, Clone, Copy)]
pub struct AccountAnswer<'a> {
    /// Whether it is active.
    pub active: bool,
    /// Why not.
    pub status: Option<&'a str>,
    /// When the server was asked.
    pub asked_at: Timestamp,
}

/// Keeps what an actor's own server said when it was asked. A later hint stays; an earlier one than that which is kept will not
/// be taken for news.
pub async fn write_answer(
    connection: &mut PgConnection,
    actor_id: ActorId,
    answer: AccountAnswer<'_>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE actors SET active = $2, status = $3, status_at = greatest(status_at, $4),
            status_seq = CASE WHEN status_at >= $4 THEN status_seq ELSE 0 END
        WHERE id = $1",
        actor_id.number(),
        answer.active,
        answer.status,
        answer.asked_at.utc()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The ids of those DIDs that we know.
pub async fn list_known(connection: &mut PgConnection, dids: &[&str]) -> sqlx::Result<Vec<ActorId>> {
    let ids = sqlx::query_scalar!("SELECT id FROM actors WHERE did = ANY ($1)", dids as &[&str])
        .fetch_all(connection)
        .await?;
    Ok(ids.into_iter().map(ActorId::from).collect())
}
