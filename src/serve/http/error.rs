//! Why a request is not answered, in one shape for both dialects: REST says `{"detail"}`, XRPC `{"error","message"}`.

use std::{borrow::Cow, sync::Arc};

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

/// A request refused or failed. As a response it has no body yet: the outermost layer writes it in the dialect of the path.
#[derive(Debug, Clone)]
pub struct ApiError {
    status: StatusCode,
    error: &'static str,
    message: Cow<'static, str>,
    /// What the operator should read and the client should not.
    cause: Option<Arc<str>>,
}

/// The body of a refused REST request.
#[derive(Debug, Serialize, ToSchema)]
pub struct Detail {
    /// One sentence; names the parameter at fault, if one is.
    pub detail: String,
}

/// The body of a refused XRPC request.
#[derive(Debug, Serialize, ToSchema)]
pub struct XrpcError {
    /// The name of the error.
    pub error: String,
    /// One sentence; names the parameter at fault, if one is.
    pub message: String,
}

impl ApiError {
    /// Refuses with a status, the error's name in XRPC, and one sentence.
    pub fn new(status: StatusCode, error: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, error, message: message.into(), cause: None }
    }

    /// A parameter that breaks its rule: 422 in REST, 400 in XRPC.
    pub fn parameter(name: &str, why: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "InvalidRequest", format!("{name}: {why}"))
    }

    /// A cursor that we did not give for this query.
    pub fn cursor() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidCursor", "cursor: not one that was given for this query")
    }

    /// There is no such thing.
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", format!("{what} not found"))
    }

    /// Neither a token nor a session.
    pub fn anonymous() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "AuthMissing", "this needs a bearer token or a session")
    }

    /// The token is unknown, expired or revoked.
    pub fn bad_token() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "InvalidToken", "the token is unknown, expired or revoked")
    }

    /// The client did not send the rest of its request in time.
    pub fn slow_body() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "RequestTimeout", "the body of the request did not come in time")
    }

    /// A fault of ours that a later try may not meet.
    pub fn unavailable(message: &'static str, cause: impl std::fmt::Display) -> Self {
        let cause = Some(cause.to_string().into());
        Self { cause, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message) }
    }

    /// A fault of ours that a later try will meet again.
    pub fn broken(cause: impl std::fmt::Display) -> Self {
        let error = "InternalServerError";
        let message = "something that should not happen did; it has been logged";
        let cause = Some(cause.to_string().into());
        Self { cause, ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, error, message) }
    }

    /// What the operator should read, if anything.
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// The whole answer, in the words of XRPC or of REST.
    pub fn answer(&self, is_xrpc: bool) -> Response {
        let mut response = if is_xrpc {
            let status = match self.status {
                StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
                status => status,
            };
            let body = XrpcError { error: self.error.to_owned(), message: self.message.to_string() };
            (status, Json(body)).into_response()
        } else {
            (self.status, Json(Detail { detail: self.message.to_string() })).into_response()
        };
        let headers = response.headers_mut();
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            // What comes of the body from here on is no request.
            StatusCode::REQUEST_TIMEOUT => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}

/// The answer to paths that nothing is at.
pub async fn refuse_path() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "NotFound", "nothing is at this path")
}

/// The answer to methods that a path does not take.
pub async fn refuse_method() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "InvalidRequest", "this path does not take this method")
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        if is_away(&error) {
            return Self::unavailable("the database does not answer; try again", error);
        }
        Self::broken(error)
    }
}

/// Whether the database is away, overloaded or shutting down, and not we at fault.
fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => true,
        // Connection, resources, transaction rollback, operator intervention, system error; a database or role that is not there.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            ["08", "53", "40", "55", "57", "58", "3D", "28"].contains(&code.get(..2).unwrap_or(""))
        }),
        _ => false,
    }
}
