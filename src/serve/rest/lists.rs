//! Lists: an actor's, one with its items, the viewer's liked one.

use std::collections::HashMap;

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    shapes::{ListCard, ListItem, ListPage, ListWithItems, Track},
    tracks::{UriQuery, tracks_of},
};
use crate::{
    atproto::{AtUri, Tid},
    model::Collection,
    model::TrackId,
    serve::{
        http::{
            app::App,
            credentials::Credentials,
            error::{ApiError, Detail},
            pagination::PageParams,
            params::{ActorParam, FreeText},
            query::Query,
            responses::{AnyoneErrors, CursorErrors, ParameterErrors, ServerErrors, ViewerErrors},
            transaction::ReadTransaction,
        },
        record_uris::{list_key, uri_of},
    },
    store::views::{
        Place,
        actors::find_actor,
        lists::{ListView, find_liked_list, find_list, list_items, list_lists},
    },
};

/// Items that a list can hold, by its lexicon.
const ITEMS_MAX: i64 = 500;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_actor_lists))
        .route("/lists/", axum::routing::get(list_actor_lists))
        .routes(routes!(show_list_by_uri))
        .routes(routes!(show_liked_list))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListsQuery {
    /// A DID, or a handle in any case.
    #[param(inline)]
    actor: ActorParam,
    /// Of this `listType` alone, such as `album`, `playlist` or `liked`.
    #[param(inline)]
    r#type: Option<FreeText>,
}

/// An actor's lists, newest first.
#[utoipa::path(get, path = "/lists", tag = "lists", params(ListsQuery, PageParams), responses(
    (status = 200, body = ListPage, description = "A page of lists."),
    CursorErrors, AnyoneErrors, ParameterErrors, ServerErrors
), security((), ("bearer" = []), ("session" = [])))]
async fn list_actor_lists(
    State(app): State<App>,
    credentials: Credentials,
    Query(ListsQuery { actor: ActorParam(actor), r#type }): Query<ListsQuery>,
    Query(page): Query<PageParams>,
) -> Result<Json<ListPage>, ApiError> {
    let list_type = r#type.as_ref().map(FreeText::as_str);
    let query = format!("lists {} {}", actor.as_str(), list_type.unwrap_or_default());
    let pager = page.open(&app.cursors, query)?;
    let mut transaction = app.read(&credentials).await?;
    let lists = match find_actor(transaction.connection(), &actor).await? {
        Some(actor) => list_lists(transaction.connection(), actor.id, list_type, &pager.wanted).await?,
        None => Vec::new(),
    };
    let (lists, next_cursor) = pager.close(lists, |last| Place { sort_at: last.sort_at, key: last.rkey.number() });
    let collections = &app.settings.collections;
    let card = |list: ListView| ListCard::new(&uri_of(collections, &list.did, Collection::List, list.rkey), list);
    Ok(Json(ListPage { lists: lists.into_iter().map(card).collect(), has_more: next_cursor.is_some(), next_cursor }))
}

/// A list by its URI, with all of its items.
#[utoipa::path(get, path = "/lists/by-uri", tag = "lists", params(UriQuery), responses(
    (status = 200, body = ListWithItems, description = "The list."),
    (status = 404, body = Detail, description = "No such list."),
    AnyoneErrors, ParameterErrors, ServerErrors
), security((), ("bearer" = []), ("session" = [])))]
async fn show_list_by_uri(
    State(app): State<App>,
    credentials: Credentials,
    Query(UriQuery { uri }): Query<UriQuery>,
) -> Result<Json<ListWithItems>, ApiError> {
    let mut transaction = app.read(&credentials).await?;
    let uri = transaction.resolve_uri(uri.uri).await?.ok_or_else(|| ApiError::not_found("list"))?;
    let rkey = list_key(&app.settings.collections, &uri).ok_or_else(|| ApiError::not_found("list"))?;
    show(&mut transaction, &uri, rkey).await
}

/// The viewer's liked list, as it is in the viewer's repo. Of several the one written last.
#[utoipa::path(get, path = "/lists/liked", tag = "lists", responses(
    (status = 200, body = ListWithItems, description = "The list."),
    (status = 404, body = Detail, description = "The viewer has no liked list."),
    ViewerErrors, ServerErrors
), security(("bearer" = []), ("session" = [])))]
async fn show_liked_list(State(app): State<App>, credentials: Credentials) -> Result<Json<ListWithItems>, ApiError> {
    let mut transaction = app.read(&credentials).await?;
    let viewer = transaction.require_viewer()?;
    let rkey = find_liked_list(transaction.connection(), viewer.actor_id).await?;
    let rkey = rkey.ok_or_else(|| ApiError::not_found("list"))?;
    let uri = uri_of(&app.settings.collections, &viewer.did, Collection::List, rkey);
    show(&mut transaction, &uri, rkey).await
}

async fn show(transaction: &mut ReadTransaction, uri: &AtUri, rkey: Tid) -> Result<Json<ListWithItems>, ApiError> {
    let list = find_list(transaction.connection(), &uri.did, rkey).await?.ok_or_else(|| ApiError::not_found("list"))?;
    let items = list_items(transaction.connection(), (&uri.did, rkey), 0, ITEMS_MAX).await?;
    let ids: Vec<TrackId> = items.iter().filter_map(|item| item.track_id).collect();
    let tracks = tracks_of(transaction, &ids).await?;
    let tracks: HashMap<TrackId, Track> = tracks.into_iter().map(|track| (track.id.into(), track)).collect();
    let items = items.into_iter().map(|item| {
        let track = item.track_id.and_then(|id| tracks.get(&id)).cloned();
        ListItem::new(item, track)
    });
    Ok(Json(ListWithItems { list: ListCard::new(uri, list), items: items.collect() }))
}
