//! How it stands, for a browser as a page and for a program as JSON.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension, Json, Router,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::Response,
    routing::get,
};
use sqlx::PgPool;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::html::{self, or_dash, page, seconds, table};
use crate::{
    atproto::Timestamp,
    clock::Clock,
    serve::{
        http::{
            app::App, credentials::Credentials, error::ApiError, observe::fresh, recent::Recent,
            responses::ServerErrors, settings::STATUS_AGE_MAX,
        },
        operation::{
            public::without_names,
            repos::{RepoDrift, ReposStatus},
            status::{RejectsExpired, Status},
        },
    },
};

/// The report of the last second, or why it could not be made.
type RecentStatus = Recent<Result<Arc<Status>, ApiError>>;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(status)).layer(Extension(RecentStatus::default()))
}

/// Sources, lag, indexers, gaps, rejects and counts, as JSON or, for a browser, as a page: as of the last second.
#[utoipa::path(get, path = "/status", tag = "operation", responses(
    (status = 200, description = "How it stands.", content((Status = "application/json"), (String = "text/html"))),
    ServerErrors
))]
async fn status(
    State(app): State<App>,
    Extension(recent): Extension<RecentStatus>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let make = async {
        let mut transaction = app.read(&Credentials::None).await?;
        let status = Status::read(transaction.connection(), app.now()).await?;
        Ok(Arc::new(without_names(status)))
    };
    let status = recent.get(app.settings.status_age_max, make).await?;
    Ok(shown(&status, app.now(), &headers))
}

/// The same with names, for the admin listener.
pub fn operator_routes(pool: PgPool, clock: Clock) -> Router {
    let recent = RecentStatus::default();
    let report = async move |headers: HeaderMap| {
        let make = async { Ok(Arc::new(read_status(&pool, clock.now()).await?)) };
        recent.get(STATUS_AGE_MAX, make).await.map(|status| shown(&status, clock.now(), &headers))
    };
    Router::new().route("/status", get(report))
}

/// Reads how it stands, at one moment.
async fn read_status(pool: &PgPool, now: Timestamp) -> sqlx::Result<Status> {
    let mut transaction = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
    Status::read(&mut transaction, now).await
}

fn shown(status: &Status, now: Timestamp, headers: &HeaderMap) -> Response {
    let mut response =
        if prefers_html(headers) { fresh(html::answer(status_page(status, now))) } else { fresh(Json(status)) };
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// Whether HTML comes before JSON in what the client accepts. A client that accepts anything gets JSON.
fn prefers_html(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match (accept.find("text/html"), accept.find("application/json")) {
        (Some(html), Some(json)) => html < json,
        (html, _) => html.is_some(),
    }
}

/// How many there are of each reason, and since when.
fn by_reason(what: &str, counts: &BTreeMap<String, i64>, oldest_at: Option<Timestamp>) -> String {
    if counts.is_empty() {
        return "<p>None.</p>".to_owned();
    }
    let since = oldest_at.map(|at| format!("<p>The oldest was noticed at {at}.</p>")).unwrap_or_default();
    since + &table(&["reason", what], counts.iter().map(|(reason, count)| vec![reason.clone(), count.to_string()]))
}

/// How many repos have been read, and what was in them otherwise than in the index.
fn repos(status: &ReposStatus) -> String {
    let oldest =
        status.oldest_at.map(|at| format!(" The one not read for the longest was read at {at}.")).unwrap_or_default();
    let counts =
        format!("<p>{} read, {} to be read, {} failed.{oldest}</p>", status.done, status.pending, status.failed);
    if status.drift.is_empty() {
        return counts;
    }
    let row = |found: &RepoDrift| {
        let RepoDrift { cause, kind, host, count, last_at } = found;
        vec![cause.clone(), kind.clone(), or_dash(host.as_ref()), count.to_string(), last_at.to_string()]
    };
    counts + &table(&["read for", "difference", "host", "count", "last at"], status.drift.iter().map(row))
}

/// How it stands, for a person.
fn status_page(status: &Status, now: Timestamp) -> String {
    let lag = match status.lag_s {
        Some(lag_s) => format!("{lag_s:.1} s behind."),
        None => "No source has delivered anything yet.".to_owned(),
    };
    let sources = status.sources.iter().map(|source| {
        let state = source.state.as_deref().unwrap_or("–").to_owned();
        let state = match source.score.as_ref().filter(|score| score.incomplete_since.is_some()) {
            Some(score) => {
                format!("{state}: incomplete in {}, {} missed", score.incomplete_in.join(", "), score.missed)
            }
            None => state,
        };
        let state = source.reason.as_ref().map_or(state.clone(), |reason| format!("{state}: {reason}"));
        let position = format!("{} {}", or_dash(source.position), source.kind.as_deref().unwrap_or_default());
        vec![
            source.source.clone(),
            state,
            position,
            seconds(source.lag_s),
            or_dash(source.event_at),
            or_dash(source.ours_at),
        ]
    });
    let indexers = status.indexers.iter().map(|indexer| {
        vec![
            format!("{} {}", or_dash(indexer.host.as_ref()), or_dash(indexer.process)),
            indexer.state.replace('_', " "),
            or_dash(indexer.leading_since),
            indexer.alive_at.to_string(),
        ]
    });
    let counts = &status.counts;
    let rows = [("actors", counts.actors), ("tracks", counts.tracks), ("likes", counts.likes), ("lists", counts.lists)];
    let body = format!(
        "<p>Version {}, at {now}. {lag}</p><h2>Sources</h2>{}<h2>Indexers</h2>{}<h2>Index</h2><p>{}</p>{}<p>{} like counts checked,\
         {} were wrong. {} accounts hidden, {} to be asked about.</p>\
         <h2>Open gaps</h2>{}<h2>Repos</h2>{}<h2>Rejects</h2>{}{}",
        status.version,
        table(&["source", "state", "position", "lag", "last event", "last of ours"], sources),
        table(&["process", "state", "leading since", "alive at"], indexers),
        if counts.exact { "Counted." } else { "Estimated by the database." },
        table(&["what", "rows"], rows.map(|(name, count)| vec![name.to_owned(), count.to_string()])),
        status.drift.checked,
        status.drift.drifted,
        status.accounts.hidden,
        status.accounts.checks,
        by_reason("gaps", &status.gaps.by_reason, status.gaps.oldest_at),
        repos(&status.repos),
        by_reason("rejects", &status.rejects, None),
        if status.rejects_expired.is_empty() {
            String::new()
        } else {
            let row = |(reason, expired): (&String, &RejectsExpired)| {
                vec![reason.clone(), expired.count.to_string(), expired.last_at.to_string()]
            };
            table(&["reason", "kept no longer", "last at"], status.rejects_expired.iter().map(row))
        },
    );
    page("plyr-likes: status", &body)
}
