//! What the methods share: actors by name, and the rev with which an answer for a viewer comes.

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa_axum::router::UtoipaMethodRouter;

use crate::{
    serve::http::{app::App, error::ApiError, params::NamedUri, transaction::ReadTransaction},
    store::views::actors::{ActorName, ActorView, find_actor, find_newest_rev},
};

/// Tells a viewer how new the answer is.
pub const REPO_REV: HeaderName = HeaderName::from_static("atproto-repo-rev");

/// The namespace in which the methods are declared.
const DECLARED: &str = "/xrpc/fm.plyr.";

/// A method as it is declared, moved to the namespace that is served.
pub fn in_namespace(namespace: &str, declared: UtoipaMethodRouter<App>) -> UtoipaMethodRouter<App> {
    let (schemas, mut paths, methods) = declared;
    let served = |(path, item): (String, _)| {
        let method = path.strip_prefix(DECLARED).expect("a method is declared in the namespace fm.plyr");
        (format!("/xrpc/{namespace}.{method}"), item)
    };
    paths.paths = paths.paths.into_iter().map(served).collect();
    (schemas, paths, methods)
}

/// A handle that no account is known to have.
pub fn actor_not_found() -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "ActorNotFound", "no account is known to have this handle")
}

/// The actor of a name; `None` for a DID never seen, refused for a handle that no account is known to have.
pub async fn find_named(transaction: &mut ReadTransaction, name: &ActorName) -> Result<Option<ActorView>, ApiError> {
    match (find_actor(transaction.connection(), name).await?, name) {
        (None, ActorName::Handle(_)) => Err(actor_not_found()),
        (actor, _) => Ok(actor),
    }
}

/// URIs with a DID in front, in the order given; empty, which is no record's, where no account is known to have the handle.
pub async fn resolve_uris(transaction: &mut ReadTransaction, uris: Vec<NamedUri>) -> Result<Vec<String>, ApiError> {
    let mut resolved = Vec::with_capacity(uris.len());
    for uri in uris {
        resolved.push(transaction.resolve_uri(uri).await?.map(|uri| uri.to_string()).unwrap_or_default());
    }
    Ok(resolved)
}

/// Says with the answer how new it is for the viewer, if there is one.
pub async fn answer_viewer(mut transaction: ReadTransaction, answer: impl Serialize) -> Result<Response, ApiError> {
    let rev = match transaction.viewer_id() {
        Some(viewer) => find_newest_rev(transaction.connection(), viewer).await?,
        None => None,
    };
    let mut response = Json(answer).into_response();
    if let Some(rev) = rev {
        let value = HeaderValue::from_str(&rev.to_string()).expect("a TID is made of letters and digits");
        response.headers_mut().insert(REPO_REV, value);
    }
    Ok(response)
}
