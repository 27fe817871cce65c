//! The OpenAPI document: made from the routes' own descriptions.

use utoipa::{
    Modify, OpenApi,
    openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use super::{
    operation::health,
    pages,
    rest::{artists, likes, lists, tracks, writes},
    xrpc,
};
use crate::model::Collections;

/// The namespace under which the routes describe themselves.
const NAMESPACE_WRITTEN: &str = "/xrpc/fm.plyr.";

#[derive(OpenApi)]
#[openapi(
    info(title = "plyr-likes", description = "Who likes what on plyr.fm: an index of public records on atproto."),
    paths(
        tracks::list_tracks, tracks::show_track, tracks::show_track_by_uri,
        likes::list_own_likes, likes::answer_batch, likes::list_track_likers, likes::list_user_likes,
        artists::show_me, artists::show_artist, tracks::list_artist_tracks,
        lists::list_actor_lists, lists::show_list_by_uri, lists::show_liked_list,
        writes::like, writes::unlike, writes::reorder, writes::prefer,
        xrpc::feed::get_like_statuses, xrpc::feed::get_track_likes, xrpc::feed::get_actor_likes, xrpc::feed::get_tracks,
        xrpc::graph::get_actor_lists, xrpc::graph::get_list, xrpc::health,
        health::health, health::ready, pages::status::status,
    ),
    modifiers(&Credentials)
)]
struct Document;

/// The two ways to say who asks.
struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let cookie = ApiKey::Cookie(ApiKeyValue::new("session_id"));
        components.add_security_scheme("session", SecurityScheme::ApiKey(cookie));
    }
}

/// The document of what [`super::router`] answers, with the XRPC methods in the namespace of `collections`.
pub fn openapi(collections: &Collections) -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    let ours = format!("/xrpc/{}.", collections.namespace());
    let paths = std::mem::take(&mut document.paths.paths);
    document.paths.paths = paths
        .into_iter()
        .map(|(path, item)| match path.strip_prefix(NAMESPACE_WRITTEN) {
            Some(method) => (format!("{ours}{method}"), item),
            None => (path, item),
        })
        .collect();
    document
}
