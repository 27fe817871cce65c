//! The queries of `lexicons/`, for programs of the network.
//!
//! Contract: methods, parameters and answers are those of the lexicons; errors are `{"error","message"}`. No authentication but
//! where the actor is left out. Does not know REST.

mod answer;
pub mod feed;
pub mod graph;
mod shapes;

use axum::{Json, http::StatusCode};

pub use answer::REPO_REV;

use super::http::error::ApiError;
use shapes::XrpcHealth;

/// Says that the service is there, and its version.
#[utoipa::path(get, path = "/xrpc/_health", tag = "xrpc", responses((status = 200, body = XrpcHealth)))]
pub async fn health() -> Json<XrpcHealth> {
    Json(XrpcHealth { version: env!("CARGO_PKG_VERSION").to_owned() })
}

/// The answer to methods that are not served.
pub async fn refuse_method() -> ApiError {
    ApiError::new(StatusCode::NOT_IMPLEMENTED, "MethodNotImplemented", "this service does not have the method")
}
