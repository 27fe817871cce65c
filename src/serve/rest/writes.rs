//! Requests that would write to the viewer's repo. No session that may write can be made yet: a program's token only reads.

use axum::{extract::State, http::StatusCode};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::tracks::TrackPath;
use crate::serve::http::{
    app::App,
    credentials::Credentials,
    error::{ApiError, Detail},
    responses::{ServerErrors, ViewerErrors},
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(like, unlike)).routes(routes!(reorder)).routes(routes!(prefer))
}

/// Likes a track. Not possible yet.
#[utoipa::path(post, path = "/tracks/{track_id}/like", tag = "writing", params(TrackPath), responses(
    (status = 403, body = Detail, description = "The token may only read."),
    (status = 501, body = Detail, description = "Writing is not there yet."),
    ViewerErrors, ServerErrors
), security(("bearer" = []), ("session" = [])))]
async fn like(State(app): State<App>, credentials: Credentials) -> ApiError {
    refuse(&app, &credentials).await
}

/// Takes a like back. Not possible yet.
#[utoipa::path(delete, path = "/tracks/{track_id}/like", tag = "writing", params(TrackPath), responses(
    (status = 403, body = Detail, description = "The token may only read."),
    (status = 501, body = Detail, description = "Writing is not there yet."),
    ViewerErrors, ServerErrors
), security(("bearer" = []), ("session" = [])))]
async fn unlike(State(app): State<App>, credentials: Credentials) -> ApiError {
    refuse(&app, &credentials).await
}

/// Puts the viewer's liked list into another order. Not possible yet.
#[utoipa::path(put, path = "/lists/liked/reorder", tag = "writing", responses(
    (status = 403, body = Detail, description = "The token may only read."),
    (status = 501, body = Detail, description = "Writing is not there yet."),
    ViewerErrors, ServerErrors
), security(("bearer" = []), ("session" = [])))]
async fn reorder(State(app): State<App>, credentials: Credentials) -> ApiError {
    refuse(&app, &credentials).await
}

/// Changes the viewer's preferences. Not possible yet.
#[utoipa::path(post, path = "/preferences/", tag = "writing", responses(
    (status = 403, body = Detail, description = "The token may only read."),
    (status = 501, body = Detail, description = "Writing is not there yet."),
    ViewerErrors, ServerErrors
), security(("bearer" = []), ("session" = [])))]
async fn prefer(State(app): State<App>, credentials: Credentials) -> ApiError {
    refuse(&app, &credentials).await
}

async fn refuse(app: &App, credentials: &Credentials) -> ApiError {
    let viewer = match app.read(credentials).await.and_then(|transaction| transaction.require_viewer()) {
        Ok(viewer) => viewer,
        Err(error) => return error,
    };
    if viewer.may_write {
        return ApiError::new(StatusCode::NOT_IMPLEMENTED, "MethodNotImplemented", "writing is not there yet");
    }
    ApiError::new(StatusCode::FORBIDDEN, "Forbidden", "this token may only read")
}
