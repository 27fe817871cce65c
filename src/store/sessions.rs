//! Who may ask as whom: tokens of programs and, later, of browsers. Only the SHA-256 of a token is ever seen here.

use sqlx::PgConnection;

use crate::atproto::{Did, Timestamp};
use crate::model::{ActorId, SessionId};
use crate::store::stored::stored_did;

/// A session to be made.
#[derive(Debug)]
pub struct NewSession<'a> {
    /// The SHA-256 of the token.
    pub token_hash: &'a [u8; 32],
    /// Whose eyes the token lends.
    pub did: &'a Did,
    /// What the operator calls it.
    pub name: Option<&'a str>,
    /// Whether requests may write to the owner's repo.
    pub may_write: bool,
    /// From this moment on it is refused.
    pub expires_at: Timestamp,
}

/// A session as the operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The number that revokes it.
    pub id: SessionId,
    /// Whose eyes the token lends.
    pub did: Did,
    /// What the operator calls it.
    pub name: Option<String>,
    /// Whether requests may write to the owner's repo.
    pub may_write: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// From this moment on it is refused.
    pub expires_at: Timestamp,
    /// Since when it has been refused.
    pub revoked_at: Option<Timestamp>,
}

/// Who a valid token speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionOwner {
    /// The actor's id.
    pub actor_id: ActorId,
    /// The actor's DID.
    pub did: Did,
    /// Whether requests may write to the owner's repo.
    pub may_write: bool,
}

/// Makes a session and answers its number. An actor never seen before becomes known by it.
pub async fn create_session(connection: &mut PgConnection, session: &NewSession<'_>) -> sqlx::Result<SessionId> {
    let did = session.did.as_str();
    sqlx::query!(
        "INSERT INTO actors AS a (did, author_no) VALUES ($1, nextval('author_numbers'))
        ON CONFLICT (did) DO UPDATE SET author_no = EXCLUDED.author_no WHERE a.author_no IS NULL",
        did
    )
    .execute(&mut *connection)
    .await?;
    let id = sqlx::query_scalar!(
        "INSERT INTO sessions (token_hash, actor_id, name, may_write, expires_at)
        SELECT $1, id, $3, $4, $5 FROM actors WHERE did = $2 RETURNING id",
        session.token_hash.as_slice(),
        did,
        session.name,
        session.may_write,
        session.expires_at.utc()
    )
    .fetch_one(connection)
    .await?;
    Ok(id.into())
}

/// All sessions, newest first, revoked and expired ones too.
pub async fn list_sessions(connection: &mut PgConnection) -> sqlx::Result<Vec<Session>> {
    let rows = sqlx::query!(
        "SELECT s.id, a.did, s.name, s.may_write, s.created_at, s.expires_at, s.revoked_at
        FROM sessions s JOIN actors a ON a.id = s.actor_id ORDER BY s.id DESC"
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Session {
                id: row.id.into(),
                did: stored_did(&row.did)?,
                name: row.name,
                may_write: row.may_write,
                created_at: Timestamp::from_utc(row.created_at),
                expires_at: Timestamp::from_utc(row.expires_at),
                revoked_at: row.revoked_at.map(Timestamp::from_utc),
            })
        })
        .collect()
}

/// Revokes a session; false when there is none of that number that still stands.
pub async fn revoke_session(connection: &mut PgConnection, id: SessionId, now: Timestamp) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE sessions SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL",
        id.number(),
        now.utc()
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Who a token speaks for; `None` when it is unknown, expired or revoked.
pub async fn find_session(
    connection: &mut PgConnection,
    token_hash: &[u8; 32],
    now: Timestamp,
) -> sqlx::Result<Option<SessionOwner>> {
    let row = sqlx::query!(
        "SELECT s.actor_id, a.did, s.may_write FROM sessions s JOIN actors a ON a.id = s.actor_id
        WHERE s.token_hash = $1 AND s.expires_at > $2 AND s.revoked_at IS NULL",
        token_hash.as_slice(),
        now.utc()
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(SessionOwner { actor_id: row.actor_id.into(), did: stored_did(&row.did)?, may_write: row.may_write })
    })
    .transpose()
}
