//! The lease: which of several indexers on one database works, and the fence that keeps all others from writing.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// The lock that transactions under a token share: "plyr". The migration has it too.
const FENCE_LOCK: i32 = 0x706c_7972;
/// The lock that the connection of a token's holder shares as long as it lives.
const LIFE_LOCK: i32 = 0x706c_7973;
/// What the database answers a transaction whose token is no longer the lease's.
const TAKEN_OVER: &str = "PL001";

/// What the holder of the lease shows with each transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token(pub(in crate::store) i32);

/// A process that works or stands by.
#[derive(Debug, Clone)]
pub struct Indexer {
    /// Drawn by the process when it starts.
    pub id: i64,
    /// The name of its machine.
    pub host: String,
    /// Its number there.
    pub process: i32,
    /// Since when it runs.
    pub started_at: DateTime<Utc>,
}

/// The lease as a standby finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The token of the last holder.
    pub token: Token,
    /// Whether it has no holder: it was released, or never taken.
    pub is_free: bool,
    /// Whether its holder did not renew it in time.
    pub is_expired: bool,
}

/// Whether the database refused a transaction because its token is no longer the lease's.
pub fn is_taken_over(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == TAKEN_OVER)
}

/// Writes the heartbeat of an indexer, and forgets those without one for a day.
pub async fn tell_alive(connection: &mut PgConnection, indexer: &Indexer) -> sqlx::Result<()> {
    sqlx::query!(
        "WITH forgotten AS (DELETE FROM indexers WHERE alive_at < clock_timestamp() - interval '1 day' AND id <> $1)
        INSERT INTO indexers (id, host, process, started_at, alive_at) VALUES ($1, $2, $3, $4, clock_timestamp())
        ON CONFLICT (id) DO UPDATE SET alive_at = clock_timestamp()",
        indexer.id,
        indexer.host,
        indexer.process,
        indexer.started_at
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The lease as it is now.
pub async fn find(connection: &mut PgConnection) -> sqlx::Result<Lease> {
    let row = sqlx::query!(
        r#"SELECT token, indexer_id IS NULL AS "is_free!", expires_at < clock_timestamp() AS "is_expired!" FROM lease"#
    )
    .fetch_one(connection)
    .await?;
    Ok(Lease { token: Token(row.token), is_free: row.is_free, is_expired: row.is_expired })
}

/// Takes the lease as it was found from its holder, if that one gave it back, let it expire or has died, and no transaction of
/// it is running. One that has expired since is not taken: it is to be found so first. The new token is tied to the connection: when that ends, the lease may be taken by others at once. It is
/// drawn, not counted, so that a database which was restored does not give one out twice.
pub async fn take(
    connection: &mut PgConnection,
    indexer: &Indexer,
    found: Lease,
    time: Duration,
) -> sqlx::Result<Option<Token>> {
    let taken = sqlx::query!(
        r#"UPDATE lease SET token = 1 + floor(random() * 2147483647)::int, indexer_id = $4, taken_at = clock_timestamp(),
            expires_at = clock_timestamp() + make_interval(secs => $5)
        WHERE token = $3 AND CASE WHEN ($6 AND expires_at < clock_timestamp()) OR pg_try_advisory_xact_lock($2, $3)
            THEN pg_try_advisory_xact_lock($1, $3) ELSE false END
        RETURNING token, pg_advisory_lock_shared($2, token)::text AS "life""#,
        FENCE_LOCK,
        LIFE_LOCK,
        found.token.0,
        indexer.id,
        time.as_secs_f64(),
        found.is_expired
    )
    .fetch_optional(connection)
    .await?;
    Ok(taken.map(|row| Token(row.token)))
}

/// Ties a token to another connection, after that of its holder was lost. False when another indexer is taking over.
pub async fn tie(connection: &mut PgConnection, token: Token) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock_shared($1, $2) AS "tied!""#, LIFE_LOCK, token.0)
        .fetch_one(connection)
        .await
}

/// Lets the lease last from now on for a time. False when it has been taken over.
pub async fn renew(connection: &mut PgConnection, token: Token, time: Duration) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE lease SET expires_at = clock_timestamp() + make_interval(secs => $2) WHERE token = $1",
        token.0,
        time.as_secs_f64()
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Gives the lease back if the indexer holds it, and forgets the indexer.
pub async fn leave(connection: &mut PgConnection, indexer: &Indexer) -> sqlx::Result<()> {
    sqlx::query!(
        "WITH gone AS (DELETE FROM indexers WHERE id = $1)
        UPDATE lease SET indexer_id = NULL, taken_at = NULL, expires_at = '-infinity' WHERE indexer_id = $1",
        indexer.id
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends the transactions that still run under a token whose lease has expired. Answers how many there were; an error where the
/// database's user may not do that.
pub async fn end_transactions(connection: &mut PgConnection, token: Token) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) AS "count!" FROM pg_locks
        WHERE locktype = 'advisory' AND classid = $1::int::oid AND objid = $2::int::oid AND objsubid = 2 AND granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid <> pg_backend_pid()
            AND EXISTS (SELECT FROM lease WHERE token = $2 AND expires_at < clock_timestamp())"#,
        FENCE_LOCK,
        token.0
    )
    .fetch_one(connection)
    .await
}
