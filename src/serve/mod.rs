//! To be filled.
use crate::clock::Clock;
/// x
#[derive(Debug, Clone)]
pub struct ServeSettings {
    /// x
    pub namespace: String,
    /// x
    pub secret_key: [u8; 32],
    /// x
    pub cors_origins: Vec<String>,
    /// x
    pub lag_limit_s: u64,
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
