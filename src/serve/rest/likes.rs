//! Who likes what: likers of a track, likes of an actor, the viewer's own, and many questions at once.

use std::{collections::HashSet, fmt::Write};

use axum::{
    Json,
    body::Bytes,
    extract::{
        Path, State,
        rejection::{BytesRejection, PathRejection},
    },
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    shapes::{Artist, Liker, LikerPage, TrackPage, UserLikes},
    tracks::{track_id, tracks_of},
};
use crate::serve::http::{
    app::App,
    connections::Connection,
    credentials::Credentials,
    cursor::CustomPlace,
    error::{ApiError, Detail},
    pagination::split_page,
    params::{Parameters, actor_name},
    transaction::ReadTransaction,
};
use crate::store::views::{
    Page, Place,
    actors::{ActorName, find_actor},
    likes::{LikedKey, count_liked, find_liked, list_liked, list_likers},
    lists::{find_liked_list, list_liked_items},
    tracks::{find_like_count, load_tracks},
};

/// Track ids in one question at most.
const BATCH_MAX: usize = 500;

/// Many tracks at once.
#[derive(Debug, Deserialize, ToSchema)]
pub struct BatchQuestion {
    /// At most 500; repeats are answered once.
    #[schema(max_items = 500)]
    pub track_ids: Vec<i64>,
}

/// Which of these tracks the viewer likes: every id asked for, in that order; ids that no track has are false.
#[utoipa::path(post, path = "/tracks/likes/batch", tag = "likes", request_body = BatchQuestion, responses(
    (status = 200, body = std::collections::BTreeMap<String, bool>, description = "For example `{\"1\":true,\"2\":false}`."),
    (status = 400, body = Detail, description = "The body is not JSON."),
    (status = 401, body = Detail, description = "No token, or one that is not valid."),
    (status = 413, body = Detail, description = "The body is above 64 KB."),
    (status = 422, body = Detail, description = "`track_ids` is missing, above 500, or holds what is no number of 64 bits."),
), security(("bearer" = []), ("session" = [])))]
pub async fn answer_batch(
    State(app): State<App>,
    credentials: Credentials,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let hash = credentials.require_hash()?;
    let BatchQuestion { track_ids } = read_json(body)?;
    if track_ids.len() > BATCH_MAX {
        return Err(ApiError::parameter("track_ids", format_args!("at most {BATCH_MAX}, not {}", track_ids.len())));
    }
    let now = app.now();
    let ids = track_ids.as_slice();
    let ask = |mut connection: Connection| async move {
        let liked = find_liked(&mut connection, hash, now, ids).await;
        (connection, liked)
    };
    let liked = app.warm.ask(ask).await?;
    let mut liked = liked.ok_or_else(ApiError::bad_token)?;
    liked.sort_unstable();
    let json = [(header::CONTENT_TYPE, "application/json")];
    Ok((json, batch_answer(&track_ids, &liked)).into_response())
}

/// The ids asked for as an object, in the order of their first mention. `liked` is sorted.
fn batch_answer(track_ids: &[i64], liked: &[i64]) -> String {
    let mut answer = String::with_capacity(2 + 16 * track_ids.len());
    let mut seen = HashSet::with_capacity(track_ids.len());
    answer.push('{');
    for id in track_ids {
        if !seen.insert(id) {
            continue;
        }
        let comma = if answer.len() > 1 { "," } else { "" };
        write!(answer, "{comma}\"{id}\":{}", liked.binary_search(id).is_ok())
            .expect("a string takes all that is written to it");
    }
    answer.push('}');
    answer
}

/// Reads a JSON body: 413 above the limit, 400 when it is not JSON, 422 naming the field when it is not what was asked for.
fn read_json<T: for<'de> Deserialize<'de>>(body: Result<Bytes, BytesRejection>) -> Result<T, ApiError> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLarge", "the body is above 64 KB")
        }
        _ => ApiError::new(StatusCode::BAD_REQUEST, "InvalidRequest", "the body broke off"),
    })?;
    serde_json::from_slice(&body).map_err(|why| {
        if why.is_data() {
            return ApiError::parameter("track_ids", format_args!("must be a list of whole numbers of 64 bits: {why}"));
        }
        ApiError::new(StatusCode::BAD_REQUEST, "InvalidRequest", format!("the body is not JSON: {why}"))
    })
}

/// Who likes a track, newest first.
#[utoipa::path(get, path = "/tracks/{track_id}/likes", tag = "likes", params(
    ("track_id" = i64, Path, description = "The track's number."),
    ("limit" = Option<i64>, Query, minimum = 1, maximum = 100, description = "Actors on a page, 50 unless given."),
    ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
), responses(
    (status = 200, body = LikerPage),
    (status = 400, body = Detail, description = "The cursor is not one that was given for this query."),
    (status = 401, body = Detail, description = "A token was given and is not valid."),
    (status = 404, body = Detail, description = "No such track, or its record is gone or has not come yet."),
    (status = 422, body = Detail, description = "A parameter breaks its rule."),
))]
pub async fn list_track_likers(
    State(app): State<App>,
    credentials: Credentials,
    path: Result<Path<i64>, PathRejection>,
    parameters: Parameters,
) -> Result<Json<LikerPage>, ApiError> {
    let id = track_id(path)?;
    let query = format!("likers {id}");
    let page = parameters.page(&app.cursors, &query)?;
    let mut transaction = app.read(&credentials).await?;
    if load_tracks(transaction.connection(), &[id], None).await?.is_empty() {
        return Err(ApiError::not_found("track"));
    }
    let (likers, last) = split_page(list_likers(transaction.connection(), id, &page).await?, page.limit);
    let count = find_like_count(transaction.connection(), id).await?;
    let next_cursor = last.map(|last| {
        let key = (last.did.to_string(), last.rkey.number());
        app.cursors.seal(&query, &Place { sort_at: last.sort_at, key })
    });
    Ok(Json(LikerPage { users: likers.into_iter().map(Liker::from).collect(), count, next_cursor }))
}

/// What an actor likes, newest like first: the tracks whose record is there, each once. `count` is the number of those.
#[utoipa::path(get, path = "/users/{handle_or_did}/likes", tag = "likes", params(
    ("handle_or_did" = String, Path, description = "A DID, also one never seen, or a handle in any case."),
    ("limit" = Option<i64>, Query, minimum = 1, maximum = 100, description = "Tracks on a page, 50 unless given."),
    ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
), responses(
    (status = 200, body = UserLikes),
    (status = 400, body = Detail, description = "The cursor is not one that was given for this query."),
    (status = 401, body = Detail, description = "A token was given and is not valid."),
    (status = 404, body = Detail, description = "Nobody is known to have this handle."),
    (status = 422, body = Detail, description = "A parameter breaks its rule."),
))]
pub async fn list_user_likes(
    State(app): State<App>,
    credentials: Credentials,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Json<UserLikes>, ApiError> {
    let name = actor_name(&name).map_err(|why| ApiError::parameter("handle_or_did", why))?;
    let query = format!("likes of {}", name.as_str());
    let page = parameters.page(&app.cursors, &query)?;
    let mut transaction = app.read(&credentials).await?;
    let Some(actor) = find_actor(transaction.connection(), &name).await? else {
        let ActorName::Did(did) = name else { return Err(ApiError::not_found("user")) };
        let user = Artist::unknown(&did);
        return Ok(Json(UserLikes { user, tracks: Vec::new(), count: 0, next_cursor: None }));
    };
    let (keys, last) = split_page(list_liked(transaction.connection(), actor.id, &[], &page).await?, page.limit);
    let count = count_liked(transaction.connection(), actor.id).await?;
    let tracks = tracks_of(&mut transaction, &track_ids(&keys)).await?;
    let next_cursor = last.map(|last| app.cursors.seal(&query, &last.place));
    Ok(Json(UserLikes { user: actor.into(), tracks, count, next_cursor }))
}

/// What the viewer likes: by `order` in the order of the viewer's liked list with likes newer than it first, or newest first.
#[utoipa::path(get, path = "/tracks/liked", tag = "likes", params(
    ("order" = Option<String>, Query, description = "`custom` (unless given): likes that the liked list does not name, newest \
        first, and then the list's order. `recent`: newest like first."),
    ("limit" = Option<i64>, Query, minimum = 1, maximum = 100, description = "Tracks on a page, 50 unless given."),
    ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
), responses(
    (status = 200, body = TrackPage),
    (status = 400, body = Detail, description = "The cursor is not one that was given for this query."),
    (status = 401, body = Detail, description = "No token, or one that is not valid."),
    (status = 422, body = Detail, description = "A parameter breaks its rule."),
), security(("bearer" = []), ("session" = [])))]
pub async fn list_own_likes(
    State(app): State<App>,
    credentials: Credentials,
    parameters: Parameters,
) -> Result<Json<TrackPage>, ApiError> {
    let order = parameters.one("order").unwrap_or("custom");
    let mut transaction = app.read(&credentials).await?;
    let viewer = transaction.require_viewer()?;
    let query = format!("liked {order} {}", viewer.did);
    let (ids, next_cursor) = match order {
        "recent" => {
            let page = parameters.page(&app.cursors, &query)?;
            let keys = list_liked(transaction.connection(), viewer.actor_id, &[], &page).await?;
            let (keys, last) = split_page(keys, page.limit);
            (track_ids(&keys), last.map(|last| app.cursors.seal(&query, &last.place)))
        }
        "custom" => {
            let page = parameters.page(&app.cursors, &query)?;
            let keys = list_custom(&mut transaction, viewer.actor_id, &page).await?;
            let (keys, last) = split_page(keys, page.limit);
            (keys.iter().map(custom_track).collect(), last.map(|last| app.cursors.seal(&query, &last)))
        }
        _ => return Err(ApiError::parameter("order", "must be custom or recent")),
    };
    let tracks = tracks_of(&mut transaction, &ids).await?;
    Ok(Json(TrackPage { tracks, has_more: next_cursor.is_some(), next_cursor }))
}

fn track_ids(keys: &[LikedKey]) -> Vec<i64> {
    keys.iter().map(|key| key.track_id).collect()
}

fn custom_track(place: &CustomPlace) -> i64 {
    match place {
        CustomPlace::New { track_id, .. } | CustomPlace::Listed { track_id, .. } => *track_id,
    }
}

/// Liked tracks in the owner's order: likes that the liked list does not name, newest first, and then the list's.
///
/// The last track shown is looked up where it stands now, so that a page goes on behind it also when the list has changed
/// in between; its old index serves when it is liked no more.
async fn list_custom(
    transaction: &mut ReadTransaction,
    actor_id: i64,
    page: &Page<CustomPlace>,
) -> Result<Vec<CustomPlace>, ApiError> {
    let listed = match find_liked_list(transaction.connection(), actor_id).await? {
        Some(list) => list_liked_items(transaction.connection(), actor_id, list).await?,
        None => Vec::new(),
    };
    let place_now = page.after.as_ref().and_then(|after| listed.iter().position(|id| *id == custom_track(after)));
    let (new_after, listed_from) = match (&page.after, place_now) {
        (None, _) => (Some(None), 0),
        (Some(_), Some(index)) => (None, index + 1),
        (Some(CustomPlace::New { place, .. }), None) => (Some(Some(place.clone())), 0),
        (Some(CustomPlace::Listed { index, .. }), None) => (None, usize::try_from(*index).unwrap_or_default()),
    };
    let mut places = Vec::new();
    if let Some(after) = new_after {
        let page = Page { after, limit: page.limit };
        let keys = list_liked(transaction.connection(), actor_id, &listed, &page).await?;
        places.extend(keys.into_iter().map(|key| CustomPlace::New { track_id: key.track_id, place: key.place }));
    }
    let listed = (0_i64..).zip(&listed).skip(listed_from);
    places.extend(listed.map(|(index, track_id)| CustomPlace::Listed { track_id: *track_id, index }));
    places.truncate(usize::try_from(page.limit).unwrap_or_default());
    Ok(places)
}
