//! The page that shows the OpenAPI document, and the document itself.
//!
//! The page is Swagger UI, whose files are in the program: it loads nothing from elsewhere.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    http::{HeaderValue, header},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use serde::Deserialize;
use utoipa_swagger_ui::Config;

use crate::serve::http::{
    error::{ApiError, refuse_path},
    query::Path,
};

/// What the page may load and run: its own files. Swagger UI writes styles into its elements and has its pictures as `data:`.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// The files change with the program alone.
const FILE_CACHING: &str = "public, max-age=3600";

/// `/openapi.json` and `/docs`, which are not in the document themselves.
pub fn routes<S: Clone + Send + Sync + 'static>(document: &serde_json::Value) -> Router<S> {
    let json = Bytes::from(document.to_string());
    // Addresses are relative, so that the page also works behind a proxy that puts a folder in front.
    let config = Arc::new(Config::from("../openapi.json").validator_url("none"));
    let index = config.clone();
    Router::new()
        .route("/openapi.json", get(async move || ([(header::CONTENT_TYPE, "application/json")], json.clone())))
        .route("/docs", get(async || Redirect::permanent("docs/")))
        .route("/docs/", get(move || file("index.html".to_owned(), index.clone())))
        .route("/docs/{file}", get(move |Path(FilePath { file: name })| file(name, config.clone())))
}

/// The file in a path.
#[derive(Debug, Deserialize)]
struct FilePath {
    file: String,
}

/// One of the page's files.
async fn file(name: String, config: Arc<Config<'static>>) -> Result<Response, ApiError> {
    let found = utoipa_swagger_ui::serve(&name, config).map_err(ApiError::broken)?;
    let Some(file) = found else { return Err(refuse_path().await) };
    let content_type = HeaderValue::from_str(&file.content_type).map_err(ApiError::broken)?;
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY)),
        (header::CACHE_CONTROL, HeaderValue::from_static(FILE_CACHING)),
    ];
    let bytes = match file.bytes {
        std::borrow::Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        std::borrow::Cow::Owned(bytes) => bytes.into(),
    };
    Ok((headers, bytes).into_response())
}
