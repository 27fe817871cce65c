//! For machines that watch the program: alive, and ready to answer.

use axum::{Json, extract::State, response::Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::sources::least_lag_s;
use crate::{
    serve::http::{
        app::App,
        credentials::Credentials,
        error::{ApiError, Detail},
        observe::fresh,
    },
    store::{schema, views::operation::list_sources},
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(health)).routes(routes!(ready))
}

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

/// The program is alive. Asks nothing of the database.
#[utoipa::path(get, path = "/health", tag = "operation", responses((status = 200, body = Health, description = "Alive.")))]
async fn health() -> Response {
    fresh(Json(Health { status: "ok", version: env!("CARGO_PKG_VERSION") }))
}

/// The database answers, its schema is current, and the index is not further behind than the limit. An index to which no source
/// has delivered anything yet is ready: there is nothing yet that it could be behind.
#[utoipa::path(get, path = "/ready", tag = "operation", responses(
    (status = 200, body = Readiness, description = "Ready to answer."),
    (status = 503, body = Detail, description = "Not ready, and why.")
))]
async fn ready(State(app): State<App>) -> Result<Response, ApiError> {
    let mut transaction = app.read(&Credentials::None).await?;
    if !schema::is_current(transaction.connection()).await? {
        return Err(ApiError::unavailable("the schema of the database is not current", "migrations are missing"));
    }
    let sources = list_sources(transaction.connection()).await?;
    let lag_s = least_lag_s(&sources, app.now());
    if lag_s.is_some_and(|lag_s| lag_s > app.settings.lag_limit_s) {
        let cause = format_args!("{lag_s:?} s behind");
        return Err(ApiError::unavailable("the index is further behind than the limit", cause));
    }
    Ok(fresh(Json(Readiness { ready: true, lag_s })))
}
