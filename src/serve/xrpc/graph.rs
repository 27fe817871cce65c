//! `graph.*`: lists.

use axum::{extract::State, http::StatusCode, response::Response};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    answer::{answer_viewer, find_named, in_namespace},
    shapes::{ActorListsAnswer, ListAnswer, StrongRef, XrpcListItem, xrpc_list},
};
use crate::{
    serve::{
        http::{
            app::App,
            credentials::Credentials,
            error::ApiError,
            pagination::PageParams,
            params::{ActorParam, FreeText, UriParam},
            query::Query,
            responses::XrpcErrors,
        },
        record_uris::list_key,
    },
    store::views::{
        Place,
        lists::{find_list, list_items, list_lists},
    },
};

pub fn routes(namespace: &str) -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(in_namespace(namespace, routes!(get_actor_lists)))
        .routes(in_namespace(namespace, routes!(get_list)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct ActorListsQuery {
    /// A DID, or a handle in any case.
    #[param(inline)]
    actor: ActorParam,
    /// Of this type alone, such as `album`, `playlist` or `liked`.
    #[param(inline)]
    list_type: Option<FreeText>,
}

/// An actor's lists. Of an actor never seen: none.
#[utoipa::path(get, path = "/xrpc/fm.plyr.graph.getActorLists", tag = "xrpc", params(ActorListsQuery, PageParams), responses(
    (status = 200, body = ActorListsAnswer, description = "A page of lists."), XrpcErrors
), security((), ("bearer" = []), ("session" = [])))]
async fn get_actor_lists(
    State(app): State<App>,
    credentials: Credentials,
    Query(ActorListsQuery { actor: ActorParam(name), list_type }): Query<ActorListsQuery>,
    Query(page): Query<PageParams>,
) -> Result<Response, ApiError> {
    let list_type = list_type.as_ref().map(FreeText::as_str);
    let query = format!("xrpc lists {} {}", name.as_str(), list_type.unwrap_or_default());
    let pager = page.open(&app.cursors, query)?;
    let mut transaction = app.read(&credentials).await?;
    let lists = match find_named(&mut transaction, &name).await? {
        Some(actor) => list_lists(transaction.connection(), actor.id, list_type, &pager.wanted).await?,
        None => Vec::new(),
    };
    let (lists, cursor) = pager.close(lists, |last| Place { sort_at: last.sort_at, key: last.rkey.number() });
    let lists = lists.into_iter().map(|list| xrpc_list(&app, list)).collect();
    answer_viewer(transaction, ActorListsAnswer { cursor, lists }).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// The AT-URI of the list, with a DID or a handle.
    #[param(inline)]
    list: UriParam,
}

/// A list and its items.
#[utoipa::path(get, path = "/xrpc/fm.plyr.graph.getList", tag = "xrpc", params(ListQuery, PageParams), responses(
    (status = 200, body = ListAnswer, description = "The list, and a page of its items."), XrpcErrors
), security((), ("bearer" = []), ("session" = [])))]
async fn get_list(
    State(app): State<App>,
    credentials: Credentials,
    Query(ListQuery { list: uri }): Query<ListQuery>,
    Query(page): Query<PageParams>,
) -> Result<Response, ApiError> {
    let not_found = || ApiError::new(StatusCode::BAD_REQUEST, "ListNotFound", "list: no such list");
    let pager = page.open::<i64>(&app.cursors, format!("xrpc list {}", uri.text))?;
    let mut transaction = app.read(&credentials).await?;
    let uri = transaction.resolve_uri(uri.uri).await?.ok_or_else(not_found)?;
    let rkey = list_key(&app.settings.collections, &uri).ok_or_else(not_found)?;
    let list = find_list(transaction.connection(), &uri.did, rkey).await?.ok_or_else(not_found)?;
    let from = pager.wanted.after.unwrap_or_default();
    let items = list_items(transaction.connection(), (&uri.did, rkey), from, pager.wanted.limit).await?;
    let (items, cursor) = pager.close(items, |_| from + pager.wanted.limit - 1);
    let items = items.into_iter().map(|item| XrpcListItem { subject: StrongRef { uri: item.uri, cid: item.cid } });
    let answer = ListAnswer { cursor, list: xrpc_list(&app, list), items: items.collect() };
    answer_viewer(transaction, answer).await
}
