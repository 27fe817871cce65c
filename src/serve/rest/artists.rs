//! Actors as cards.

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::shapes::Artist;
use crate::{
    serve::http::{
        app::App,
        credentials::Credentials,
        error::{ApiError, Detail},
        params::ActorParam,
        query::Path,
        responses::{AnyoneErrors, ParameterErrors, ServerErrors, ViewerErrors},
    },
    store::views::actors::{ActorName, find_actor},
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(show_me)).routes(routes!(show_artist))
}

/// The artist in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct ArtistPath {
    /// A DID, or a handle in any case.
    #[param(inline)]
    pub did: ActorParam,
}

/// An actor that the index knows.
#[utoipa::path(get, path = "/artists/{did}", tag = "artists", params(ArtistPath), responses(
    (status = 200, body = Artist, description = "The actor."),
    (status = 404, body = Detail, description = "Nothing has been seen of this actor."),
    AnyoneErrors, ParameterErrors, ServerErrors
), security((), ("bearer" = []), ("session" = [])))]
async fn show_artist(
    State(app): State<App>,
    credentials: Credentials,
    Path(ArtistPath { did }): Path<ArtistPath>,
) -> Result<Json<Artist>, ApiError> {
    let mut transaction = app.read(&credentials).await?;
    let actor = find_actor(transaction.connection(), &did.0).await?;
    actor.map(|actor| Json(actor.into())).ok_or_else(|| ApiError::not_found("artist"))
}

/// The viewer.
#[utoipa::path(get, path = "/artists/me", tag = "artists", responses(
    (status = 200, body = Artist, description = "The actor."),
    (status = 404, body = Detail, description = "The viewer's account is hidden: deactivated, taken down or deleted."),
    ViewerErrors, ServerErrors
), security(("bearer" = []), ("session" = [])))]
async fn show_me(State(app): State<App>, credentials: Credentials) -> Result<Json<Artist>, ApiError> {
    let mut transaction = app.read(&credentials).await?;
    let viewer = transaction.require_viewer()?;
    let actor = find_actor(transaction.connection(), &ActorName::Did(viewer.did)).await?;
    actor.map(|actor| Json(actor.into())).ok_or_else(|| ApiError::not_found("artist"))
}
