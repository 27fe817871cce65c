//! What the viewer likes, in the viewer's own order or newest first.

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{shapes::TrackPage, tracks::track_page};
use crate::{
    model::{ActorId, TrackId},
    serve::http::{
        app::App,
        credentials::Credentials,
        cursor::CustomPlace,
        error::ApiError,
        pagination::PageParams,
        query::Query,
        responses::{CursorErrors, ParameterErrors, ServerErrors, ViewerErrors},
        transaction::ReadTransaction,
    },
    store::views::{
        Page, Place, Stretch,
        likes::{LikedKey, list_liked},
        lists::{find_liked_list, list_liked_items},
    },
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_own_likes))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct LikedQuery {
    /// `custom`: likes that the liked list does not name, newest first, and then the list's order. `recent`: newest like first.
    #[serde(default)]
    #[param(inline)]
    order: Order,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(default = "custom")]
enum Order {
    #[default]
    Custom,
    Recent,
}

/// What the viewer likes: in the order of the viewer's liked list with likes newer than it first, or newest first.
#[utoipa::path(get, path = "/tracks/liked", tag = "likes", params(LikedQuery, PageParams), responses(
    (status = 200, body = TrackPage, description = "A page of tracks."),
    CursorErrors, ViewerErrors, ParameterErrors, ServerErrors
), security(("bearer" = []), ("session" = [])))]
async fn list_own_likes(
    State(app): State<App>,
    credentials: Credentials,
    Query(LikedQuery { order }): Query<LikedQuery>,
    Query(page): Query<PageParams>,
) -> Result<Json<TrackPage>, ApiError> {
    let mut transaction = app.read(&credentials).await?;
    let viewer = transaction.require_viewer()?;
    let tracks = match order {
        Order::Recent => {
            let pager = page.open(&app.cursors, format!("liked recent {}", viewer.did))?;
            let keys = list_liked(transaction.connection(), viewer.actor_id, &[], &pager.wanted).await?;
            track_page(&mut transaction, &pager, keys, |key| (key.track_id, key.place.clone())).await?
        }
        Order::Custom => {
            let pager = page.open(&app.cursors, format!("liked custom {}", viewer.did))?;
            let keys = list_custom(&mut transaction, viewer.actor_id, &pager.wanted).await?;
            track_page(&mut transaction, &pager, keys, Clone::clone).await?
        }
    };
    Ok(Json(tracks))
}

/// Liked tracks in the owner's order: likes that the liked list does not name, newest first, and then the list's.
///
/// The last track shown is looked up where it stands now, so that a page goes on behind it also when the list has changed
/// in between; its old index serves when it is liked no more.
async fn list_custom(
    transaction: &mut ReadTransaction,
    actor_id: ActorId,
    page: &Page<CustomPlace>,
) -> Result<Stretch<(TrackId, CustomPlace), CustomPlace>, ApiError> {
    let listed = match find_liked_list(transaction.connection(), actor_id).await? {
        Some(list) => list_liked_items(transaction.connection(), actor_id, list).await?,
        None => Vec::new(),
    };
    let mut rows = Vec::new();
    let listed_from = match start(page.after.as_ref(), &listed) {
        Start::New(after) => {
            let page = Page { after, limit: page.limit };
            let new = list_liked(transaction.connection(), actor_id, &listed, &page).await?;
            let place = |LikedKey { track_id, place }| (track_id, CustomPlace::New { track_id, place });
            rows.extend(new.rows.into_iter().map(place));
            if new.rest.is_some() {
                return Ok(Stretch { rows, rest: new.rest.map(CustomPlace::Passed) });
            }
            0
        }
        Start::Listed(index) => index,
    };
    let listed = (0_i64..).zip(&listed).skip(listed_from);
    rows.extend(listed.map(|(index, track_id)| (*track_id, CustomPlace::Listed { track_id: *track_id, index })));
    rows.truncate(usize::try_from(page.limit).unwrap_or_default());
    Ok(rows.into())
}

/// Where a page starts.
enum Start {
    /// Among the likes that the list does not name: at the top, or behind this one.
    New(Option<Place<i64>>),
    /// At this index of the list.
    Listed(usize),
}

fn start(after: Option<&CustomPlace>, listed: &[TrackId]) -> Start {
    let Some(after) = after else { return Start::New(None) };
    let shown = match after {
        CustomPlace::New { track_id, .. } | CustomPlace::Listed { track_id, .. } => Some(track_id),
        CustomPlace::Passed(_) => None,
    };
    if let Some(index) = shown.and_then(|shown| listed.iter().position(|id| id == shown)) {
        return Start::Listed(index + 1);
    }
    match after {
        CustomPlace::New { place, .. } | CustomPlace::Passed(place) => Start::New(Some(place.clone())),
        CustomPlace::Listed { index, .. } => Start::Listed(usize::try_from(*index).unwrap_or_default()),
    }
}
