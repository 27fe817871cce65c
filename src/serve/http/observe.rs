//! Around every request: its id, its span, its time limit, its figures, who may cache it, and refusals in words.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tracing::Instrument;

use super::{app::App, body, credentials::Credentials, error::ApiError};

/// Carries the request's id in and out.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Characters of a client's request id that are taken over.
const REQUEST_ID_LENGTH_MAX: usize = 64;

/// The outermost layer but CORS.
pub async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let method = method_label(request.method());
    let id = request_id(request.headers());
    let is_xrpc = request.uri().path().starts_with("/xrpc/");
    let is_anonymous = Credentials::of_headers(request.headers()) == Credentials::None;
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let span = tracing::info_span!(
        "request",
        method,
        route,
        id = id.to_str().unwrap_or_default(),
        status = tracing::field::Empty
    );

    let (request, body) = body::watch(request);
    let answered = tokio::time::timeout(app.settings.time_limit, next.run(request).instrument(span.clone())).await;
    let mut response = answered.unwrap_or_else(|_| refuse_late(&body).into_response());
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        response = span.in_scope(|| in_words(&response, &error, is_xrpc));
    }
    let status = response.status();
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    allow_caching(headers, is_read && is_anonymous && status == StatusCode::OK);
    span.record("status", status.as_u16());
    let route = route.to_owned();
    metrics::histogram!("plyr_http_seconds", "route" => route.clone()).record(started.elapsed().as_secs_f64());
    metrics::counter!("plyr_http_requests_total", "route" => route, "method" => method, "status" => status_label(status))
        .increment(1);
    response
}

/// A refusal with its sentence, in the dialect of the path; the operator reads the cause, if there is one.
fn in_words(bare: &Response, error: &ApiError, is_xrpc: bool) -> Response {
    if let Some(cause) = error.cause() {
        tracing::error!(cause, "a request failed");
    }
    let mut response = error.answer(is_xrpc);
    // A refused method says which ones are allowed.
    if let Some(allow) = bare.headers().get(header::ALLOW) {
        response.headers_mut().insert(header::ALLOW, allow.clone());
    }
    response
}

/// The same for a listener whose requests are not observed.
pub async fn refuse_in_words(mut response: Response) -> Response {
    match response.extensions_mut().remove::<ApiError>() {
        Some(error) => in_words(&response, &error, false),
        None => response,
    }
}

/// The answer when the time limit has run out: over a client who does not send, or over us.
fn refuse_late(body: &body::Awaited) -> ApiError {
    if body.is_awaited() {
        return ApiError::slow_body();
    }
    ApiError::unavailable("the answer took too long; try again", "the time limit ran out")
}

/// The answer to a route that panicked.
#[expect(clippy::needless_pass_by_value, reason = "the layer that catches panics hands them over")]
pub fn answer_panic(panic: Box<dyn std::any::Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&'static str>().copied());
    ApiError::broken(format_args!("a route panicked: {}", text.unwrap_or("without a word"))).into_response()
}

/// An answer without a viewer may be shared for a second, which takes off the load of many clients that ask the same; any
/// other is for its viewer alone.
fn allow_caching(headers: &mut HeaderMap, is_public: bool) {
    headers.append(header::VARY, HeaderValue::from_static("authorization, cookie"));
    let policy = if is_public { "public, max-age=1" } else { "private, no-store" };
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static(policy));
}

/// An answer that no cache may keep.
pub fn fresh(answer: impl IntoResponse) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], answer).into_response()
}

fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_plain = |id: &&HeaderValue| {
        let bytes = id.as_bytes();
        (1..=REQUEST_ID_LENGTH_MAX).contains(&bytes.len())
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
    };
    if let Some(id) = headers.get(REQUEST_ID).filter(is_plain) {
        return id.clone();
    }
    let id = data_encoding::HEXLOWER.encode(&rand::random::<[u8; 8]>());
    HeaderValue::from_str(&id).expect("hexadecimal digits are a header's characters")
}

/// A label of a metric has few values: unknown methods are one.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn status_label(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200 => "200",
        400 => "400",
        401 => "401",
        403 => "403",
        404 => "404",
        405 => "405",
        408 => "408",
        413 => "413",
        422 => "422",
        500 => "500",
        501 => "501",
        503 => "503",
        _ => "other",
    }
}
