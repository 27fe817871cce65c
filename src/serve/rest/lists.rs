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
            budget::Budget,
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
/// Items whose tracks are read together.
const ITEMS_AT_ONCE: usize = 100;

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

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ItemsQuery {
    /// What the answer before gave to ask for this one.
    #[param(max_length = 8192)]
    cursor: Option<String>,
}

/// A list by its URI, with its items.
#[utoipa::path(get, path = "/lists/by-uri", tag = "lists", params(UriQuery, ItemsQuery), responses(
    (status = 200, body = ListWithItems, description = "The list."),
    (status = 404, body = Detail, description = "No such list."),
    CursorErrors, AnyoneErrors, ParameterErrors, ServerErrors
), security((), ("bearer" = []), ("session" = [])))]
async fn show_list_by_uri(
    State(app): State<App>,
    credentials: Credentials,
    Query(UriQuery { uri }): Query<UriQuery>,
    Query(ItemsQuery { cursor }): Query<ItemsQuery>,
) -> Result<Json<ListWithItems>, ApiError> {
    let mut transaction = app.read(&credentials).await?;
    let uri = transaction.resolve_uri(uri.uri).await?.ok_or_else(|| ApiError::not_found("list"))?;
    let rkey = list_key(&app.settings.collections, &uri).ok_or_else(|| ApiError::not_found("list"))?;
    show(&app, &mut transaction, ListKey { uri: &uri, rkey }, cursor).await
}

/// The viewer's liked list, as it is in the viewer's repo. Of several the one written last.
#[utoipa::path(get, path = "/lists/liked", tag = "lists", params(ItemsQuery), responses(
    (status = 200, body = ListWithItems, description = "The list."),
    (status = 404, body = Detail, description = "The viewer has no liked list."),
    CursorErrors, ViewerErrors, ParameterErrors, ServerErrors
), security(("bearer" = []), ("session" = [])))]
async fn show_liked_list(
    State(app): State<App>,
    credentials: Credentials,
    Query(ItemsQuery { cursor }): Query<ItemsQuery>,
) -> Result<Json<ListWithItems>, ApiError> {
    let mut transaction = app.read(&credentials).await?;
    let viewer = transaction.require_viewer()?;
    let rkey = find_liked_list(transaction.connection(), viewer.actor_id).await?;
    let rkey = rkey.ok_or_else(|| ApiError::not_found("list"))?;
    let uri = uri_of(&app.settings.collections, &viewer.did, Collection::List, rkey);
    show(&app, &mut transaction, ListKey { uri: &uri, rkey }, cursor).await
}

/// A list's address, and the key in it.
#[derive(Clone, Copy)]
struct ListKey<'u> {
    uri: &'u AtUri,
    rkey: Tid,
}

async fn show(
    app: &App,
    transaction: &mut ReadTransaction,
    key: ListKey<'_>,
    cursor: Option<String>,
) -> Result<Json<ListWithItems>, ApiError> {
    let query = format!("items of {}", key.uri);
    let from: i64 = cursor.map(|cursor| app.cursors.open(&query, &cursor)).transpose()?.unwrap_or_default();
    let list = find_list(transaction.connection(), &key.uri.did, key.rkey).await?;
    let list = list.ok_or_else(|| ApiError::not_found("list"))?;
    let items = items_from(transaction, key, from).await?;
    let shown = from.saturating_add(i64::try_from(items.len()).unwrap_or(i64::MAX));
    let next_cursor = (shown < list.item_count).then(|| app.cursors.seal(&query, &shown));
    Ok(Json(ListWithItems { list: ListCard::new(key.uri, list), items, next_cursor }))
}

/// The items of a list from a place on, as many as an answer has room for. Their tracks are read some at a time, so that the rest
/// of a long list is not read in vain.
async fn items_from(transaction: &mut ReadTransaction, key: ListKey<'_>, from: i64) -> Result<Vec<ListItem>, ApiError> {
    let views = list_items(transaction.connection(), (&key.uri.did, key.rkey), from, ITEMS_MAX).await?;
    let (mut items, mut budget) = (Vec::with_capacity(views.len()), Budget::default());
    for part in views.chunks(ITEMS_AT_ONCE) {
        let ids: Vec<TrackId> = part.iter().filter_map(|item| item.track_id).collect();
        let tracks = tracks_of(transaction, &ids).await?;
        let tracks: HashMap<TrackId, Track> = tracks.into_iter().map(|track| (track.id.into(), track)).collect();
        for view in part {
            let track = view.track_id.and_then(|id| tracks.get(&id)).cloned();
            let item = ListItem::new(view.clone(), track);
            if !budget.takes(&item) {
                return Ok(items);
            }
            items.push(item);
        }
    }
    Ok(items)
}
