//! The repos that we know of: which are to be read, and what their last reading found.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    atproto::{Did, Tid, Timestamp},
    model::{ResyncCause, UntrustedText},
    store::{LeaseTimes, stored::stored_did},
};

/// A repo that has been taken to be read.
#[derive(Debug, Clone)]
pub struct TakenRepo {
    /// Whose.
    pub did: Did,
    /// Why.
    pub cause: ResyncCause,
    /// How often it failed since it was asked for.
    pub tries: i32,
}

/// How many repos are in each state, and how old what was read is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RepoCounts {
    /// To be read.
    pub pending: i64,
    /// Could not be read, and will be tried again.
    pub failed: i64,
    /// Read.
    pub done: i64,
    /// When the one of these was read that was not read for the longest.
    pub oldest_at: Option<DateTime<Utc>>,
    /// When the last one was read.
    pub newest_at: Option<DateTime<Utc>>,
}

/// Asks for repos to be read from `due_at` on. One that is already to be read keeps its place; one that had failed is tried
/// again.
pub async fn enqueue(
    connection: &mut PgConnection,
    dids: &[&str],
    cause: ResyncCause,
    now: DateTime<Utc>,
) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "INSERT INTO repos AS r (did, state, cause, requested_at, due_at)
        SELECT DISTINCT d, 'pending', $2::text, $3::timestamptz, $3::timestamptz FROM unnest($1::text[]) AS d
        ON CONFLICT (did) DO UPDATE SET state = 'pending', cause = EXCLUDED.cause, requested_at = EXCLUDED.requested_at,
            due_at = EXCLUDED.due_at, tries = 0, error = NULL
        WHERE r.state <> 'pending' OR r.leased_until IS NOT NULL",
        dids as &[&str],
        cause.as_str(),
        now
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Makes repos known that are not, and asks for them to be read; leaves the others as they are.
pub async fn enqueue_unknown(
    connection: &mut PgConnection,
    dids: &[&str],
    cause: ResyncCause,
    now: DateTime<Utc>,
) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "INSERT INTO repos (did, state, cause, requested_at, due_at)
        SELECT DISTINCT d, 'pending', $2::text, $3::timestamptz, $3::timestamptz FROM unnest($1::text[]) AS d
        ON CONFLICT (did) DO NOTHING",
        dids as &[&str],
        cause.as_str(),
        now
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Makes the repos of authors with a number above `after` known, `limit` authors at most, and asks for those that were not. Gives the
/// number of the last one looked at; none when there were no more.
pub async fn enqueue_authors(
    connection: &mut PgConnection,
    after: i64,
    limit: i64,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!(
        "WITH next AS (SELECT author_no, did FROM actors WHERE author_no > $1 ORDER BY author_no LIMIT $2), asked AS (
            INSERT INTO repos (did, state, cause, requested_at, due_at) SELECT did, 'pending', $4, $3, $3 FROM next n
            WHERE NOT EXISTS (SELECT FROM repos r WHERE r.did = n.did) ON CONFLICT (did) DO NOTHING
        ) SELECT max(author_no) FROM next",
        after,
        limit,
        now,
        ResyncCause::FirstSeen.as_str()
    )
    .fetch_one(connection)
    .await
}

/// Asks for repos of accounts that have come back and whose last reading came to nothing, or is just coming to nothing, because
/// no host served them then. Also of those who are no actors yet.
pub async fn enqueue_unserved(connection: &mut PgConnection, dids: &[&str], now: DateTime<Utc>) -> sqlx::Result<()> {
    if dids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE repos SET state = 'pending', cause = $2, requested_at = $3, due_at = $3, tries = 0, error = NULL
        WHERE did = ANY ($1) AND read_rev IS NULL",
        dids as &[&str],
        ResyncCause::Account.as_str(),
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Asks for all repos that we know of.
pub async fn enqueue_all(connection: &mut PgConnection, cause: ResyncCause, now: DateTime<Utc>) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "UPDATE repos SET state = 'pending', cause = $1, requested_at = $2, due_at = $2, tries = 0, error = NULL
        WHERE state <> 'pending' OR leased_until IS NOT NULL",
        cause.as_str(),
        now
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Asks for repos that were read from another host than the one that their DID documents name by now.
pub async fn enqueue_moved(connection: &mut PgConnection, now: DateTime<Utc>) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "UPDATE repos r SET state = 'pending', cause = $1, requested_at = $2, due_at = $2, tries = 0, error = NULL
        FROM identities i WHERE i.did = r.did AND i.pds <> r.host AND r.state = 'done'",
        ResyncCause::Account.as_str(),
        now
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Takes repos that are due until `times.until`: those asked for last and those due the longest by turns, so that a new account is read soon
/// however many wait, and those that wait are read however many are new.
pub async fn take_due(connection: &mut PgConnection, limit: i64, times: LeaseTimes) -> sqlx::Result<Vec<TakenRepo>> {
    let rows = sqlx::query!(
        "WITH newest AS (
            SELECT did FROM repos WHERE state <> 'done' AND due_at <= $1 AND (leased_until IS NULL OR leased_until <= $1)
            ORDER BY requested_at DESC, did LIMIT ($2::bigint + 1) / 2 FOR UPDATE SKIP LOCKED
        ), oldest AS (
            SELECT did FROM repos WHERE state <> 'done' AND due_at <= $1 AND (leased_until IS NULL OR leased_until <= $1)
                AND did NOT IN (SELECT did FROM newest)
            ORDER BY due_at, did LIMIT $2::bigint / 2 FOR UPDATE SKIP LOCKED
        )
        UPDATE repos r SET leased_until = $3 FROM (SELECT did FROM newest UNION ALL SELECT did FROM oldest) AS due
        WHERE r.did = due.did RETURNING r.did, r.cause, r.tries",
        times.now,
        limit,
        times.until
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let cause = ResyncCause::parse(&row.cause).unwrap_or(ResyncCause::Asked);
            Ok(TakenRepo { did: stored_did(&row.did)?, cause, tries: row.tries })
        })
        .collect()
}

/// Takes repos whose last reading lies before `read_before`, the longest unread first, for the audit.
pub async fn take_oldest(
    connection: &mut PgConnection,
    limit: i64,
    read_before: DateTime<Utc>,
    times: LeaseTimes,
) -> sqlx::Result<Vec<TakenRepo>> {
    let rows = sqlx::query!(
        "UPDATE repos r SET leased_until = $4, cause = $5 FROM (
            SELECT did FROM repos WHERE state = 'done' AND read_at <= $1 AND (leased_until IS NULL OR leased_until <= $3)
            ORDER BY read_at LIMIT $2 FOR UPDATE SKIP LOCKED
        ) AS due WHERE r.did = due.did
        RETURNING r.did",
        read_before,
        limit,
        times.now,
        times.until,
        ResyncCause::Audit.as_str()
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| Ok(TakenRepo { did: stored_did(&row.did)?, cause: ResyncCause::Audit, tries: 0 }))
        .collect()
}

/// What a complete reading found.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    /// Whose repo.
    pub did: &'a Did,
    /// At which rev; none where the account has no repo that anybody serves.
    pub rev: Option<Tid>,
    /// When the reading began.
    pub began_at: DateTime<Utc>,
    /// The host that was asked, if there was one.
    pub host: Option<&'a str>,
    /// Missing, extra and differing paths.
    pub drift: [i32; 3],
}

/// Notes complete readings, as of when they began. One that was asked for again meanwhile stays to be read.
pub async fn finish(connection: &mut PgConnection, readings: &[Reading<'_>]) -> sqlx::Result<()> {
    let numbers = |at: usize| readings.iter().map(|reading| reading.drift[at]).collect::<Vec<i32>>();
    sqlx::query!(
        "UPDATE repos r SET state = CASE WHEN r.requested_at > d.began_at THEN r.state ELSE 'done' END,
            leased_until = NULL, tries = 0, error = NULL, read_rev = d.rev, read_at = d.began_at,
            host = d.host, missing = d.missing, extra = d.extra, differing = d.differing
        FROM UNNEST($1::text[], $2::bigint[], $3::int[], $4::int[], $5::int[], $6::timestamptz[], $7::text[])
            AS d (did, rev, missing, extra, differing, began_at, host)
        WHERE r.did = d.did",
        &readings.iter().map(|reading| reading.did.as_str()).collect::<Vec<_>>() as &[&str],
        &readings.iter().map(|reading| reading.rev.map(Tid::number)).collect::<Vec<_>>() as &[Option<i64>],
        &numbers(0),
        &numbers(1),
        &numbers(2),
        &readings.iter().map(|reading| reading.began_at).collect::<Vec<_>>(),
        &readings.iter().map(|reading| reading.host).collect::<Vec<_>>() as &[Option<&str>]
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes that a repo could not be read, why, and when to try again. The index keeps what it has.
pub async fn fail(
    connection: &mut PgConnection,
    did: &Did,
    error: &UntrustedText,
    due_at: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE repos SET state = 'failed', leased_until = NULL, tries = tries + 1, error = $2, due_at = $3
        WHERE did = $1",
        did.as_str(),
        error.as_str(),
        due_at
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A lease that is to end at another time.
#[derive(Debug, Clone, Copy)]
pub struct MovedLease<'a> {
    /// Whose repo.
    pub did: &'a Did,
    /// When it ends, as far as its holder knows.
    pub from: Timestamp,
    /// When it is to end; none for now.
    pub to: Option<Timestamp>,
}

/// Extends or ends leases, as far as they still stand. Gives the repos of which they did.
pub async fn move_leases(connection: &mut PgConnection, leases: &[MovedLease<'_>]) -> sqlx::Result<HashSet<Did>> {
    if leases.is_empty() {
        return Ok(HashSet::new());
    }
    let dids = sqlx::query_scalar!(
        "UPDATE repos r SET leased_until = m.until
        FROM UNNEST($1::text[], $2::timestamptz[], $3::timestamptz[]) AS m (did, lease, until)
        WHERE r.did = m.did AND r.leased_until = m.lease RETURNING r.did",
        &leases.iter().map(|lease| lease.did.as_str()).collect::<Vec<_>>() as &[&str],
        &leases.iter().map(|lease| lease.from.utc()).collect::<Vec<_>>(),
        &leases.iter().map(|lease| lease.to.map(Timestamp::utc)).collect::<Vec<_>>() as &[Option<DateTime<Utc>>]
    )
    .fetch_all(connection)
    .await?;
    dids.iter().map(|did| stored_did(did)).collect()
}

/// All repos that we know of.
pub async fn list_dids(connection: &mut PgConnection) -> sqlx::Result<Vec<Did>> {
    let dids = sqlx::query_scalar!("SELECT did FROM repos ORDER BY did").fetch_all(connection).await?;
    dids.iter().map(|did| stored_did(did)).collect()
}

/// Ends the lease of all repos that were taken.
pub async fn release_all(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("UPDATE repos SET leased_until = NULL WHERE leased_until IS NOT NULL").execute(connection).await?;
    Ok(())
}

/// Whether any repo is due, taken or not.
pub async fn is_any_due(connection: &mut PgConnection, now: DateTime<Utc>) -> sqlx::Result<bool> {
    sqlx::query_scalar!("SELECT EXISTS (SELECT FROM repos WHERE state <> 'done' AND due_at <= $1) AS \"is_any!\"", now)
        .fetch_one(connection)
        .await
}

/// How many repos are in each state, and when the first and the last of them was read.
pub async fn count(connection: &mut PgConnection) -> sqlx::Result<RepoCounts> {
    sqlx::query_as!(
        RepoCounts,
        "SELECT count(*) FILTER (WHERE state = 'pending') AS \"pending!\", count(*) FILTER (WHERE state = 'failed') AS \"failed!\",
            count(*) FILTER (WHERE state = 'done') AS \"done!\",
            min(read_at) FILTER (WHERE state = 'done') AS oldest_at, max(read_at) AS newest_at FROM repos"
    )
    .fetch_one(connection)
    .await
}

/// The same for a report that is asked for often: of those that are to be read, and of those that have been, up to `at_most` are counted. Of more
/// that have been read, the last ANALYZE or VACUUM says how many.
pub async fn count_some(connection: &mut PgConnection, at_most: i64) -> sqlx::Result<RepoCounts> {
    sqlx::query_as!(
        RepoCounts,
        "SELECT count(*) FILTER (WHERE state = 'pending') AS \"pending!\", count(*) FILTER (WHERE state = 'failed') AS \"failed!\",
            (SELECT CASE WHEN count(*) < $1 THEN count(*)
                ELSE greatest($1, (SELECT reltuples::bigint FROM pg_class WHERE oid = 'repos_read'::regclass)) END
            FROM (SELECT FROM repos WHERE state = 'done' LIMIT $1) AS r) AS \"done!\",
            (SELECT min(read_at) FROM repos WHERE state = 'done') AS oldest_at,
            (SELECT max(read_at) FROM repos WHERE state = 'done') AS newest_at
        FROM (SELECT state FROM repos WHERE state <> 'done' LIMIT $1) AS undone",
        at_most
    )
    .fetch_one(connection)
    .await
}

/// The last failures, the latest first: whose repo, why, and when it is tried again.
pub async fn list_failed(
    connection: &mut PgConnection,
    limit: i64,
) -> sqlx::Result<Vec<(String, String, DateTime<Utc>)>> {
    let rows = sqlx::query!(
        "SELECT did, error AS \"error!\", due_at FROM repos WHERE state = 'failed' AND error IS NOT NULL
        ORDER BY due_at DESC LIMIT $1",
        limit
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.did, row.error, row.due_at)).collect())
}
