//! What an operator looks at: sources, rejects, counts, schema.

use chrono::TimeDelta;
use sqlx::PgConnection;

use crate::{
    atproto::Timestamp,
    model::CollectionMap,
    store::{records, stored::moment},
};

/// One source: how far it has been read, and what it last reported of its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceView {
    /// Its name.
    pub source: String,
    /// What it last reported, if it ever did.
    pub state: Option<String>,
    /// Why it waits or was refused.
    pub reason: Option<String>,
    /// Since when.
    pub changed_at: Option<Timestamp>,
    /// Since when the index may lack something of it; none while it has everything.
    pub behind_since: Option<Timestamp>,
    /// The last heartbeat of the index that follows it, which comes every ten seconds.
    pub alive_at: Option<Timestamp>,
    /// The number space of the position.
    pub kind: Option<String>,
    /// The number of the last message applied.
    pub position: Option<i64>,
    /// When the upstream saw that message.
    pub event_at: Option<Timestamp>,
    /// When the upstream saw the last message of our collections.
    pub ours_at: Option<Timestamp>,
    /// When the position was last stored.
    pub updated_at: Option<Timestamp>,
    /// How it does beside the others; none where it has never been compared.
    pub score: Option<ScoreView>,
}

/// How a source compares with the others, since the index that follows them has started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScoreView {
    /// Compared commits that it delivered in time.
    pub delivered: i64,
    /// Compared commits that it did not deliver in time.
    pub missed: i64,
    /// Of the missed those that came later.
    pub late: i64,
    /// While it is incomplete: since when.
    pub incomplete_since: Option<Timestamp>,
    /// While it is incomplete: in which collections, without their namespace.
    pub incomplete_in: Vec<String>,
}

impl SourceView {
    /// The state that holds: what was reported last, or `silent` without a heartbeat for half a minute;
    /// and `incomplete` instead of `connected` while it does not deliver what others do.
    pub fn state_at(&self, now: Timestamp) -> Option<&str> {
        let reported = self.state.as_deref()?;
        let is_alive = self.alive_at.is_some_and(|at| now.utc().signed_duration_since(at.utc()) <= SILENCE_MAX);
        let is_incomplete = reported == "connected" && self.incomplete_since().is_some();
        Some(if !is_alive {
            "silent"
        } else if is_incomplete {
            "incomplete"
        } else {
            reported
        })
    }

    /// While it is incomplete: since when.
    pub fn incomplete_since(&self) -> Option<Timestamp> {
        self.score.as_ref()?.incomplete_since
    }
}

/// How many rows there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Actors ever seen.
    pub actors: i64,
    /// Live records.
    pub records: CollectionMap<i64>,
    /// Counted, and not estimated.
    pub exact: bool,
}

/// The like counts' standing check, and accounts that are not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upkeep {
    /// Tracks counted again so far.
    pub checked: i64,
    /// Counts that were wrong, and were corrected.
    pub drifted: i64,
    /// When a track was last counted again.
    pub checked_at: Option<Timestamp>,
    /// When a count was last found wrong.
    pub drifted_at: Option<Timestamp>,
    /// Actors that are hidden.
    pub hidden: i64,
    /// Accounts whose server is to be asked about them.
    pub checks: i64,
}

/// Three heartbeats may be missed.
const SILENCE_MAX: TimeDelta = TimeDelta::seconds(30);
/// Above this many rows counting costs more than it is worth.
const COUNTED_MAX: i64 = 100_000;

/// All sources, by name.
pub async fn list_sources(connection: &mut PgConnection) -> sqlx::Result<Vec<SourceView>> {
    let rows = sqlx::query!(
        "SELECT source AS \"source!\", s.state AS \"state?\", s.reason, s.changed_at AS \"changed_at?\", s.behind_since,
            s.alive_at,
            p.kind AS \"kind?\", p.value AS \"position?\", p.event_at, p.last_record_at, p.updated_at AS \"updated_at?\",
            c.delivered AS \"delivered?\", c.missed AS \"missed?\", c.late AS \"late?\", c.incomplete_since,
            c.incomplete_in AS \"incomplete_in?\"
        FROM sources s FULL JOIN positions p USING (source) LEFT JOIN source_scores c USING (source) ORDER BY source"
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| SourceView {
            score: row.delivered.map(|delivered| ScoreView {
                delivered,
                missed: row.missed.unwrap_or_default(),
                late: row.late.unwrap_or_default(),
                incomplete_since: moment(row.incomplete_since),
                incomplete_in: row.incomplete_in.unwrap_or_default(),
            }),
            source: row.source,
            state: row.state,
            reason: row.reason,
            changed_at: moment(row.changed_at),
            behind_since: moment(row.behind_since),
            alive_at: moment(row.alive_at),
            kind: row.kind,
            position: row.position,
            event_at: moment(row.event_at),
            ours_at: moment(row.last_record_at),
            updated_at: moment(row.updated_at),
        })
        .collect())
}

/// How the like counts' standing check stands, and accounts that are not shown: of more than `at_most`, that many.
pub async fn find_upkeep(connection: &mut PgConnection, at_most: i64) -> sqlx::Result<Upkeep> {
    let row = sqlx::query!(
        "SELECT checked, corrected, checked_at, corrected_at,
            (SELECT count(*) FROM (SELECT FROM hidden_actors LIMIT $1) AS r) AS \"hidden!\",
            (SELECT count(*) FROM (SELECT FROM account_checks LIMIT $1) AS r) AS \"checks!\" FROM count_checks",
        at_most
    )
    .fetch_one(connection)
    .await?;
    Ok(Upkeep {
        checked: row.checked,
        drifted: row.corrected,
        checked_at: moment(row.checked_at),
        drifted_at: moment(row.corrected_at),
        hidden: row.hidden,
        checks: row.checks,
    })
}

/// How many rejects there are of each reason, by reason; of a reason with more than `at_most`, that many.
pub async fn count_rejects(connection: &mut PgConnection, at_most: i64) -> sqlx::Result<Vec<(String, i64)>> {
    let rows = sqlx::query!(
        "WITH RECURSIVE reasons AS (
            (SELECT reason FROM rejects ORDER BY reason LIMIT 1)
            UNION ALL
            SELECT (SELECT r.reason FROM rejects r WHERE r.reason > s.reason ORDER BY r.reason LIMIT 1)
            FROM reasons s WHERE s.reason IS NOT NULL
        )
        SELECT s.reason AS \"reason!\",
            (SELECT count(*) FROM (SELECT FROM rejects r WHERE r.reason = s.reason LIMIT $1) AS r) AS \"count!\"
        FROM reasons s WHERE s.reason IS NOT NULL ORDER BY s.reason",
        at_most
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.reason, row.count)).collect())
}

/// Rejects of one reason that are kept no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiredRejects {
    /// Why they had been refused.
    pub reason: String,
    /// How many there were, ever.
    pub count: i64,
    /// When the last ones went.
    pub last_at: Timestamp,
}

/// How many rejects were deleted because they were too old or too many, by reason.
pub async fn list_expired_rejects(connection: &mut PgConnection) -> sqlx::Result<Vec<ExpiredRejects>> {
    let rows = sqlx::query!("SELECT reason, count, last_at FROM rejects_expired ORDER BY reason")
        .fetch_all(connection)
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| ExpiredRejects { reason: row.reason, count: row.count, last_at: Timestamp::from_utc(row.last_at) })
        .collect())
}

/// How many rows there are: counted while they are few, and else what the last ANALYZE or VACUUM found.
pub async fn count_rows(connection: &mut PgConnection) -> sqlx::Result<Counts> {
    let estimate = sqlx::query!(
        "SELECT (SELECT reltuples::bigint FROM pg_class WHERE oid = 'actors_pkey'::regclass) AS \"actors!\",
            pg_relation_size('likes') < 32 * 1024 * 1024 AS \"is_small!\""
    )
    .fetch_one(&mut *connection)
    .await?;
    let records = records::estimate(connection).await?;
    let greatest = records.iter().fold(estimate.actors, |greatest, (_, count)| greatest.max(*count));
    if greatest > COUNTED_MAX || !estimate.is_small {
        return Ok(Counts { actors: estimate.actors, records, exact: false });
    }
    let actors = sqlx::query_scalar!("SELECT count(*) AS \"count!\" FROM actors").fetch_one(&mut *connection).await?;
    Ok(Counts { actors, records: records::count(connection).await?, exact: true })
}
