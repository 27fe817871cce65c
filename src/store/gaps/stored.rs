//! The gaps as they are read.

use sqlx::PgConnection;

use super::words::{End, State};
use crate::{
    atproto::{Did, Timestamp},
    model::GapReason,
};

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
    /// For the operator.
    pub detail: String,
    /// When it was noticed.
    pub opened_at: Timestamp,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// Who closed it: `operator`, `repair` or `proof`.
    pub closed_by: Option<String>,
    /// Why it was closed.
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    NewestFirst,
    OldestFirst,
}

/// Gaps, the newest first.
pub async fn list(connection: &mut PgConnection, which: Which, limit: i64) -> sqlx::Result<Vec<StoredGap>> {
    match which {
        Which::All => select(connection, &State::ALL, None, Order::NewestFirst, limit).await,
        Which::NotClosed => select(connection, &[State::Open, State::Repairing], None, Order::NewestFirst, limit).await,
        Which::Number(id) => select(connection, &State::ALL, Some(id), Order::NewestFirst, limit).await,
    }
}

/// What a repair has to do: gaps that are open, the oldest first.
pub async fn list_open(connection: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<StoredGap>> {
    select(connection, &[State::Open], None, Order::OldestFirst, limit).await
}

async fn select(
    connection: &mut PgConnection,
    states: &[State],
    id: Option<i64>,
    order: Order,
    limit: i64,
) -> sqlx::Result<Vec<StoredGap>> {
    let states: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
    let rows = sqlx::query!(
        "SELECT id, source, reason, did, kind, from_value, to_value, from_at, to_at, state, detail, opened_at, closed_at,
            closed_by, note
        FROM gaps WHERE state = ANY ($1) AND ($2::bigint IS NULL OR id = $2)
        ORDER BY CASE WHEN $3 THEN id ELSE -id END LIMIT $4",
        &states as &[&str],
        id,
        order == Order::OldestFirst,
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

/// Counts what is not closed, by reason; of more than `at_most`, the oldest.
pub async fn count_open(connection: &mut PgConnection, at_most: i64) -> sqlx::Result<Vec<OpenCount>> {
    let rows = sqlx::query!(
        r#"SELECT reason, count(*) AS "count!", count(*) FILTER (WHERE state = 'repairing') AS "repairing!",
            min(opened_at) AS "oldest_at!"
        FROM (SELECT reason, state, opened_at FROM gaps WHERE state <> 'closed' ORDER BY opened_at LIMIT $1) AS oldest
        GROUP BY reason ORDER BY reason"#,
        at_most
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
