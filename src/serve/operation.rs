//! For operators and their machines: alive, ready, and how it stands.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    app::{App, Credentials},
    page::status_page,
    refusal::{Detail, Refusal},
    repos::{ReposStatus, read_repos_status},
};
use crate::{
    atproto::Timestamp,
    store::{
        gaps::{self, OpenCount},
        views::{
            indexers::{IndexerView, list_indexers},
            operation::{
                ScoreView, SourceView, Upkeep, count_rejects, count_rows, find_upkeep, is_schema_current,
                list_expired_rejects, list_sources,
            },
        },
    },
};

/// Alive.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// Always `ok`.
    pub status: &'static str,
    /// Of the program.
    pub version: &'static str,
}

/// Ready to answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    /// Always true: what is not ready answers 503.
    pub ready: bool,
    /// How far the index is behind, in seconds; null while no source has delivered anything yet, which does not hinder.
    pub lag_s: Option<f64>,
}

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
    /// By reason.
    pub rejects: std::collections::BTreeMap<String, i64>,
    /// By reason: those that were let go because they were too old or too many.
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
    /// Actors that are hidden: deactivated, taken down, suspended or deleted.
    pub hidden: i64,
    /// Accounts whose server is to be asked about them.
    pub checks: i64,
}

/// A process that indexes or would.
#[derive(Debug, Serialize, ToSchema)]
pub struct IndexerStatus {
    /// The name of its machine.
    pub host: String,
    /// Its number there.
    pub process: i32,
    /// `working`; `standing_by`; or `silent`, when it has given no sign of life for a quarter of a minute.
    pub state: String,
    /// Since when it has been the one that works.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub working_since: Option<Timestamp>,
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

/// One source.
#[derive(Debug, Serialize, ToSchema)]
pub struct SourceStatus {
    /// Its name.
    pub source: String,
    /// `starting`, `connected`, `waiting`, `refused`, or `paused` for a standby and for an incomplete one; `incomplete` while
    /// it is connected and does not deliver what others do; `silent` when whoever follows it has given no sign of life for half a
    /// minute; null when it never told.
    pub state: Option<String>,
    /// Why it waits or was refused.
    pub reason: Option<String>,
    /// Since when it has been in that state.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub changed_at: Option<Timestamp>,
    /// The number space of the position.
    pub kind: Option<String>,
    /// The number of the last message applied.
    pub position: Option<i64>,
    /// Seconds between an upstream's event and the index: while connected, as it was when the last one was applied; else until
    /// now. Null while nothing has been applied.
    pub lag_s: Option<f64>,
    /// When the upstream saw the last message applied.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub event_at: Option<Timestamp>,
    /// When the upstream saw the last message of our collections.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ours_at: Option<Timestamp>,
    /// How it does beside the other sources, since the index started; null where it has not been compared.
    pub score: Option<SourceScore>,
}

/// How a source does beside the others. Compared is what was written while both were connected and had caught up.
#[derive(Debug, Serialize, ToSchema)]
pub struct SourceScore {
    /// Compared commits that it delivered in time.
    pub delivered: i64,
    /// Compared commits that it did not deliver in time.
    pub missed: i64,
    /// Of the missed those that came later.
    pub late: i64,
    /// While it is incomplete: since when.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub incomplete_since: Option<Timestamp>,
    /// While it is incomplete: in which collections, without their namespace.
    pub incomplete_in: Vec<String>,
}

impl From<ScoreView> for SourceScore {
    fn from(view: ScoreView) -> Self {
        Self {
            delivered: view.delivered,
            missed: view.missed,
            late: view.late,
            incomplete_since: view.incomplete_since,
            incomplete_in: view.incomplete_in,
        }
    }
}

/// Stretches of an upstream, or repos, of which the index may have missed something: those that are not closed.
#[derive(Debug, Serialize, ToSchema)]
pub struct GapStatus {
    /// How many.
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

/// The program is alive. Asks nothing of the database.
#[utoipa::path(get, path = "/health", tag = "operation", responses((status = 200, body = Health)))]
pub async fn health() -> Response {
    fresh(Json(Health { status: "ok", version: env!("CARGO_PKG_VERSION") }))
}

/// The database answers, its schema is current, and the index is not further behind than the limit. An index to which no source
/// has delivered anything yet is ready: it knows of nothing that it is behind.
#[utoipa::path(get, path = "/ready", tag = "operation", responses(
    (status = 200, body = Readiness),
    (status = 503, body = Detail, description = "Not ready, and why."),
))]
pub async fn ready(State(app): State<App>) -> Result<Response, Refusal> {
    let mut reading = app.read(&Credentials::None).await?;
    if !is_schema_current(reading.database()).await? {
        return Err(Refusal::unavailable("the schema of the database is not current", "migrations are missing"));
    }
    let sources = list_sources(reading.database()).await?;
    let lag_s = least_lag_s(&sources, app.now());
    if lag_s.is_some_and(|lag_s| lag_s > app.settings.lag_limit_s) {
        let cause = format_args!("{lag_s:?} s behind");
        return Err(Refusal::unavailable("the index is further behind than the limit", cause));
    }
    Ok(fresh(Json(Readiness { ready: true, lag_s })))
}

/// Sources, lag, indexers, gaps, rejects and counts, as JSON or, for a browser, as a page.
#[utoipa::path(get, path = "/status", tag = "operation", responses(
    (status = 200, content((Status = "application/json"), (String = "text/html"))),
    (status = 503, body = Detail, description = "The database does not answer."),
))]
pub async fn status(State(app): State<App>, headers: HeaderMap) -> Result<Response, Refusal> {
    let mut reading = app.read(&Credentials::None).await?;
    let now = app.now();
    let sources = list_sources(reading.database()).await?;
    let counts = count_rows(reading.database()).await?;
    let gaps = gap_status(gaps::count_open(reading.database()).await?);
    let rejects = count_rejects(reading.database()).await?.into_iter().collect();
    let Upkeep { checked, drifted, checked_at, drifted_at, hidden, checks } = find_upkeep(reading.database()).await?;
    let expired = list_expired_rejects(reading.database()).await?;
    let indexers = list_indexers(reading.database()).await?;
    let status = Status {
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
        counts: RowCounts {
            actors: counts.actors.max(0),
            tracks: counts.tracks.max(0),
            likes: counts.likes.max(0),
            lists: counts.lists.max(0),
            exact: counts.exact,
        },
        drift: DriftStatus { checked, drifted, checked_at, drifted_at },
        accounts: AccountsStatus { hidden, checks },
        repos: read_repos_status(reading.database()).await?,
    };
    let mut response =
        if prefers_html(&headers) { fresh(Html(status_page(&status, now))) } else { fresh(Json(status)) };
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// Seconds between an upstream's event and the index.
///
/// A connected source that is quiet has nothing that we lack: its lag is what it was when its last event was applied. One
/// that is not connected, or whose follower is silent, may have anything: its lag grows. So does that of an incomplete one, from the
/// last message of our collections on, whatever else it delivers.
fn lag_s(source: &SourceView, now: Timestamp) -> Option<f64> {
    if let Some(incomplete_since) = source.incomplete_since() {
        let seen_at = source.ours_at.map_or(incomplete_since, |ours_at| ours_at.min(incomplete_since));
        return Some(now.utc().signed_duration_since(seen_at.utc()).as_seconds_f64().max(0.0));
    }
    let (event_at, updated_at) = (source.event_at?, source.updated_at?);
    let until = if source.state_at(now) == Some("connected") { updated_at } else { now };
    let lag = until.utc().signed_duration_since(event_at.utc());
    Some(lag.as_seconds_f64().max(0.0))
}

/// What one source delivers the index has: the least lag counts.
fn least_lag_s(sources: &[SourceView], now: Timestamp) -> Option<f64> {
    sources.iter().filter_map(|source| lag_s(source, now)).min_by(f64::total_cmp)
}

fn source_status(source: SourceView, now: Timestamp) -> SourceStatus {
    SourceStatus {
        lag_s: lag_s(&source, now),
        state: source.state_at(now).map(str::to_owned),
        source: source.source,
        reason: source.reason,
        changed_at: source.changed_at,
        kind: source.kind,
        position: source.position,
        event_at: source.event_at,
        ours_at: source.ours_at,
        score: source.score.map(SourceScore::from),
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
    let IndexerView { host, process, state, working_since, started_at, alive_at } = indexer;
    IndexerStatus { host, process, state, working_since, started_at, alive_at }
}

/// An answer that nobody may keep.
fn fresh(answer: impl IntoResponse) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], answer).into_response()
}

/// Whether HTML comes before JSON in what the client accepts. Whoever accepts anything gets JSON.
fn prefers_html(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match (accept.find("text/html"), accept.find("application/json")) {
        (Some(html), Some(json)) => html < json,
        (html, _) => html.is_some(),
    }
}

/// The answer to paths that nothing is at.
pub async fn refuse_path() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "NotFound", "nothing is at this path")
}

/// The answer to methods that a path does not take.
pub async fn refuse_method() -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "InvalidRequest", "this path does not take this method")
}
