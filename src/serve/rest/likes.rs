//! Who likes a track, and what an actor likes.

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    shapes::{Artist, Liker, LikerPage, TrackPage, UserLikes},
    tracks::{TrackPath, track_page},
};
use crate::{
    serve::http::{
        app::App,
        credentials::Credentials,
        error::{ApiError, Detail},
        pagination::PageParams,
        params::ActorParam,
        query::{Path, Query},
        responses::{AnyoneErrors, CursorErrors, ParameterErrors, ServerErrors},
    },
    store::views::{
        Place,
        actors::{ActorName, find_actor},
        likes::{LikerView, count_liked, list_liked, list_likers},
        tracks::{find_like_count, load_tracks},
    },
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_track_likers)).routes(routes!(list_user_likes))
}

/// Who likes a track, newest first.
#[utoipa::path(get, path = "/tracks/{track_id}/likes", tag = "likes", params(TrackPath, PageParams), responses(
    (status = 200, body = LikerPage, description = "A page of those who like the track."),
    (status = 404, body = Detail, description = "No such track, or its record is gone or has not come yet."),
    CursorErrors, AnyoneErrors, ParameterErrors, ServerErrors
), security((), ("bearer" = []), ("session" = [])))]
async fn list_track_likers(
    State(app): State<App>,
    credentials: Credentials,
    Path(TrackPath { track_id }): Path<TrackPath>,
    Query(page): Query<PageParams>,
) -> Result<Json<LikerPage>, ApiError> {
    let id = track_id.0;
    let pager = page.open(&app.cursors, format!("likers {id}"))?;
    let mut transaction = app.read(&credentials).await?;
    if load_tracks(transaction.connection(), &[id], None).await?.is_empty() {
        return Err(ApiError::not_found("track"));
    }
    let likers = list_likers(transaction.connection(), id, &pager.wanted).await?;
    let place = |liker: &LikerView| Place { sort_at: liker.sort_at, key: liker.id.number() };
    let (likers, next_cursor) = pager.close_stretch(likers, place);
    let (users, next_cursor) = pager.fit(likers, next_cursor, place, Liker::from);
    let count = find_like_count(transaction.connection(), id).await?;
    Ok(Json(LikerPage { users, count, next_cursor }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct UserPath {
    /// A DID, also one never seen, or a handle in any case.
    #[param(inline)]
    handle_or_did: ActorParam,
}

/// What an actor likes, newest like first: the tracks whose record is there, each once. `count` is the number of those; of an actor with
/// more than a thousand like records it is the number of tracks that they name.
#[utoipa::path(get, path = "/users/{handle_or_did}/likes", tag = "likes", params(UserPath, PageParams), responses(
    (status = 200, body = UserLikes, description = "A page of what the actor likes."),
    (status = 404, body = Detail, description = "No account is known to have this handle."),
    CursorErrors, AnyoneErrors, ParameterErrors, ServerErrors
), security((), ("bearer" = []), ("session" = [])))]
async fn list_user_likes(
    State(app): State<App>,
    credentials: Credentials,
    Path(UserPath { handle_or_did }): Path<UserPath>,
    Query(page): Query<PageParams>,
) -> Result<Json<UserLikes>, ApiError> {
    let ActorParam(name) = handle_or_did;
    let pager = page.open(&app.cursors, format!("likes of {}", name.as_str()))?;
    let mut transaction = app.read(&credentials).await?;
    let Some(actor) = find_actor(transaction.connection(), &name).await? else {
        let ActorName::Did(did) = name else { return Err(ApiError::not_found("user")) };
        let user = Artist::unknown(&did);
        return Ok(Json(UserLikes { user, tracks: Vec::new(), count: 0, next_cursor: None }));
    };
    let keys = list_liked(transaction.connection(), actor.id, &[], &pager.wanted).await?;
    let page = track_page(&mut transaction, &pager, keys, |key| (key.track_id, key.place.clone())).await?;
    let TrackPage { tracks, next_cursor, .. } = page;
    let count = count_liked(transaction.connection(), actor.id).await?;
    Ok(Json(UserLikes { user: actor.into(), tracks, count, next_cursor }))
}
