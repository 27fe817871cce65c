//! What browsers are to make of answers, whatever they are.

use axum::{
    http::{HeaderName, HeaderValue, header},
    response::Response,
};

const ALWAYS: [(HeaderName, HeaderValue); 2] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

/// For every answer: it is of no other type than it says, and what it links to does not learn of it.
pub async fn harden(mut response: Response) -> Response {
    response.headers_mut().extend(ALWAYS.map(|(name, value)| (Some(name), value)));
    response
}
