//! Answers: REST, XRPC, health and pages, out of the index alone.
//!
//! Contract: an answer is of one moment of the index, or it is refused; a database that is away gives 503 and never a wrong
//! answer. A read makes no network call. Everything a client sends is bounded. Does not know how rows got into the index.

mod actors;
mod app;
mod cursor;
mod document;
mod lane;
mod likes;
mod lists;
mod observe;
mod operation;
mod page;
mod parameters;
mod refusal;
mod repos;
mod shapes;
pub mod token;
mod tracks;
mod writes;
mod xrpc;

use std::time::Duration;

use axum::{
    Json, Router,
    extract::DefaultBodyLimit,
    http::{Method, header},
    middleware::from_fn_with_state,
    response::Html,
    routing::{any, get, post, put},
    serve::ListenerExt,
};
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio_util::sync::CancellationToken;
use tower_http::{
    CompressionLevel,
    catch_panic::CatchPanicLayer,
    compression::{
        CompressionLayer,
        predicate::{NotForContentType, Predicate, SizeAbove},
    },
    cors::{AllowOrigin, CorsLayer},
};

pub use app::ServeSettings;
pub use document::openapi;

use crate::clock::Clock;
use app::App;

/// Bytes of a request's body at most.
const BODY_LENGTH_MAX: usize = 64 * 1024;
/// Answers shorter than this fit in a packet as they are.
const COMPRESSED_LENGTH_MIN: u16 = 1400;
/// How long open requests may take to end after the stop.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a request waits for a connection.
const ACQUIRE_TIME_MAX: Duration = Duration::from_secs(3);

/// A pool as the API wants it: connected on demand, without a sign of life asked for before each use. Its statements are small
/// and many: the server compiles none, starts no workers for one, and ends those that take longer than any request may.
/// `close` on the pool waits until the router has been dropped.
pub fn connect(options: PgConnectOptions, connections_max: u32) -> PgPool {
    let settings = [("statement_timeout", "10s"), ("jit", "off"), ("max_parallel_workers_per_gather", "0")];
    PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_TIME_MAX)
        .test_before_acquire(false)
        .connect_lazy_with(options.application_name("plyr-likes api").options(settings))
}

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
        .fallback(operation::refuse_path)
        .method_not_allowed_fallback(operation::refuse_method)
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
        .route("/artists/me", get(actors::show_me))
        .route("/artists/{did}", get(actors::show_artist))
        .route("/artists/{did}/tracks", get(tracks::list_artist_tracks))
        .route("/users/{handle_or_did}/likes", get(likes::list_user_likes))
        .route("/lists", get(lists::list_actor_lists))
        .route("/lists/", get(lists::list_actor_lists))
        .route("/lists/by-uri", get(lists::show_list_by_uri))
        .route("/lists/liked", get(lists::show_liked_list))
        .route("/lists/liked/reorder", put(writes::reorder))
        .route("/preferences/", post(writes::prefer))
        .route("/health", get(operation::health))
        .route("/ready", get(operation::ready))
        .route("/status", get(operation::status))
}

fn xrpc_routes(namespace: &str) -> Router<App> {
    let path = |method: &str| format!("/xrpc/{namespace}.{method}");
    Router::new()
        .route(&path("feed.getLikeStatuses"), get(xrpc::get_like_statuses))
        .route(&path("feed.getTrackLikes"), get(xrpc::get_track_likes))
        .route(&path("feed.getActorLikes"), get(xrpc::get_actor_likes))
        .route(&path("feed.getTracks"), get(xrpc::get_tracks))
        .route(&path("graph.getActorLists"), get(xrpc::get_actor_lists))
        .route(&path("graph.getList"), get(xrpc::get_list))
        .route("/xrpc/_health", get(xrpc::health))
        .route("/xrpc/{method}", any(xrpc::refuse_method))
}

fn document_routes(document: utoipa::openapi::OpenApi) -> Router<App> {
    let document = serde_json::to_value(document).expect("a document of strings and maps is JSON");
    let page = page::docs_page(&document);
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

/// Answers on `listener` until `stop`, and then until the open requests have ended, but no longer than ten seconds.
pub async fn run(listener: tokio::net::TcpListener, router: Router, stop: CancellationToken) -> std::io::Result<()> {
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps its delay");
        }
    });
    let serving = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(STOP_TIME_MAX).await;
    };
    tokio::select! {
        ended = serving.into_future() => ended,
        () = overdue => {
            tracing::warn!("requests were still open at the end of the time to stop");
            Ok(())
        }
    }
}
