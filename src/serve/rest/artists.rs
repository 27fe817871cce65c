//! Actors as cards.

use axum::{
    Json,
    extract::{Path, State},
};

use super::shapes::Artist;
use crate::serve::http::{
    app::App,
    credentials::Credentials,
    error::{ApiError, Detail},
    params::actor_name,
};
use crate::store::views::actors::{ActorName, find_actor};

/// An actor that the index knows.
#[utoipa::path(get, path = "/artists/{did}", tag = "artists", params(
    ("did" = String, Path, description = "A DID, or a handle in any case."),
), responses(
    (status = 200, body = Artist),
    (status = 401, body = Detail, description = "A token was given and is not valid."),
    (status = 404, body = Detail, description = "Nothing has been seen of this actor."),
    (status = 422, body = Detail, description = "Neither a DID nor a handle."),
))]
pub async fn show_artist(
    State(app): State<App>,
    credentials: Credentials,
    Path(name): Path<String>,
) -> Result<Json<Artist>, ApiError> {
    let name = actor_name(&name).map_err(|why| ApiError::parameter("did", why))?;
    let mut transaction = app.read(&credentials).await?;
    let actor = find_actor(transaction.connection(), &name).await?;
    actor.map(|actor| Json(actor.into())).ok_or_else(|| ApiError::not_found("artist"))
}

/// The viewer.
#[utoipa::path(get, path = "/artists/me", tag = "artists", responses(
    (status = 200, body = Artist),
    (status = 401, body = Detail, description = "No token, or one that is not valid."),
    (status = 404, body = Detail, description = "The viewer's account is hidden: deactivated, taken down or deleted."),
), security(("bearer" = []), ("session" = [])))]
pub async fn show_me(State(app): State<App>, credentials: Credentials) -> Result<Json<Artist>, ApiError> {
    let mut transaction = app.read(&credentials).await?;
    let viewer = transaction.require_viewer()?;
    let actor = find_actor(transaction.connection(), &ActorName::Did(viewer.did)).await?;
    actor.map(|actor| Json(actor.into())).ok_or_else(|| ApiError::not_found("artist"))
}
