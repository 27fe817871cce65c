//! Name and picture of those who are shown, as `app.bsky.actor.profile` in their repos says, and since when.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    atproto::{Cid, Did, Timestamp},
    model::{ActorId, UntrustedText},
    store::LeaseTimes,
};

/// An actor whose profile is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueProfile {
    /// Whose.
    pub actor_id: ActorId,
    /// Whose.
    pub did: Did,
    /// The server, if it is known and the actor is shown: an artist or a liker, and not hidden. No profile of others is read.
    pub host: Option<String>,
    /// Attempts in a row that brought no answer.
    pub tries: i32,
}

/// A profile that was taken and is read later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Postponed {
    /// Whose.
    pub actor_id: ActorId,
    /// The end of the lease that it was taken under.
    pub lease: Timestamp,
    /// When to read it.
    pub due_at: Timestamp,
    /// Whether this counts as an attempt that brought no answer.
    pub is_failure: bool,
}

/// An attempt that brought no answer.
#[derive(Debug)]
pub struct ProfileFailure {
    /// Why.
    pub detail: UntrustedText,
    /// When to try again.
    pub due_at: Timestamp,
}

/// What came of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The record.
    Found,
    /// There is none.
    Absent,
    /// There is one, and it is not taken.
    Refused,
}

impl Outcome {
    /// One word, for the table and for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Absent => "absent",
            Self::Refused => "refused",
        }
    }
}

/// An answer. What is shown is this and nothing of what was before.
#[derive(Debug)]
pub struct ProfileAnswer<'a> {
    /// What came.
    pub outcome: Outcome,
    /// The name.
    pub display_name: Option<&'a str>,
    /// The blob with the picture.
    pub avatar: Option<Cid>,
    /// The server that has it.
    pub host: String,
    /// Why the record is not taken.
    pub detail: Option<UntrustedText>,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// When to ask again.
    pub due_at: Timestamp,
}

/// Lists the authors with a number above `after` as due at once, `limit` authors at most; those who are listed stay as they are. Gives
/// the number of the last one looked at; none when there were no more.
///
/// Deleted accounts are left out, and come back by [`super::tombstones::restore_account`].
pub async fn enroll(
    connection: &mut PgConnection,
    after: i64,
    limit: i64,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!(
        "WITH next AS (SELECT id, author_no FROM actors WHERE author_no > $1 ORDER BY author_no LIMIT $2), enrolled AS (
            INSERT INTO bluesky_profiles (actor_id, due_at) SELECT id, $3 FROM next n
            WHERE NOT EXISTS (SELECT FROM bluesky_profiles b WHERE b.actor_id = n.id)
                AND NOT EXISTS (SELECT FROM account_tombstones t WHERE t.actor_id = n.id)
            ON CONFLICT (actor_id) DO NOTHING
        ) SELECT max(author_no) FROM next",
        after,
        limit,
        now
    )
    .fetch_one(connection)
    .await
}

/// Makes due the profiles of actors whom an `#identity` event has named since `since` and after they were read: they may have moved.
/// Not those that are being read, `held`: [`write_answer`] sees to them. Gives how many.
pub async fn mark_changed(
    connection: &mut PgConnection,
    since: DateTime<Utc>,
    now: DateTime<Utc>,
    held: &[ActorId],
) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "UPDATE bluesky_profiles b SET due_at = $2 FROM identities i JOIN actors a ON a.did = i.did
        WHERE i.event_at > $1 AND b.actor_id = a.id AND b.fetched_at < i.event_at AND b.due_at > $2
            AND b.actor_id <> ALL ($3)",
        since,
        now,
        &held.iter().map(|id| id.number()).collect::<Vec<_>>()
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Takes at most `limit` that are due, the longest first, and puts them off until `times.until`, by when they should be done.
pub async fn take_due(connection: &mut PgConnection, limit: i64, times: LeaseTimes) -> sqlx::Result<Vec<DueProfile>> {
    let rows = sqlx::query!(
        "WITH due AS (
            SELECT actor_id FROM bluesky_profiles WHERE due_at <= $1 ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED
        ), taken AS (
            UPDATE bluesky_profiles b SET due_at = $3 FROM due WHERE b.actor_id = due.actor_id
            RETURNING b.actor_id, b.tries
        )
        SELECT t.actor_id AS \"actor_id!\", t.tries AS \"tries!\", a.did AS \"did!\",
            CASE WHEN (liker.is_one OR artist.is_one) AND hidden.is_one IS NULL THEN i.pds END AS host
        FROM taken t JOIN actors a ON a.id = t.actor_id LEFT JOIN identities i ON i.did = a.did
        LEFT JOIN LATERAL (
            SELECT true AS is_one FROM likes l WHERE l.actor_id = t.actor_id AND l.subject_id IS NOT NULL LIMIT 1
        ) AS liker ON true
        LEFT JOIN LATERAL (
            SELECT true AS is_one FROM tracks t2 WHERE t2.artist_id = t.actor_id AND t2.title IS NOT NULL LIMIT 1
        ) AS artist ON true
        LEFT JOIN LATERAL (
            SELECT true AS is_one FROM hidden_actors h WHERE h.actor_id = t.actor_id
        ) AS hidden ON true
        ORDER BY 1",
        times.now,
        limit,
        times.until
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let did = crate::store::stored::stored_did(&row.did)?;
            Ok(DueProfile { actor_id: row.actor_id.into(), did, host: row.host, tries: row.tries })
        })
        .collect()
}

/// Stores an answer, unless the actor was hidden or removed meanwhile. It is due again at once where an `#identity` event has named
/// the actor since it was asked for.
pub async fn write_answer(
    connection: &mut PgConnection,
    actor_id: ActorId,
    answer: &ProfileAnswer<'_>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE bluesky_profiles b SET display_name = $2, avatar_cid = $3, host = $4, outcome = $5, detail = $6, fetched_at = $7,
            tries = 0, due_at = CASE WHEN EXISTS (
                SELECT FROM actors a JOIN identities i ON i.did = a.did WHERE a.id = b.actor_id AND i.event_at > $7
            ) THEN $7::timestamptz ELSE $8 END
        WHERE actor_id = $1
            AND EXISTS (SELECT FROM visible_actors a WHERE a.id = b.actor_id)",
        actor_id.number(),
        answer.display_name,
        answer.avatar.map(Cid::to_bytes),
        answer.host,
        answer.outcome.as_str(),
        answer.detail.as_ref().map(UntrustedText::as_str),
        answer.asked_at.utc(),
        answer.due_at.utc()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Stores that an attempt brought no answer. What was shown stays.
pub async fn write_failure(
    connection: &mut PgConnection,
    actor_id: ActorId,
    failure: &ProfileFailure,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE bluesky_profiles SET tries = tries + 1, detail = $2, due_at = $3 WHERE actor_id = $1",
        actor_id.number(),
        failure.detail.as_str(),
        failure.due_at.utc()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Postpones some, each until its moment. One that was answered meanwhile, or taken by another process, stays as it is.
pub async fn postpone(connection: &mut PgConnection, postponed: &[Postponed]) -> sqlx::Result<()> {
    if postponed.is_empty() {
        return Ok(());
    }
    let actor_ids: Vec<i64> = postponed.iter().map(|one| one.actor_id.number()).collect();
    let leases: Vec<DateTime<Utc>> = postponed.iter().map(|one| one.lease.utc()).collect();
    let due: Vec<DateTime<Utc>> = postponed.iter().map(|one| one.due_at.utc()).collect();
    let failures: Vec<i32> = postponed.iter().map(|one| i32::from(one.is_failure)).collect();
    sqlx::query!(
        "UPDATE bluesky_profiles b SET due_at = p.due_at, tries = b.tries + p.failures
        FROM UNNEST($1::bigint[], $2::timestamptz[], $3::timestamptz[], $4::integer[])
            AS p (actor_id, lease, due_at, failures)
        WHERE b.actor_id = p.actor_id AND b.due_at = p.lease",
        &actor_ids,
        &leases,
        &due,
        &failures
    )
    .execute(connection)
    .await?;
    Ok(())
}
