//! Lists: an actor's, one with its items, the viewer's liked one.

use std::collections::HashMap;

use axum::{Json, extract::State};

use super::{
    shapes::{ListCard, ListItem, ListPage, ListWithItems, Track},
    tracks::tracks_of,
};
use crate::{
    atproto::{AtUri, Tid},
    model::Collection,
    serve::{
        http::{
            app::App,
            credentials::Credentials,
            error::{ApiError, Detail},
            pagination::split_page,
            params::{Parameters, named_uri},
            transaction::ReadTransaction,
        },
        record_uris::{list_key, uri_of},
    },
    store::views::{
        Place,
        actors::find_actor,
        lists::{find_liked_list, find_list, list_items, list_lists},
    },
};

/// Items that a list can hold, by its lexicon.
const ITEMS_MAX: i64 = 500;

/// An actor's lists, newest first.
#[utoipa::path(get, path = "/lists", tag = "lists", params(
    ("actor" = String, Query, description = "A DID, or a handle in any case."),
    ("type" = Option<String>, Query, description = "Of this `listType` alone, such as `album`, `playlist` or `liked`."),
    ("limit" = Option<i64>, Query, minimum = 1, maximum = 100, description = "Lists on a page, 50 unless given."),
    ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
), responses(
    (status = 200, body = ListPage),
    (status = 400, body = Detail, description = "The cursor is not one that was given for this query."),
    (status = 401, body = Detail, description = "A token was given and is not valid."),
    (status = 422, body = Detail, description = "A parameter breaks its rule."),
))]
pub async fn list_actor_lists(
    State(app): State<App>,
    credentials: Credentials,
    parameters: Parameters,
) -> Result<Json<ListPage>, ApiError> {
    let actor = parameters.actor("actor")?;
    let list_type = parameters.one("type");
    let query = format!("lists {} {}", actor.as_str(), list_type.unwrap_or_default());
    let page = parameters.page(&app.cursors, &query)?;
    let mut transaction = app.read(&credentials).await?;
    let lists = match find_actor(transaction.connection(), &actor).await? {
        Some(actor) => list_lists(transaction.connection(), actor.id, list_type, &page).await?,
        None => Vec::new(),
    };
    let (lists, last) = split_page(lists, page.limit);
    let next_cursor =
        last.map(|last| app.cursors.seal(&query, &Place { sort_at: last.sort_at, key: last.rkey.number() }));
    let collections = &app.settings.collections;
    let card = |list: crate::store::views::lists::ListView| {
        ListCard::new(&uri_of(collections, &list.did, Collection::List, list.rkey), list)
    };
    Ok(Json(ListPage { lists: lists.into_iter().map(card).collect(), has_more: next_cursor.is_some(), next_cursor }))
}

/// A list by its URI, with all of its items.
#[utoipa::path(get, path = "/lists/by-uri", tag = "lists", params(
    ("uri" = String, Query, description = "The AT-URI of the record, with a DID or a handle."),
), responses(
    (status = 200, body = ListWithItems),
    (status = 401, body = Detail, description = "A token was given and is not valid."),
    (status = 404, body = Detail, description = "No such list."),
    (status = 422, body = Detail, description = "Not an AT-URI."),
))]
pub async fn show_list_by_uri(
    State(app): State<App>,
    credentials: Credentials,
    parameters: Parameters,
) -> Result<Json<ListWithItems>, ApiError> {
    let uri = named_uri(parameters.required("uri")?).map_err(|why| ApiError::parameter("uri", why))?;
    let mut transaction = app.read(&credentials).await?;
    let uri = transaction.resolve_uri(uri).await?.ok_or_else(|| ApiError::not_found("list"))?;
    let rkey = list_key(&app.settings.collections, &uri).ok_or_else(|| ApiError::not_found("list"))?;
    show(&mut transaction, &uri, rkey).await
}

/// The viewer's liked list, as it is in the viewer's repo. Of several the one written last.
#[utoipa::path(get, path = "/lists/liked", tag = "lists", responses(
    (status = 200, body = ListWithItems),
    (status = 401, body = Detail, description = "No token, or one that is not valid."),
    (status = 404, body = Detail, description = "The viewer has no liked list."),
), security(("bearer" = []), ("session" = [])))]
pub async fn show_liked_list(
    State(app): State<App>,
    credentials: Credentials,
) -> Result<Json<ListWithItems>, ApiError> {
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
    let ids: Vec<i64> = items.iter().filter_map(|item| item.track_id).collect();
    let tracks = tracks_of(transaction, &ids).await?;
    let tracks: HashMap<i64, Track> = tracks.into_iter().map(|track| (track.id, track)).collect();
    let items = items.into_iter().map(|item| {
        let track = item.track_id.and_then(|id| tracks.get(&id)).cloned();
        ListItem::new(item, track)
    });
    Ok(Json(ListWithItems { list: ListCard::new(uri, list), items: items.collect() }))
}
