//! How it stands, for operators: one report, out of one moment of the index.

use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::{
    repos::{ReposStatus, read_repos_status},
    sources::{SourceStatus, least_lag_s, source_status},
};
use crate::{
    atproto::Timestamp,
    model::Collection,
    store::{
        gaps::{self, OpenCount},
        views::{
            indexers::{IndexerView, list_indexers},
            operation::{Counts, Upkeep, count_rejects, count_rows, find_upkeep, list_expired_rejects, list_sources},
        },
    },
};

/// What is counted for the report is counted up to here: so it costs no more, however much there is.
const COUNTED_MAX: i64 = 10_000;

/// How it stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct Status {
    /// Of the program.
    pub version: &'static str,
    /// How far the index is behind: the least of the sources' lags, in seconds.
    pub lag_s: Option<f64>,
    /// By name.
    pub sources: Vec<SourceStatus>,
    /// What may have been missed and is not closed.
    pub gaps: GapStatus,
    /// Those that index or stand by; the one that works comes first.
    pub indexers: Vec<IndexerStatus>,
    /// By reason; 10,000 where there are as many or more.
    pub rejects: std::collections::BTreeMap<String, i64>,
    /// By reason: those that are kept no longer, because they were too old or too many.
    pub rejects_expired: std::collections::BTreeMap<String, RejectsExpired>,
    /// Rows.
    pub counts: RowCounts,
    /// The standing check of the like counts.
    pub drift: DriftStatus,
    /// Accounts that are not shown.
    pub accounts: AccountsStatus,
    /// Repos, as they are read from their PDSes.
    pub repos: ReposStatus,
}

/// The standing check of the like counts: a few tracks a minute are counted again.
#[derive(Debug, Serialize, ToSchema)]
pub struct DriftStatus {
    /// Tracks counted again so far.
    pub checked: i64,
    /// Counts that were wrong, and were corrected: none, where all is well.
    pub drifted: i64,
    /// When a track was last counted again.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub checked_at: Option<Timestamp>,
    /// When a count was last found wrong.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub drifted_at: Option<Timestamp>,
}

/// Accounts that are not shown.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccountsStatus {
    /// Actors that are hidden: deactivated, taken down, suspended or deleted; 10,000 where there are as many or more.
    pub hidden: i64,
    /// Accounts whose server is to be asked about them; likewise.
    pub checks: i64,
}

/// A process that indexes or would.
#[derive(Debug, Serialize, ToSchema)]
pub struct IndexerStatus {
    /// The name of its machine; on the admin listener alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its number there; likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<i32>,
    /// `leading`; `standby`; or `silent`, when it has given no sign of life for a quarter of a minute.
    pub state: String,
    /// Since when it has been the one that works.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub leading_since: Option<Timestamp>,
    /// Since when it runs.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// When it last gave a sign of life.
    #[schema(value_type = String, format = DateTime)]
    pub alive_at: Timestamp,
}

/// Rejects of one reason that are kept no longer.
#[derive(Debug, Serialize, ToSchema)]
pub struct RejectsExpired {
    /// How many there were, ever.
    pub count: i64,
    /// When the last ones went.
    #[schema(value_type = String, format = DateTime)]
    pub last_at: Timestamp,
}

/// Stretches of an upstream, or repos, of which the index may have missed something: those that are not closed.
#[derive(Debug, Serialize, ToSchema)]
pub struct GapStatus {
    /// How many; 10,000 where there are as many or more.
    pub open: i64,
    /// How many of them a repair has taken up.
    pub repairing: i64,
    /// When the first of them was noticed; null when there is none.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub oldest_at: Option<Timestamp>,
    /// How many of each reason: `too_old`, `clamped`, `future`, `reset`, `mismatch`, `host_change`, `sync`, `chain`, `proof`,
    /// `incomplete`.
    pub by_reason: std::collections::BTreeMap<String, i64>,
}

/// How many rows there are.
#[derive(Debug, Serialize, ToSchema)]
pub struct RowCounts {
    /// Actors ever seen.
    pub actors: i64,
    /// Tracks whose record is there.
    pub tracks: i64,
    /// Live like records.
    pub likes: i64,
    /// Live lists.
    pub lists: i64,
    /// False: there are so many that these are the database's estimates.
    pub exact: bool,
}

impl Status {
    /// Reads how it stands.
    pub async fn read(connection: &mut PgConnection, now: Timestamp) -> sqlx::Result<Self> {
        let sources = list_sources(connection).await?;
        let counts = count_rows(connection).await?;
        let gaps = gap_status(gaps::count_open(connection, COUNTED_MAX).await?);
        let rejects = count_rejects(connection, COUNTED_MAX).await?.into_iter().collect();
        let Upkeep { checked, drifted, checked_at, drifted_at, hidden, checks } =
            find_upkeep(connection, COUNTED_MAX).await?;
        let expired = list_expired_rejects(connection).await?;
        let indexers = list_indexers(connection).await?;
        Ok(Self {
            version: env!("CARGO_PKG_VERSION"),
            lag_s: least_lag_s(&sources, now),
            sources: sources.into_iter().map(|source| source_status(source, now)).collect(),
            gaps,
            indexers: indexers.into_iter().map(indexer_status).collect(),
            rejects,
            rejects_expired: expired
                .into_iter()
                .map(|expired| (expired.reason, RejectsExpired { count: expired.count, last_at: expired.last_at }))
                .collect(),
            counts: row_counts(&counts),
            drift: DriftStatus { checked, drifted, checked_at, drifted_at },
            accounts: AccountsStatus { hidden, checks },
            repos: read_repos_status(connection, COUNTED_MAX).await?,
        })
    }
}

fn gap_status(counts: Vec<OpenCount>) -> GapStatus {
    GapStatus {
        open: counts.iter().map(|count| count.count).sum(),
        repairing: counts.iter().map(|count| count.repairing).sum(),
        oldest_at: counts.iter().map(|count| count.oldest_at).min(),
        by_reason: counts.into_iter().map(|count| (count.reason, count.count)).collect(),
    }
}

fn indexer_status(indexer: IndexerView) -> IndexerStatus {
    let IndexerView { host, process, state, leading_since, started_at, alive_at } = indexer;
    IndexerStatus { host: Some(host), process: Some(process), state, leading_since, started_at, alive_at }
}

fn row_counts(counts: &Counts) -> RowCounts {
    let mut rows = RowCounts { actors: counts.actors.max(0), tracks: 0, likes: 0, lists: 0, exact: counts.exact };
    for (collection, count) in counts.records.iter() {
        let place = match collection {
            Collection::Like => &mut rows.likes,
            Collection::List => &mut rows.lists,
            Collection::Track => &mut rows.tracks,
            // An actor has one at most: the number of actors says enough.
            Collection::Profile => continue,
            // Told by the command alone.
            #[cfg(feature = "fifth-collection")]
            Collection::Comment => continue,
        };
        *place = (*count).max(0);
    }
    rows
}
