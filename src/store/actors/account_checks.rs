//! Accounts whose state is to be asked of the server that their DID document names.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::store::stored::stored_did;
use crate::{
    atproto::{Did, Tid, Timestamp},
    model::ActorId,
};

/// Why an account is to be asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckReason {
    /// A hint has hidden or shown it.
    Changed,
    /// A hint says that it was deleted.
    Deleted,
    /// A hint says otherwise than a later one.
    Contradicted,
    /// A hint says something that does not decide visibility.
    Unclear,
    /// It is hidden, and has written.
    Commit,
}

impl CheckReason {
    /// The word in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Deleted => "deleted",
            Self::Contradicted => "contradicted",
            Self::Unclear => "unclear",
            Self::Commit => "commit",
        }
    }
}

/// Asks for checks of authors; others are left alone. One that is awaited already comes sooner, if at all: its reason and attempts stay.
pub async fn request(
    connection: &mut PgConnection,
    checks: &[(ActorId, CheckReason)],
    due_at: DateTime<Utc>,
) -> sqlx::Result<()> {
    if checks.is_empty() {
        return Ok(());
    }
    let (ids, reasons): (Vec<i64>, Vec<&str>) =
        checks.iter().map(|(id, reason)| (id.number(), reason.as_str())).unzip();
    sqlx::query!(
        "INSERT INTO account_checks AS c (actor_id, reason, since, due_at)
        SELECT DISTINCT ON (a.id) a.id, r.reason, $3::timestamptz, $3::timestamptz
        FROM UNNEST($1::bigint[], $2::text[]) AS r (id, reason) JOIN actors a ON a.id = r.id AND a.author_no IS NOT NULL
        ON CONFLICT (actor_id) DO UPDATE SET due_at = least(c.due_at, EXCLUDED.due_at), requests = c.requests + 1",
        &ids,
        &reasons as &[&str],
        due_at
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Asks for checks of hidden actors that have written: those of whom a commit was made after what hid them.
pub async fn request_for_commits(
    connection: &mut PgConnection,
    commits: &[(ActorId, Tid)],
    due_at: DateTime<Utc>,
) -> sqlx::Result<()> {
    let (ids, times): (Vec<i64>, Vec<DateTime<Utc>>) =
        commits.iter().map(|(id, rev)| (id.number(), rev.time().utc())).unzip();
    sqlx::query!(
        "INSERT INTO account_checks AS c (actor_id, reason, since, due_at)
        SELECT DISTINCT a.id, 'commit', $3::timestamptz, $3::timestamptz
        FROM UNNEST($1::bigint[], $2::timestamptz[]) AS w (id, at) JOIN actors a ON a.id = w.id
        WHERE a.status_at IS NULL OR a.status_at < w.at
        ON CONFLICT (actor_id) DO UPDATE SET due_at = least(c.due_at, EXCLUDED.due_at), requests = c.requests + 1",
        &ids,
        &times,
        due_at
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Asks for checks where what a host said of a repo is not how we show its owner: hidden, though the host serves the repo to everyone;
/// or shown, though no host serves it. `repos` says of each whether it was served.
pub async fn request_for_repos(
    connection: &mut PgConnection,
    repos: &[(&Did, bool)],
    due_at: DateTime<Utc>,
) -> sqlx::Result<()> {
    let (dids, given): (Vec<&str>, Vec<bool>) = repos.iter().map(|(did, given)| (did.as_str(), *given)).unzip();
    sqlx::query!(
        "INSERT INTO account_checks (actor_id, reason, since, due_at)
        SELECT a.id, CASE WHEN r.given THEN 'commit' ELSE 'unclear' END, $3::timestamptz, $3::timestamptz
        FROM UNNEST($1::text[], $2::boolean[]) AS r (did, given) JOIN actors a ON a.did = r.did
        WHERE r.given = EXISTS (SELECT FROM hidden_actors h WHERE h.actor_id = a.id)
        ON CONFLICT (actor_id) DO NOTHING",
        &dids as &[&str],
        &given,
        due_at
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// An account to be asked about, and what is held of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountCheck {
    /// The actor's id.
    pub actor_id: ActorId,
    /// Whose account.
    pub did: Did,
    /// Whether what was said last is that it is active.
    pub active: bool,
    /// Why not.
    pub status: Option<String>,
    /// When that was said.
    pub status_at: Option<Timestamp>,
    /// Its sequence number, which orders what was said at one time.
    pub status_seq: i64,
    /// Since when it is to be asked about.
    pub since: Timestamp,
    /// How often it was asked for in vain.
    pub attempts: i32,
    /// How often there was a reason to ask since it waits.
    pub requests: i32,
}

/// The checks that are due, longest due first, without those of the actors `held`.
pub async fn list_due(
    connection: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
    held: &[ActorId],
) -> sqlx::Result<Vec<AccountCheck>> {
    let rows = sqlx::query!(
        "SELECT a.id, a.did, a.active, a.status, a.status_at, a.status_seq, c.since, c.attempts, c.requests
        FROM account_checks c JOIN actors a ON a.id = c.actor_id WHERE c.due_at <= $1 AND c.actor_id <> ALL ($3)
        ORDER BY c.due_at, a.id LIMIT $2",
        now,
        limit,
        &held.iter().map(|id| id.number()).collect::<Vec<_>>()
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(AccountCheck {
                actor_id: row.id.into(),
                did: stored_did(&row.did)?,
                active: row.active,
                status: row.status,
                status_at: row.status_at.map(Timestamp::from_utc),
                status_seq: row.status_seq,
                since: Timestamp::from_utc(row.since),
                attempts: row.attempts,
                requests: row.requests,
            })
        })
        .collect()
}

/// Whether something was said of an account after its server was asked, and came after the check had been read.
pub async fn is_overtaken(
    connection: &mut PgConnection,
    check: &AccountCheck,
    asked_at: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let read_at = check.status_at.map(Timestamp::utc);
    sqlx::query_scalar!(
        "SELECT EXISTS (
            SELECT FROM actors
            WHERE id = $1 AND status_at > $2 AND (status_at, status_seq) IS DISTINCT FROM ($3::timestamptz, $4::bigint)
        ) AS \"is_overtaken!\"",
        check.actor_id.number(),
        asked_at,
        read_at,
        check.status_seq
    )
    .fetch_one(connection)
    .await
}

/// Delays checks that wait, each until its moment.
pub async fn delay(connection: &mut PgConnection, due: &[(ActorId, Timestamp)]) -> sqlx::Result<()> {
    if due.is_empty() {
        return Ok(());
    }
    let (ids, times): (Vec<i64>, Vec<DateTime<Utc>>) = due.iter().map(|(id, at)| (id.number(), at.utc())).unzip();
    sqlx::query!(
        "UPDATE account_checks c SET due_at = d.at FROM UNNEST($1::bigint[], $2::timestamptz[]) AS d (id, at)
        WHERE c.actor_id = d.id AND c.due_at < d.at",
        &ids,
        &times
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Puts a check off that had no answer, unless there was another reason to ask since it was read.
pub async fn postpone(connection: &mut PgConnection, check: &AccountCheck, due_at: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE account_checks SET attempts = attempts + 1, due_at = CASE WHEN requests = $3 THEN $2 ELSE due_at END
        WHERE actor_id = $1",
        check.actor_id.number(),
        due_at,
        check.requests
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes a check that has been answered, unless there was another reason to ask since it was read.
pub async fn remove_answered(connection: &mut PgConnection, check: &AccountCheck) -> sqlx::Result<()> {
    sqlx::query!(
        "DELETE FROM account_checks WHERE actor_id = $1 AND requests = $2",
        check.actor_id.number(),
        check.requests
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// How many checks wait.
pub async fn count(connection: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar!("SELECT count(*) AS \"count!\" FROM account_checks").fetch_one(connection).await
}
