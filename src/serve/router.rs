//! All routes, and what surrounds them.

use std::time::Duration;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{Method, header},
    middleware::{from_fn_with_state, map_response},
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
    document::{complete, documented_routes},
    http::{
        answers::{self, AnswerBytes},
        app::App,
        error, observe,
        settings::ServeSettings,
    },
    pages, xrpc,
};
use crate::clock::Clock;

/// Bytes of a request's body at most.
const BODY_LENGTH_MAX: usize = 64 * 1024;
/// Answers shorter than this fit in a packet as they are.
const COMPRESSED_LENGTH_MIN: u16 = 1400;

/// All routes over the index behind `pool`.
pub fn router(pool: PgPool, settings: ServeSettings, clock: Clock) -> Router {
    let (routes, document) = documented_routes(&settings.collections).split_for_parts();
    let cors = cors(&settings);
    let app = App::new(pool, settings, clock);
    let not_images = NotForContentType::const_new("image/");
    let compression = CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(COMPRESSED_LENGTH_MIN).and(not_images));
    routes
        .merge(pages::docs::routes(&complete(document)))
        .fallback(error::refuse_path)
        .method_not_allowed_fallback(error::refuse_method)
        .layer(CatchPanicLayer::custom(observe::answer_panic))
        .layer(DefaultBodyLimit::max(BODY_LENGTH_MAX))
        .layer(from_fn_with_state(AnswerBytes::default(), answers::hold))
        .layer(compression)
        .layer(from_fn_with_state(app.clone(), observe::observe))
        .layer(cors)
        .with_state(app)
}

/// What the operator sees, with how it stands. Refusals are JSON, as those of the API.
pub fn operator_router(routes: Router, pool: PgPool, clock: Clock) -> Router {
    routes
        .merge(pages::status::operator_routes(pool, clock))
        .fallback(error::refuse_path)
        .method_not_allowed_fallback(error::refuse_method)
        .layer(CatchPanicLayer::custom(observe::answer_panic))
        .layer(map_response(observe::refuse_in_words))
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
