//! The refusals that routes share, as the OpenAPI document tells them.
//!
//! A route names in its `responses(..)` the sets that apply to it, and by hand what it alone refuses.

use utoipa::IntoResponses;

use super::error::{Detail, XrpcError};

/// What any REST route that asks the database may answer.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "the variants are for the document alone")]
pub enum ServerErrors {
    /// A fault of ours, which has been logged.
    #[response(status = 500)]
    Broken(Detail),
    /// The database does not answer, or the time limit ran out; `Retry-After` says when to try again.
    #[response(status = 503)]
    Unavailable(Detail),
}

/// Parameters that break their rules.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "the variants are for the document alone")]
pub enum ParameterErrors {
    /// The address is above 64 KB; the answer is empty.
    #[response(status = 414)]
    AddressTooLong,
    /// The address and the headers are above 128 KiB together; the answer is empty.
    #[response(status = 431)]
    HeadTooLong,
    /// A parameter breaks its rule; the sentence names it.
    #[response(status = 422)]
    Parameter(Detail),
}

/// A cursor that was not given for this query.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "the variant is for the document alone")]
pub enum CursorErrors {
    /// The cursor is not one that was given for this query.
    #[response(status = 400)]
    Cursor(Detail),
}

/// A route that needs no viewer.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "the variant is for the document alone")]
pub enum AnyoneErrors {
    /// A token was given and is not valid.
    #[response(status = 401)]
    BadToken(Detail),
}

/// A route that needs a viewer.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "the variant is for the document alone")]
pub enum ViewerErrors {
    /// No token, or one that is not valid.
    #[response(status = 401)]
    Anonymous(Detail),
}

/// What any XRPC query may answer.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "the variants are for the document alone")]
pub enum XrpcErrors {
    /// `InvalidRequest`: a parameter breaks its rule. `InvalidCursor`: the cursor is not one that was given for this query.
    /// `ActorNotFound`: no account is known to have the handle. `ListNotFound`: there is no such list.
    #[response(status = 400)]
    Refused(XrpcError),
    /// `AuthMissing`: neither an actor nor a token. `InvalidToken`: a token was given and is not valid.
    #[response(status = 401)]
    BadToken(XrpcError),
    /// The address is above 64 KB; the answer is empty.
    #[response(status = 414)]
    AddressTooLong,
    /// The address and the headers are above 128 KiB together; the answer is empty.
    #[response(status = 431)]
    HeadTooLong,
    /// `InternalServerError`: a fault of ours, which has been logged.
    #[response(status = 500)]
    Broken(XrpcError),
    /// `ServiceUnavailable`: the database does not answer, or the time limit ran out; `Retry-After` says when to try again.
    #[response(status = 503)]
    Unavailable(XrpcError),
}
