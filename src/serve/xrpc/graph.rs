//! `graph.*`: lists.

use axum::{extract::State, http::StatusCode, response::Response};

use super::{
    answer::{answer_viewer, find_named},
    shapes::{ActorListsAnswer, ListAnswer, StrongRef, XrpcListItem, xrpc_list},
};
use crate::{
    serve::{
        http::{
            app::App,
            credentials::Credentials,
            error::{ApiError, XrpcError},
            pagination::split_page,
            params::{Parameters, named_uri},
        },
        record_uris::list_key,
    },
    store::views::{
        Place,
        lists::{find_list, list_items, list_lists},
    },
};

/// An actor's lists. Of an actor never seen: none.
#[utoipa::path(get, path = "/xrpc/fm.plyr.graph.getActorLists", tag = "xrpc", params(
    ("actor" = String, Query, description = "A DID, or a handle in any case."),
    ("listType" = Option<String>, Query, description = "Of this type alone, such as `album`, `playlist` or `liked`."),
    ("limit" = Option<i64>, Query, minimum = 1, maximum = 100, description = "Lists on a page, 50 unless given."),
    ("cursor" = Option<String>, Query, description = "`cursor` of the page before."),
), responses(
    (status = 200, body = ActorListsAnswer),
    (status = 400, body = XrpcError, description = "`InvalidRequest`, `InvalidCursor`, or `ActorNotFound`: nobody is known to have the handle."),
    (status = 401, body = XrpcError, description = "`InvalidToken`"),
))]
pub async fn get_actor_lists(
    State(app): State<App>,
    credentials: Credentials,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let name = parameters.actor("actor")?;
    let list_type = parameters.one("listType");
    let query = format!("xrpc lists {} {}", name.as_str(), list_type.unwrap_or_default());
    let page = parameters.page(&app.cursors, &query)?;
    let mut transaction = app.read(&credentials).await?;
    let lists = match find_named(&mut transaction, &name).await? {
        Some(actor) => list_lists(transaction.connection(), actor.id, list_type, &page).await?,
        None => Vec::new(),
    };
    let (lists, last) = split_page(lists, page.limit);
    let cursor = last.map(|last| app.cursors.seal(&query, &Place { sort_at: last.sort_at, key: last.rkey.number() }));
    let lists = lists.into_iter().map(|list| xrpc_list(&app, list)).collect();
    answer_viewer(transaction, ActorListsAnswer { cursor, lists }).await
}

/// A list and its items.
#[utoipa::path(get, path = "/xrpc/fm.plyr.graph.getList", tag = "xrpc", params(
    ("list" = String, Query, description = "The AT-URI of the list."),
    ("limit" = Option<i64>, Query, minimum = 1, maximum = 100, description = "Items on a page, 50 unless given."),
    ("cursor" = Option<String>, Query, description = "`cursor` of the page before."),
), responses(
    (status = 200, body = ListAnswer),
    (status = 400, body = XrpcError, description = "`InvalidRequest`, `InvalidCursor`, or `ListNotFound`."),
    (status = 401, body = XrpcError, description = "`InvalidToken`"),
))]
pub async fn get_list(
    State(app): State<App>,
    credentials: Credentials,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let not_found = || ApiError::new(StatusCode::BAD_REQUEST, "ListNotFound", "list: no such list");
    let uri = named_uri(parameters.required("list")?).map_err(|why| ApiError::parameter("list", why))?;
    let query = format!("xrpc list {}", parameters.required("list")?);
    let page = parameters.page::<i64>(&app.cursors, &query)?;
    let mut transaction = app.read(&credentials).await?;
    let uri = transaction.resolve_uri(uri).await?.ok_or_else(not_found)?;
    let rkey = list_key(&app.settings.collections, &uri).ok_or_else(not_found)?;
    let list = find_list(transaction.connection(), &uri.did, rkey).await?.ok_or_else(not_found)?;
    let from = page.after.unwrap_or_default();
    let items = list_items(transaction.connection(), (&uri.did, rkey), from, page.limit).await?;
    let (items, follows) = split_page(items, page.limit);
    let cursor = follows.map(|_| app.cursors.seal(&query, &(from + page.limit - 1)));
    let items = items.into_iter().map(|item| XrpcListItem { subject: StrongRef { uri: item.uri, cid: item.cid } });
    let answer = ListAnswer { cursor, list: xrpc_list(&app, list), items: items.collect() };
    answer_viewer(transaction, answer).await
}
