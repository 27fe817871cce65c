//! To be filled.
use crate::{clock::Clock, decode::Collections};
use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};
/// x
#[derive(Debug, Clone)]
pub struct ServeSettings {
    /// x
    pub cors_origins: Vec<axum::http::HeaderValue>,
    /// x
    pub cursor_key: [u8; 32],
    /// x
    pub collections: Collections,
    /// x
    pub lag_limit_s: f64,
}
impl ServeSettings {
    /// x
    pub fn new(collections: Collections, cursor_key: [u8; 32]) -> Self {
        Self { cors_origins: Vec::new(), cursor_key, collections, lag_limit_s: 300.0 }
    }
}
/// x
pub fn create_token() -> String {
    BASE64URL_NOPAD.encode(&rand::random::<[u8; 32]>())
}
/// x
pub fn hash_token(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}
/// x
pub fn router(pool: sqlx::PgPool, _settings: ServeSettings, _clock: Clock) -> axum::Router {
    axum::Router::new().route("/health", axum::routing::get(async || "ok")).route(
        "/ready",
        axum::routing::get(async move || match sqlx::query("SELECT 1").execute(&pool).await {
            Ok(_) => axum::http::StatusCode::OK,
            Err(_) => axum::http::StatusCode::SERVICE_UNAVAILABLE,
        }),
    )
}
/// x
pub async fn run(
    listener: tokio::net::TcpListener,
    router: axum::Router,
    cancel: tokio_util::sync::CancellationToken,
) -> std::io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(cancel.cancelled_owned()).await
}
/// x
pub fn openapi() -> serde_json::Value {
    serde_json::json!({})
}
