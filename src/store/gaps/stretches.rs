//! The rows: opened, widened, listed and closed.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::words::{By, End, State};
use crate::{
    atproto::{Did, Tid, Timestamp},
    model::GapReason,
};

/// A gap in an upstream, to open or to widen.
#[derive(Debug, Clone, Copy)]
pub struct NewGap<'a> {
    /// The source's name.
    pub source: &'a str,
    /// Why.
    pub reason: GapReason,
    /// The number space of the two ends.
    pub kind: Option<&'a str>,
    /// The last that we have.
    pub from: End,
    /// The first that came after; an unknown time while nothing has come.
    pub to: End,
    /// For people, in one sentence; without U+0000.
    pub detail: &'a str,
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
        gap.kind,
        gap.from.value,
        gap.to.value,
        gap.from.utc(),
        gap.to.utc(),
        gap.detail,
        now
    )
    .fetch_one(connection)
    .await
}

/// Fills in where a gap of this source and reason ends, if it is not closed and nobody knew. Answers whether that was so.
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

/// Closes, by proof, what is not closed of a reason: of one source, or of all. Answers how many there were.
pub async fn prove(
    connection: &mut PgConnection,
    source: Option<&str>,
    reason: GapReason,
    (note, now): (&str, DateTime<Utc>),
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

/// A repo whose head a `#sync` told of.
#[derive(Debug, Clone, Copy)]
pub struct NewSync<'a> {
    /// Who told.
    pub source: &'a str,
    /// Whose repo.
    pub did: &'a Did,
    /// Its head.
    pub rev: Tid,
    /// When, by the upstream.
    pub at: Option<Timestamp>,
}

/// Opens a gap for each repo of an actor whom we know, unless its head, or a later one, has been told of before; strangers
/// stay strangers. Answers how many are new. Each repo is named once.
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
            WHERE EXISTS (SELECT FROM actors a WHERE a.did = s.did) AND NOT EXISTS
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

/// A commit with which something is wrong, so that its repo is to be read anew.
#[derive(Debug, Clone, Copy)]
pub struct NewBreak<'a> {
    /// Who told.
    pub source: &'a str,
    /// Whose repo.
    pub did: &'a Did,
    /// The last commit before that is in order, where that is known.
    pub from: Option<Tid>,
    /// The commit.
    pub to: Tid,
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
        _ => "a commit does not follow on the one before it",
    };
    let to: Vec<i64> = breaks.iter().map(|it| it.to.number()).collect();
    let opened = sqlx::query_scalar!(
        r#"WITH opened AS (
            INSERT INTO gaps AS g (source, reason, did, kind, from_value, to_value, detail, opened_at)
            SELECT b.*, $6, $5
            FROM (SELECT source, $7::text, did, 'rev', from_value, to_value
                FROM UNNEST($1::text[], $2::text[], $3::bigint[], $4::bigint[]) AS u (source, did, from_value, to_value)) b
            ON CONFLICT (did, reason) WHERE did IS NOT NULL AND state <> 'closed' DO UPDATE SET
                source = EXCLUDED.source, to_value = EXCLUDED.to_value, state = 'open'
            RETURNING xmax::text = '0' AS is_new
        ) SELECT count(*) FILTER (WHERE is_new) AS "count!" FROM opened"#,
        &sources as &[&str],
        &dids as &[&str],
        &from as &[Option<i64>],
        &to,
        now,
        detail,
        reason.as_str()
    )
    .fetch_one(connection)
    .await?;
    Ok(opened.try_into().unwrap_or(0))
}

/// A gap as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredGap {
    /// Its number.
    pub id: i64,
    /// The source's name.
    pub source: String,
    /// Why.
    pub reason: GapReason,
    /// The one repo that it is about.
    pub did: Option<Did>,
    /// The number space of the two ends.
    pub kind: Option<String>,
    /// The last that we had.
    pub from: End,
    /// The first that came after; for a repo, its head.
    pub to: End,
    /// What is being done about it.
    pub state: State,
    /// For people.
    pub detail: String,
    /// When it was noticed.
    pub opened_at: Timestamp,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// Who closed it: `operator`, `repair` or `proof`.
    pub closed_by: Option<String>,
    /// What whoever closed it had to say.
    pub note: Option<String>,
}

/// Which gaps to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All of them.
    All,
    /// Those that are not closed.
    NotClosed,
    /// One.
    Number(i64),
}

/// Gaps, the newest first.
pub async fn list(connection: &mut PgConnection, which: Which, limit: i64) -> sqlx::Result<Vec<StoredGap>> {
    match which {
        Which::All => select(connection, &State::ALL, None, (false, limit)).await,
        Which::NotClosed => select(connection, &[State::Open, State::Repairing], None, (false, limit)).await,
        Which::Number(id) => select(connection, &State::ALL, Some(id), (false, limit)).await,
    }
}

/// What a repair has to do: gaps that nobody has closed or taken up, the oldest first.
pub async fn list_open(connection: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<StoredGap>> {
    select(connection, &[State::Open], None, (true, limit)).await
}

async fn select(
    connection: &mut PgConnection,
    states: &[State],
    id: Option<i64>,
    (oldest_first, limit): (bool, i64),
) -> sqlx::Result<Vec<StoredGap>> {
    let states: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
    let rows = sqlx::query!(
        "SELECT id, source, reason, did, kind, from_value, to_value, from_at, to_at, state, detail, opened_at, closed_at,
            closed_by, note
        FROM gaps WHERE state = ANY ($1) AND ($2::bigint IS NULL OR id = $2)
        ORDER BY CASE WHEN $3 THEN id ELSE -id END LIMIT $4",
        &states as &[&str],
        id,
        oldest_first,
        limit
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let moment = |at: Option<_>| at.map(Timestamp::from_utc);
            Ok(StoredGap {
                id: row.id,
                source: row.source,
                reason: GapReason::parse(&row.reason).ok_or_else(|| unreadable("a reason", row.id))?,
                did: row.did.map(|did| Did::parse(&did).map_err(|_| unreadable("a DID", row.id))).transpose()?,
                kind: row.kind,
                from: End { value: row.from_value, at: moment(row.from_at) },
                to: End { value: row.to_value, at: moment(row.to_at) },
                state: State::parse(&row.state).ok_or_else(|| unreadable("a state", row.id))?,
                detail: row.detail,
                opened_at: Timestamp::from_utc(row.opened_at),
                closed_at: moment(row.closed_at),
                closed_by: row.closed_by,
                note: row.note,
            })
        })
        .collect()
}

fn unreadable(what: &str, id: i64) -> sqlx::Error {
    sqlx::Error::Decode(format!("gap {id} has {what} that this program does not know").into())
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
    (note, now): (Option<&str>, DateTime<Utc>),
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

/// Of one reason: how many gaps are not closed, and since when there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCount {
    /// Why.
    pub reason: String,
    /// How many.
    pub count: i64,
    /// How many of them a repair has taken up.
    pub repairing: i64,
    /// When the first of them was noticed.
    pub oldest_at: Timestamp,
}

/// Counts what is not closed, by reason.
pub async fn count_open(connection: &mut PgConnection) -> sqlx::Result<Vec<OpenCount>> {
    let rows = sqlx::query!(
        r#"SELECT reason, count(*) AS "count!", count(*) FILTER (WHERE state = 'repairing') AS "repairing!",
            min(opened_at) AS "oldest_at!" FROM gaps WHERE state <> 'closed'
        GROUP BY reason ORDER BY reason"#
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| OpenCount {
            reason: row.reason,
            count: row.count,
            repairing: row.repairing,
            oldest_at: Timestamp::from_utc(row.oldest_at),
        })
        .collect())
}
