//! The queries of `lexicons/`, for programs of the network.
//!
//! Contract: methods, parameters and answers are those of the lexicons; errors are `{"error","message"}`. No authentication but
//! where the actor is left out. Does not know REST.

#![expect(unused_qualifications, reason = "utoipa writes the whole path of a type of parameters")]

mod answer;
mod feed;
mod graph;
mod shapes;

use axum::{Json, http::StatusCode, routing::any};
use utoipa_axum::{router::OpenApiRouter, routes};

pub use answer::REPO_REV;

use super::http::{app::App, error::ApiError};
use shapes::XrpcHealth;

/// All methods, in this namespace.
pub fn routes(namespace: &str) -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(feed::routes(namespace))
        .merge(graph::routes(namespace))
        .routes(routes!(health))
        .route("/xrpc/{method}", any(refuse_method))
}

/// Says that the service is there, and its version.
#[utoipa::path(get, path = "/xrpc/_health", tag = "xrpc", operation_id = "xrpc_health", responses(
    (status = 200, body = XrpcHealth, description = "Alive.")
))]
async fn health() -> Json<XrpcHealth> {
    Json(XrpcHealth { version: env!("CARGO_PKG_VERSION").to_owned() })
}

/// The answer to methods that are not served.
async fn refuse_method() -> ApiError {
    ApiError::new(StatusCode::NOT_IMPLEMENTED, "MethodNotImplemented", "this service does not have the method")
}
