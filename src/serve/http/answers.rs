//! The bytes of all answers together: each page is bounded, and a thousand clients that read slowly would hold a thousand of them.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse, Response},
};
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::ApiError;

/// Bytes of answers that are being sent, but for small ones.
const ANSWERS_LENGTH_MAX: usize = 64 * 1024 * 1024;
/// An answer up to here is always sent: there are no more of these than connections, and they serve most clients. Those who read large
/// ones slowly take nothing from them.
const SMALL_LENGTH_MAX: usize = 32 * 1024;
/// An answer leaves in pieces, so that what has not been handed to the connection is known to be here.
const PIECE_LENGTH: usize = 64 * 1024;
/// Bytes are counted by the kibibyte.
const UNIT: usize = 1024;

/// What all answers may hold together.
#[derive(Debug, Clone)]
pub struct AnswerBytes(Arc<Semaphore>);

impl Default for AnswerBytes {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ANSWERS_LENGTH_MAX / UNIT)))
    }
}

/// Directly around the routes: refuses an answer that all others leave no room for.
pub async fn hold(State(AnswerBytes(units)): State<AnswerBytes>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let length = response.body().size_hint().lower();
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length <= SMALL_LENGTH_MAX {
        return response;
    }
    let wanted = u32::try_from(length.div_ceil(UNIT)).unwrap_or(u32::MAX);
    let Ok(room) = units.try_acquire_many_owned(wanted) else {
        let message = "too many large answers are being sent; try again, or ask for less";
        return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message).into_response();
    };
    response.map(|body| Body::new(Held { body, rest: Bytes::new(), _room: room }))
}

/// A body that counts until its last piece has been taken.
struct Held {
    body: Body,
    rest: Bytes,
    _room: OwnedSemaphorePermit,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else { return Poll::Pending };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.rest = data,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let length = self.rest.len().min(PIECE_LENGTH);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        let mut hint = self.body.size_hint();
        if let Some(length) = hint.exact() {
            return SizeHint::with_exact(length + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}
