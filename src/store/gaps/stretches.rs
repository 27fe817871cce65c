//! The rows: opened, widened, listed and closed.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::words::{By, End, State};
use crate::{
    atproto::{Did, Tid, Timestamp},
    model::{GapReason, PositionKind, UntrustedText},
};

/// A gap in an upstream, to open or to widen.
#[derive(Debug, Clone, Copy)]
pub struct NewGap<'a> {
    /// The source's name.
    pub source: &'a str,
    /// Why.
    pub reason: GapReason,
    /// The number space of the two ends.
    pub kind: Option<PositionKind>,
    /// The last that we have.
    pub from: End,
    /// The first that came after; an unknown time while nothing has come.
    pub to: End,
    /// For the operator, in one sentence.
    pub detail: &'a UntrustedText,
}

/// Opens a gap, or widens the one of this source and reason that is not closed. Answers whether it is a new one.
///
/// An end whose time is unknown is wider than any. One that a repair has taken up is open again if it was widened: the repair
/// did not look there.
pub async fn open(connection: &mut PgConnection, gap: NewGap<'_>, now: DateTime<Utc>) -> sqlx::Result<bool> {
    // A row that was inserted has not been updated by anybody, so its xmax is zero.
    sqlx::query_scalar!(
        r#"INSERT INTO gaps AS g (source, reason, kind, from_value, to_value, from_at, to_at, detail, opened_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (source, reason) WHERE did IS NULL AND state <> 'closed' DO UPDATE SET
            kind = EXCLUDED.kind,
            from_value = CASE WHEN EXCLUDED.from_at >= g.from_at OR g.from_at IS NULL THEN g.from_value
                ELSE EXCLUDED.from_value END,
            from_at = CASE WHEN EXCLUDED.from_at >= g.from_at OR g.from_at IS NULL THEN g.from_at
                ELSE EXCLUDED.from_at END,
            to_value = CASE WHEN EXCLUDED.to_at <= g.to_at THEN g.to_value ELSE EXCLUDED.to_value END,
            to_at = CASE WHEN EXCLUDED.to_at <= g.to_at THEN g.to_at ELSE EXCLUDED.to_at END,
            state = CASE WHEN EXCLUDED.from_at >= g.from_at AND EXCLUDED.to_at <= g.to_at THEN g.state ELSE 'open' END,
            detail = EXCLUDED.detail
        RETURNING xmax::text = '0' AS "is_new!""#,
        gap.source,
        gap.reason.as_str(),
        gap.kind.map(PositionKind::as_str),
        gap.from.value,
        gap.to.value,
        gap.from.utc(),
        gap.to.utc(),
        gap.detail.as_str(),
        now
    )
    .fetch_one(connection)
    .await
}

/// Fills in where a gap of this source and reason ends, if it is not closed and the end is unknown. Answers whether that was so.
pub async fn end(connection: &mut PgConnection, source: &str, reason: GapReason, to: End) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE gaps SET to_value = $3, to_at = $4
        WHERE source = $1 AND reason = $2 AND did IS NULL AND state <> 'closed' AND to_at IS NULL",
        source,
        reason.as_str(),
        to.value,
        to.utc()
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Closes what the source itself shows not to be missed: what is not closed of a reason, of one source or of all. Answers how many there were.
pub async fn close_by_source(
    connection: &mut PgConnection,
    source: Option<&str>,
    reason: GapReason,
    note: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "UPDATE gaps SET state = 'closed', closed_at = $3, closed_by = 'source', note = $4
        WHERE ($1::text IS NULL OR source = $1) AND reason = $2 AND did IS NULL AND state <> 'closed'",
        source,
        reason.as_str(),
        now,
        note
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// A repo whose head a `#sync` named.
#[derive(Debug, Clone, Copy)]
pub struct NewSync<'a> {
    /// The source that delivered it.
    pub source: &'a str,
    /// Whose repo.
    pub did: &'a Did,
    /// Its head.
    pub rev: Tid,
    /// When, by the upstream.
    pub at: Option<Timestamp>,
}

/// Opens a gap for each repo of an author, unless its head, or a later one, was delivered before; unknown DIDs stay
/// unknown. Answers how many are new. Each repo is named once.
pub async fn open_syncs(connection: &mut PgConnection, syncs: &[NewSync<'_>], now: DateTime<Utc>) -> sqlx::Result<u32> {
    if syncs.is_empty() {
        return Ok(0);
    }
    let sources: Vec<&str> = syncs.iter().map(|sync| sync.source).collect();
    let dids: Vec<&str> = syncs.iter().map(|sync| sync.did.as_str()).collect();
    let revs: Vec<i64> = syncs.iter().map(|sync| sync.rev.number()).collect();
    let times: Vec<Option<DateTime<Utc>>> = syncs.iter().map(|sync| sync.at.map(Timestamp::utc)).collect();
    let opened = sqlx::query_scalar!(
        r#"WITH opened AS (
            INSERT INTO gaps AS g (source, reason, did, kind, to_value, to_at, detail, opened_at)
            SELECT s.source, 'sync', s.did, 'rev', s.rev, s.at, 'the repo diverged from what its events told', $5
            FROM UNNEST($1::text[], $2::text[], $3::bigint[], $4::timestamptz[]) AS s (source, did, rev, at)
            WHERE EXISTS (SELECT FROM actors a WHERE a.did = s.did AND a.author_no IS NOT NULL) AND NOT EXISTS
                (SELECT FROM gaps o WHERE o.did = s.did AND o.reason = 'sync' AND o.to_value >= s.rev)
            ON CONFLICT (did, reason) WHERE did IS NOT NULL AND state <> 'closed' DO UPDATE SET
                source = EXCLUDED.source, to_value = EXCLUDED.to_value, to_at = EXCLUDED.to_at, state = 'open'
            RETURNING xmax::text = '0' AS is_new
        ) SELECT count(*) FILTER (WHERE is_new) AS "count!" FROM opened"#,
        &sources as &[&str],
        &dids as &[&str],
        &revs,
        &times as &[Option<DateTime<Utc>>],
        now
    )
    .fetch_one(connection)
    .await?;
    Ok(opened.try_into().unwrap_or(0))
}

/// A commit with which something is wrong, so that its repo is to be resynced.
#[derive(Debug, Clone, Copy)]
pub struct NewBreak<'a> {
    /// The source that delivered it.
    pub source: &'a str,
    /// Whose repo.
    pub did: &'a Did,
    /// The last commit before that is in order, where that is known.
    pub from: Option<Tid>,
    /// The commit, where its rev is known.
    pub to: Option<Tid>,
    /// Whether our collections are known to be concerned; otherwise a repo of one that is no author is left alone.
    pub is_ours: bool,
}

/// Opens a gap for each repo, or widens the one that is not closed. Answers how many are new. Each repo is named once.
pub async fn open_repos(
    connection: &mut PgConnection,
    reason: GapReason,
    breaks: &[NewBreak<'_>],
    now: DateTime<Utc>,
) -> sqlx::Result<u32> {
    if breaks.is_empty() {
        return Ok(0);
    }
    let sources: Vec<&str> = breaks.iter().map(|it| it.source).collect();
    let dids: Vec<&str> = breaks.iter().map(|it| it.did.as_str()).collect();
    let from: Vec<Option<i64>> = breaks.iter().map(|it| it.from.map(Tid::number)).collect();
    let detail = match reason {
        GapReason::Proof => "a commit is not proven to be its owner's",
        GapReason::Undelivered => "a commit did not come as its owner wrote it",
        _ => "a commit does not follow on the one before it",
    };
    let to: Vec<Option<i64>> = breaks.iter().map(|it| it.to.map(Tid::number)).collect();
    let are_ours: Vec<bool> = breaks.iter().map(|it| it.is_ours).collect();
    let opened = sqlx::query_scalar!(
        r#"WITH opened AS (
            INSERT INTO gaps AS g (source, reason, did, kind, from_value, to_value, detail, opened_at)
            SELECT b.*, $6, $5
            FROM (SELECT source, $7::text, did, 'rev', from_value, to_value
                FROM UNNEST($1::text[], $2::text[], $3::bigint[], $4::bigint[], $8::boolean[])
                    AS u (source, did, from_value, to_value, is_ours)
                WHERE u.is_ours OR EXISTS (SELECT FROM actors a WHERE a.did = u.did AND a.author_no IS NOT NULL)) b
            ON CONFLICT (did, reason) WHERE did IS NOT NULL AND state <> 'closed' DO UPDATE SET
                source = EXCLUDED.source, to_value = EXCLUDED.to_value, state = 'open'
            RETURNING xmax::text = '0' AS is_new
        ) SELECT count(*) FILTER (WHERE is_new) AS "count!" FROM opened"#,
        &sources as &[&str],
        &dids as &[&str],
        &from as &[Option<i64>],
        &to as &[Option<i64>],
        now,
        detail,
        reason.as_str(),
        &are_ours
    )
    .fetch_one(connection)
    .await?;
    Ok(opened.try_into().unwrap_or(0))
}

/// Deletes closed gaps: those closed before `before`, and the oldest where there are more than `count_max`; a thousand at most. Gives how many of
/// each reason.
pub async fn delete_closed(
    connection: &mut PgConnection,
    before: DateTime<Utc>,
    count_max: i64,
) -> sqlx::Result<Vec<(String, i64)>> {
    let rows = sqlx::query!(
        r#"WITH gone AS (
            DELETE FROM gaps WHERE id IN (
                (SELECT id FROM gaps WHERE state = 'closed' AND closed_at < $1 ORDER BY closed_at LIMIT 1000)
                UNION ALL (SELECT id FROM gaps WHERE state = 'closed' ORDER BY closed_at DESC OFFSET $2 LIMIT 1000)
            ) RETURNING reason
        ) SELECT reason, count(*) AS "count!" FROM gone GROUP BY reason"#,
        before,
        count_max
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.reason, row.count)).collect())
}

/// Takes a gap up for repair, or gives it back. Answers false where it is closed or gone, or is so already.
pub async fn set_state(connection: &mut PgConnection, id: i64, state: State) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE gaps SET state = $2 WHERE id = $1 AND state <> 'closed' AND state <> $2 AND $2 <> 'closed'",
        id,
        state.as_str()
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Closes a gap. Answers false where it is closed already or gone; and for a repair also where the gap is no longer in its
/// hands, because it was widened meanwhile.
pub async fn close(
    connection: &mut PgConnection,
    id: i64,
    by: By,
    note: Option<&str>,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE gaps SET state = 'closed', closed_at = $3, closed_by = $2, note = $4
        WHERE id = $1 AND state <> 'closed' AND ($2 <> 'repair' OR state = 'repairing')",
        id,
        by.as_str(),
        now,
        note
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}
