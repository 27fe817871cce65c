use std::error::Error as _;

use metrics::counter;
use reqwest::{StatusCode, header::HeaderMap};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout_at},
};
use tokio_tungstenite::tungstenite::Bytes;

use super::{
    HostError,
    hosts::{Admission, Health},
    resolver::Refused,
    retry_after,
};
use crate::atproto::Timestamp;

/// Bytes of an error's body that are read, for its name.
const ERROR_BYTES_MAX: usize = 16 << 10;
const MESSAGE_CHARS_MAX: usize = 200;

/// A whole answer, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

/// An answer that is being read.
#[derive(Debug)]
pub struct Download {
    pub(super) response: reqwest::Response,
    pub(super) left: usize,
    pub(super) bytes_max: usize,
    pub(super) deadline: Instant,
    pub(super) admission: Admission,
    /// A host of the operator has places of its own.
    pub(super) _in_all: Option<OwnedSemaphorePermit>,
}

impl Download {
    /// The next piece, none at the end. After an error there is nothing more to come.
    pub async fn next(&mut self) -> Result<Option<Bytes>, HostError> {
        let piece = self.read().await;
        match &piece {
            Ok(Some(_)) => {}
            Ok(None) => {
                self.report(Health::Works);
                count("ok");
            }
            Err(error) => {
                self.report(health_after(error));
                count(error.outcome());
            }
        }
        piece
    }

    async fn read(&mut self) -> Result<Option<Bytes>, HostError> {
        let too_large = HostError::TooLarge { bytes_max: self.bytes_max };
        // What the host says of the length is believed when it is too much: then nothing need be read.
        if self.response.content_length().is_some_and(|length| length > self.left as u64) {
            return Err(too_large);
        }
        let piece = match timeout_at(self.deadline, self.response.chunk()).await {
            Ok(piece) => piece.map_err(|error| classify(&error))?,
            Err(_) => return Err(HostError::TimedOut),
        };
        if let Some(piece) = &piece {
            self.left = self.left.checked_sub(piece.len()).ok_or(too_large)?;
        }
        Ok(piece)
    }

    /// Notes what the answer says of its host. Gives the moment until which the host is not asked.
    pub(super) fn report(&mut self, health: Health) -> Option<Timestamp> {
        self.admission.report(health)
    }

    /// The whole answer, whatever its status, unless the host throttles.
    pub(super) async fn into_answer(mut self) -> Result<Answer, HostError> {
        self.refuse_throttled()?;
        let (status, headers) = (self.response.status(), std::mem::take(self.response.headers_mut()));
        let mut body = Vec::new();
        loop {
            match self.read().await {
                Ok(Some(piece)) => body.extend_from_slice(&piece),
                Ok(None) => break,
                Err(error) => {
                    self.report(health_after(&error));
                    return Err(error);
                }
            }
        }
        self.report(health_of(status));
        Ok(Answer { status: status.as_u16(), headers, body })
    }

    /// What an answer says that is no success.
    pub(super) async fn into_error(mut self) -> HostError {
        if let Err(throttled) = self.refuse_throttled() {
            return throttled;
        }
        let status = self.response.status();
        self.report(health_of(status));
        let mut body = Vec::new();
        (self.left, self.bytes_max) = (ERROR_BYTES_MAX, ERROR_BYTES_MAX);
        while let Ok(Some(piece)) = self.read().await {
            body.extend_from_slice(&piece);
        }
        let Named { error, message } = serde_json::from_slice(&body).unwrap_or_default();
        let message = message.map(|text| text.chars().take(MESSAGE_CHARS_MAX).collect());
        HostError::Status { status: status.as_u16(), error, message }
    }

    fn refuse_throttled(&mut self) -> Result<(), HostError> {
        let (status, now) = (self.response.status(), self.admission.now());
        let retry_after = retry_after::parse(self.response.headers(), now);
        let throttles = status == StatusCode::TOO_MANY_REQUESTS
            || status == StatusCode::SERVICE_UNAVAILABLE && retry_after.is_some();
        if !throttles {
            return Ok(());
        }
        let until = self.report(Health::Throttles(retry_after)).unwrap_or(now);
        Err(HostError::Throttled { until })
    }
}

fn health_after(error: &HostError) -> Health {
    let is_away = matches!(error, HostError::Unreachable(_) | HostError::TimedOut);
    if is_away { Health::Fails } else { Health::Works }
}

fn health_of(status: StatusCode) -> Health {
    if status.is_server_error() { Health::Fails } else { Health::Works }
}

/// An error of XRPC.
#[derive(Default, serde::Deserialize)]
struct Named {
    error: Option<String>,
    message: Option<String>,
}

/// An answer that was read to its end counts as `ok` even if it then turns out to be no JSON, which counts once more.
pub(super) fn count(outcome: &'static str) {
    counter!("plyr_hosts_requests_total", "outcome" => outcome).increment(1);
}

pub(super) fn classify(error: &reqwest::Error) -> HostError {
    if error.is_timeout() {
        return HostError::TimedOut;
    }
    let mut deepest = error.source();
    let mut text = error.to_string();
    while let Some(cause) = deepest {
        if cause.is::<Refused>() {
            return HostError::AddressRefused;
        }
        text = cause.to_string();
        deepest = cause.source();
    }
    HostError::Unreachable(text.chars().take(MESSAGE_CHARS_MAX).collect())
}
