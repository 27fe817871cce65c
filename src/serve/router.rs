//! All routes, and what surrounds them.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::DefaultBodyLimit,
    http::{Method, header},
    middleware::from_fn_with_state,
    response::Html,
    routing::{any, get, post, put},
};
use sqlx::PgPool;
use tower_http::{
    CompressionLevel,
    catch_panic::CatchPanicLayer,
    compression::{
        CompressionLayer,
        predicate::{NotForContentType, Predicate, SizeAbove},
    },
    cors::{AllowOrigin, CorsLayer},
};

use super::{
    document::openapi,
    http::{app::App, error, observe, settings::ServeSettings},
    operation::health,
    pages::{docs::docs_page, status},
    rest::{artists, likes, lists, tracks, writes},
    xrpc,
};
use crate::clock::Clock;

/// Bytes of a request's body at most.
const BODY_LENGTH_MAX: usize = 64 * 1024;
/// Answers shorter than this fit in a packet as they are.
const COMPRESSED_LENGTH_MIN: u16 = 1400;

/// All routes over the index behind `pool`.
pub fn router(pool: PgPool, settings: ServeSettings, clock: Clock) -> Router {
    let document = openapi(&settings.collections);
    let cors = cors(&settings);
    let namespace = settings.collections.namespace().to_owned();
    let app = App::new(pool, settings, clock);
    let not_images = NotForContentType::const_new("image/");
    let compression = CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(COMPRESSED_LENGTH_MIN).and(not_images));
    rest_routes()
        .merge(xrpc_routes(&namespace))
        .merge(document_routes(document))
        .fallback(error::refuse_path)
        .method_not_allowed_fallback(error::refuse_method)
        .layer(CatchPanicLayer::custom(observe::answer_panic))
        .layer(DefaultBodyLimit::max(BODY_LENGTH_MAX))
        .layer(compression)
        .layer(from_fn_with_state(app.clone(), observe::observe))
        .layer(cors)
        .with_state(app)
}

fn rest_routes() -> Router<App> {
    Router::new()
        .route("/tracks/", get(tracks::list_tracks))
        .route("/tracks", get(tracks::list_tracks))
        .route("/tracks/{track_id}", get(tracks::show_track))
        .route("/tracks/by-uri", get(tracks::show_track_by_uri))
        .route("/tracks/liked", get(likes::list_own_likes))
        .route("/tracks/likes/batch", post(likes::answer_batch))
        .route("/tracks/{track_id}/likes", get(likes::list_track_likers))
        .route("/tracks/{track_id}/like", post(writes::like).delete(writes::unlike))
        .route("/artists/me", get(artists::show_me))
        .route("/artists/{did}", get(artists::show_artist))
        .route("/artists/{did}/tracks", get(tracks::list_artist_tracks))
        .route("/users/{handle_or_did}/likes", get(likes::list_user_likes))
        .route("/lists", get(lists::list_actor_lists))
        .route("/lists/", get(lists::list_actor_lists))
        .route("/lists/by-uri", get(lists::show_list_by_uri))
        .route("/lists/liked", get(lists::show_liked_list))
        .route("/lists/liked/reorder", put(writes::reorder))
        .route("/preferences/", post(writes::prefer))
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/status", get(status::status))
}

fn xrpc_routes(namespace: &str) -> Router<App> {
    let path = |method: &str| format!("/xrpc/{namespace}.{method}");
    Router::new()
        .route(&path("feed.getLikeStatuses"), get(xrpc::feed::get_like_statuses))
        .route(&path("feed.getTrackLikes"), get(xrpc::feed::get_track_likes))
        .route(&path("feed.getActorLikes"), get(xrpc::feed::get_actor_likes))
        .route(&path("feed.getTracks"), get(xrpc::feed::get_tracks))
        .route(&path("graph.getActorLists"), get(xrpc::graph::get_actor_lists))
        .route(&path("graph.getList"), get(xrpc::graph::get_list))
        .route("/xrpc/_health", get(xrpc::health))
        .route("/xrpc/{method}", any(xrpc::refuse_method))
}

fn document_routes(document: utoipa::openapi::OpenApi) -> Router<App> {
    let document = serde_json::to_value(document).expect("a document of strings and maps is JSON");
    let page = docs_page(&document);
    Router::new()
        .route("/openapi.json", get(async move || Json(document.clone())))
        .route("/docs", get(async move || Html(page.clone())))
}

fn cors(settings: &ServeSettings) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(settings.cors_origins.iter().cloned()))
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, observe::REQUEST_ID])
        .expose_headers([observe::REQUEST_ID, header::RETRY_AFTER, xrpc::REPO_REV])
        .max_age(Duration::from_hours(1))
}
