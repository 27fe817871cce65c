//! DID documents and confirmed handles, as far as we know them, with their age.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    atproto::{Did, Handle, Timestamp},
    model::UntrustedText,
    store::LeaseTimes,
};

/// What is stored of one DID. Texts are as the table holds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredIdentity {
    /// The PDS of the document.
    pub pds: Option<String>,
    /// The signing key of the document, as a Multikey.
    pub signing_key: Option<String>,
    /// The handle that the document claims.
    pub handle: Option<String>,
    /// When the document was read.
    pub fetched_at: Option<DateTime<Utc>>,
    /// When the handle was confirmed; none while it is not.
    pub confirmed_at: Option<DateTime<Utc>>,
    /// When an `#identity` event last said that something has changed.
    pub event_at: Option<DateTime<Utc>>,
    /// In one word, why the last attempt failed.
    pub failure: Option<String>,
    /// In one sentence.
    pub detail: Option<String>,
    /// Failures in a row.
    pub tries: i32,
    /// When it is to be looked at again.
    pub due_at: DateTime<Utc>,
}

/// What a document said.
#[derive(Debug)]
pub struct NewDocument<'a> {
    /// Whose.
    pub did: &'a Did,
    /// The PDS.
    pub pds: Option<String>,
    /// The signing key, as a Multikey.
    pub signing_key: Option<String>,
    /// The handle that it claims.
    pub handle: Option<&'a Handle>,
}

/// How many identities are in each state.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct IdentityCounts {
    /// Read within the time that is asked for, and nothing has failed since.
    pub fresh: i64,
    /// Read before that, or failing since.
    pub stale: i64,
    /// Never read, and failing.
    pub failed: i64,
    /// Not tried yet.
    pub waiting: i64,
}

/// What is stored of a DID.
pub async fn find(connection: &mut PgConnection, did: &Did) -> sqlx::Result<Option<StoredIdentity>> {
    sqlx::query_as!(
        StoredIdentity,
        "SELECT pds, signing_key, handle, fetched_at, confirmed_at, event_at, failure, detail, tries, due_at
        FROM identities WHERE did = $1",
        did.as_str()
    )
    .fetch_optional(connection)
    .await
}

/// What is stored of several DIDs, each with its place among them; those that are not stored are left out.
pub async fn load(connection: &mut PgConnection, dids: &[&str]) -> sqlx::Result<Vec<(usize, StoredIdentity)>> {
    let rows = sqlx::query!(
        r#"SELECT d.place AS "place!", i.pds, i.signing_key, i.handle, i.fetched_at, i.confirmed_at, i.event_at, i.failure, i.detail,
            i.tries, i.due_at
        FROM UNNEST($1::text[]) WITH ORDINALITY AS d (did, place) JOIN identities i ON i.did = d.did"#,
        dids as &[&str]
    )
    .fetch_all(connection)
    .await?;
    let stored = rows.into_iter().map(|row| {
        let stored = StoredIdentity {
            pds: row.pds,
            signing_key: row.signing_key,
            handle: row.handle,
            fetched_at: row.fetched_at,
            confirmed_at: row.confirmed_at,
            event_at: row.event_at,
            failure: row.failure,
            detail: row.detail,
            tries: row.tries,
            due_at: row.due_at,
        };
        (crate::store::place(row.place), stored)
    });
    Ok(stored.collect())
}

/// Lists the authors with a number above `after` that have no identity as due at once, `limit` authors at most. Gives the number of the
/// last one looked at; none when there were no more.
pub async fn enroll(
    connection: &mut PgConnection,
    after: i64,
    limit: i64,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!(
        "WITH next AS (SELECT author_no, did FROM actors WHERE author_no > $1 ORDER BY author_no LIMIT $2), enrolled AS (
            INSERT INTO identities (did, due_at) SELECT did, $3 FROM next n
            WHERE NOT EXISTS (SELECT FROM identities i WHERE i.did = n.did) ON CONFLICT (did) DO NOTHING
        ) SELECT max(author_no) FROM next",
        after,
        limit,
        now
    )
    .fetch_one(connection)
    .await
}

/// Makes a row for a DID that is looked up for the first time, due at `due_at` should that come to nothing: what an event says meanwhile has a
/// place.
pub async fn begin(connection: &mut PgConnection, did: &Did, due_at: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO identities (did, due_at) VALUES ($1, $2) ON CONFLICT (did) DO NOTHING",
        did.as_str(),
        due_at
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes at most `limit` that are due, the longest first, and puts them off until `lease`, by when they should be done. With
/// `is_plc_away`, none of the PLC directory.
pub async fn take_due(
    connection: &mut PgConnection,
    limit: i64,
    times: LeaseTimes,
    is_plc_away: bool,
) -> sqlx::Result<Vec<Did>> {
    let dids = if is_plc_away {
        sqlx::query_scalar!(
            "UPDATE identities i SET due_at = $2 FROM (
                SELECT did FROM identities WHERE due_at <= $1 AND did NOT LIKE 'did:plc:%'
                ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED
            ) AS due WHERE i.did = due.did RETURNING i.did",
            times.now,
            times.until,
            limit
        )
        .fetch_all(connection)
        .await?
    } else {
        sqlx::query_scalar!(
            "UPDATE identities i SET due_at = $2 FROM (
                SELECT did FROM identities WHERE due_at <= $1 ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED
            ) AS due WHERE i.did = due.did RETURNING i.did",
            times.now,
            times.until,
            limit
        )
        .fetch_all(connection)
        .await?
    };
    dids.iter().map(|did| Did::parse(did).map_err(|error| sqlx::Error::Decode(error.into()))).collect()
}

/// Makes some due again that were taken until `leases` and not looked up, as far as that still stands.
pub async fn release(
    connection: &mut PgConnection,
    dids: &[&str],
    leases: &[DateTime<Utc>],
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE identities i SET due_at = $3 FROM UNNEST($1::text[], $2::timestamptz[]) AS r (did, lease)
        WHERE i.did = r.did AND i.due_at = r.lease",
        dids as &[&str],
        leases,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Stores what a document said. A handle that was confirmed stays so if the document still claims it. It is due at `lease` if
/// its handle is about to be looked at; otherwise when it was, or at once if the handle is another. Whether the handle is
/// confirmed.
pub async fn write_document(
    connection: &mut PgConnection,
    document: &NewDocument<'_>,
    now: DateTime<Utc>,
    lease: Option<DateTime<Utc>>,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        "INSERT INTO identities AS i (did, pds, signing_key, handle, fetched_at, due_at)
        VALUES ($1, $2, $3, $4, $5::timestamptz, coalesce($6, $5::timestamptz))
        ON CONFLICT (did) DO UPDATE SET pds = $2, signing_key = $3, handle = $4, fetched_at = $5, failure = NULL,
            detail = NULL, failed_at = NULL, tries = 0,
            confirmed_at = CASE WHEN i.handle = $4 THEN i.confirmed_at END,
            due_at = coalesce($6, CASE WHEN i.handle = $4 THEN i.due_at ELSE $5::timestamptz END)
        RETURNING confirmed_at IS NOT NULL AS \"is_confirmed!\"",
        document.did.as_str(),
        document.pds,
        document.signing_key,
        document.handle.map(Handle::as_str),
        now,
        lease
    )
    .fetch_one(connection)
    .await
}

/// Stores what came of confirming a handle, and when to look again: sooner if an event came after `begun_at`.
pub async fn write_confirmation(
    connection: &mut PgConnection,
    did: &Did,
    begun_at: DateTime<Utc>,
    confirmed_at: Option<DateTime<Utc>>,
    due_at: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE identities SET confirmed_at = $2, due_at = CASE WHEN event_at > $3 THEN least($4, event_at + interval '10 s')
            ELSE $4 END
        WHERE did = $1",
        did.as_str(),
        confirmed_at,
        begun_at,
        due_at
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Stores that the handle is not confirmed any longer.
pub async fn forget_confirmation(connection: &mut PgConnection, did: &Did) -> sqlx::Result<()> {
    sqlx::query!("UPDATE identities SET confirmed_at = NULL WHERE did = $1", did.as_str()).execute(connection).await?;
    Ok(())
}

/// Why an identity could not be read, and when to try again.
#[derive(Debug, Clone, Copy)]
pub struct IdentityFailure<'a> {
    /// In one word.
    pub failure: &'a str,
    /// In one sentence.
    pub detail: &'a UntrustedText,
    /// When it failed.
    pub failed_at: DateTime<Utc>,
    /// When to try again.
    pub due_at: DateTime<Utc>,
}

/// Stores a failure, and that there was one more in a row.
pub async fn write_failure(
    connection: &mut PgConnection,
    did: &Did,
    failure: &IdentityFailure<'_>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO identities AS i (did, failure, detail, failed_at, tries, due_at) VALUES ($1, $2, $3, $4, 1, $5)
        ON CONFLICT (did) DO UPDATE SET failure = $2, detail = $3, failed_at = $4, tries = i.tries + 1, due_at = $5",
        did.as_str(),
        failure.failure,
        failure.detail.as_str(),
        failure.failed_at,
        failure.due_at
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Puts one off, without blame. While a directory is away it is put off to the same moment again and again, which writes nothing.
pub async fn postpone(connection: &mut PgConnection, did: &Did, due_at: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!("UPDATE identities SET due_at = $2 WHERE did = $1 AND due_at <> $2", did.as_str(), due_at)
        .execute(connection)
        .await?;
    Ok(())
}

/// Shows an actor's confirmed handle, or none. A handle belongs to one actor at a time: an actor that had it is looked at again.
///
/// Each statement locks one row, so that this never stands in the way of a batch, nor a batch in its way.
pub async fn show_handle(
    connection: &mut PgConnection,
    did: &Did,
    handle: Option<&Handle>,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    let handle = handle.map(Handle::as_str);
    let before = sqlx::query_scalar!(
        "UPDATE actors SET handle = NULL WHERE handle = $1 AND did <> $2 RETURNING did",
        handle,
        did.as_str()
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(before) = before {
        sqlx::query!("UPDATE identities SET confirmed_at = NULL, due_at = $2 WHERE did = $1", before, now)
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query!("UPDATE actors SET handle = $1 WHERE did = $2 AND handle IS DISTINCT FROM $1", handle, did.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

/// A confirmed handle that is not shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnshownHandle {
    /// Whose.
    pub did: Did,
    /// The handle.
    pub handle: Handle,
}

/// Handles that are confirmed and not shown, of visible authors with a number above `after`: the author's row was made, or came back, after the
/// handle had been confirmed. A hundred at most.
pub async fn list_unshown(connection: &mut PgConnection, after: i64) -> sqlx::Result<Vec<UnshownHandle>> {
    let rows = sqlx::query!(
        "SELECT i.did, i.handle AS \"handle!\" FROM visible_actors a JOIN identities i ON i.did = a.did
        WHERE a.author_no > $1 AND a.handle IS NULL AND i.handle IS NOT NULL AND i.confirmed_at IS NOT NULL
        ORDER BY a.author_no LIMIT 100",
        after
    )
    .fetch_all(connection)
    .await?;
    let corrupt = |error: crate::atproto::SyntaxError| sqlx::Error::Decode(error.into());
    let unshown = rows.into_iter().map(|row| {
        let handle = Handle::parse(&row.handle).map_err(corrupt)?;
        Ok(UnshownHandle { did: Did::parse(&row.did).map_err(corrupt)?, handle })
    });
    unshown.collect()
}

/// Marks as due the identities that an `#identity` event names; unknown DIDs stay unknown. No identity is due more
/// often than every ten seconds for that, however many events come. Gives how many are marked.
pub async fn mark_changed(connection: &mut PgConnection, dids: &[&str], now: DateTime<Utc>) -> sqlx::Result<u64> {
    if dids.is_empty() {
        return Ok(0);
    }
    let done = sqlx::query!(
        "UPDATE identities SET event_at = $2,
            due_at = least(due_at, greatest($2, coalesce(event_at, fetched_at, '-infinity') + interval '10 s'))
        WHERE did = ANY ($1)",
        dids as &[&str],
        now
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// How many identities are in each state; `fresh_since` parts the fresh from the stale.
pub async fn count(connection: &mut PgConnection, fresh_since: Timestamp) -> sqlx::Result<IdentityCounts> {
    sqlx::query_as!(
        IdentityCounts,
        r#"SELECT count(*) FILTER (WHERE fetched_at > $1 AND failure IS NULL) AS "fresh!",
            count(*) FILTER (WHERE fetched_at <= $1 OR fetched_at IS NOT NULL AND failure IS NOT NULL) AS "stale!",
            count(*) FILTER (WHERE fetched_at IS NULL AND failure IS NOT NULL) AS "failed!",
            count(*) FILTER (WHERE fetched_at IS NULL AND failure IS NULL) AS "waiting!"
        FROM identities"#,
        fresh_since.utc()
    )
    .fetch_one(connection)
    .await
}
