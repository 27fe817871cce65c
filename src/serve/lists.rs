//! Lists: an actor's, one with its items, the viewer's liked one.

use std::collections::HashMap;

use axum::{Json, extract::State};

use super::{
    app::{App, Credentials, Reading},
    parameters::{Parameters, named_uri},
    refusal::{Detail, Refusal},
    shapes::{ListCard, ListItem, ListPage, ListWithItems, Track},
    tracks::{cut, tracks_of},
};
use crate::{
    atproto::{AtUri, Did, RecordKey, Tid},
    model::{Collection, Collections},
    store::views::{
        Place,
        actors::find_actor,
        lists::{find_liked_list, find_list, list_items, list_lists},
    },
};

/// Items that a list can hold, by its lexicon.
const ITEMS_MAX: i64 = 500;

/// The address of a record whose key is a TID.
pub fn uri_of(collections: &Collections, did: &Did, collection: Collection, rkey: Tid) -> AtUri {
    let rkey = RecordKey::parse(&rkey.to_string()).expect("a TID is a valid record key");
    AtUri { did: did.clone(), collection: collections.nsid(collection).clone(), rkey }
}

/// The owner and key of a list, if the URI is of our list collection and its key can be one.
pub fn list_key(collections: &Collections, uri: &AtUri) -> Option<Tid> {
    let is_list = uri.collection == *collections.nsid(Collection::List);
    Tid::parse(uri.rkey.as_str()).ok().filter(|_| is_list)
}

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
) -> Result<Json<ListPage>, Refusal> {
    let actor = parameters.actor("actor")?;
    let list_type = parameters.one("type");
    let query = format!("lists {} {}", actor.as_str(), list_type.unwrap_or_default());
    let page = parameters.page(&app.cursors, &query)?;
    let mut reading = app.read(&credentials).await?;
    let lists = match find_actor(reading.database(), &actor).await? {
        Some(actor) => list_lists(reading.database(), actor.id, list_type, &page).await?,
        None => Vec::new(),
    };
    let (lists, last) = cut(lists, page.limit);
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
) -> Result<Json<ListWithItems>, Refusal> {
    let uri = named_uri(parameters.required("uri")?).map_err(|why| Refusal::parameter("uri", why))?;
    let mut reading = app.read(&credentials).await?;
    let uri = reading.resolve_uri(uri).await?.ok_or_else(|| Refusal::not_found("list"))?;
    let rkey = list_key(&app.settings.collections, &uri).ok_or_else(|| Refusal::not_found("list"))?;
    show(&mut reading, &uri, rkey).await
}

/// The viewer's liked list, as it is in the viewer's repo. Of several the one written last.
#[utoipa::path(get, path = "/lists/liked", tag = "lists", responses(
    (status = 200, body = ListWithItems),
    (status = 401, body = Detail, description = "No token, or one that is not valid."),
    (status = 404, body = Detail, description = "The viewer has no liked list."),
), security(("bearer" = []), ("session" = [])))]
pub async fn show_liked_list(State(app): State<App>, credentials: Credentials) -> Result<Json<ListWithItems>, Refusal> {
    let mut reading = app.read(&credentials).await?;
    let viewer = reading.require_viewer()?;
    let rkey = find_liked_list(reading.database(), viewer.actor_id).await?;
    let rkey = rkey.ok_or_else(|| Refusal::not_found("list"))?;
    let uri = uri_of(&app.settings.collections, &viewer.did, Collection::List, rkey);
    show(&mut reading, &uri, rkey).await
}

async fn show(reading: &mut Reading, uri: &AtUri, rkey: Tid) -> Result<Json<ListWithItems>, Refusal> {
    let list = find_list(reading.database(), &uri.did, rkey).await?.ok_or_else(|| Refusal::not_found("list"))?;
    let items = list_items(reading.database(), (&uri.did, rkey), 0, ITEMS_MAX).await?;
    let ids: Vec<i64> = items.iter().filter_map(|item| item.track_id).collect();
    let tracks = tracks_of(reading, &ids).await?;
    let tracks: HashMap<i64, Track> = tracks.into_iter().map(|track| (track.id, track)).collect();
    let items = items.into_iter().map(|item| {
        let track = item.track_id.and_then(|id| tracks.get(&id)).cloned();
        ListItem::new(item, track)
    });
    Ok(Json(ListWithItems { list: ListCard::new(uri, list), items: items.collect() }))
}
