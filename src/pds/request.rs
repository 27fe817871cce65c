use std::{fmt, time::Duration};

use reqwest::{Method, Url, header::HeaderMap};
use tokio_tungstenite::tungstenite::Bytes;

use super::HostError;

/// Who named the host of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// A DID document or a handle, which anyone may write.
    Untrusted,
    /// The settings. Where such a host redirects to is untrusted.
    Operator,
}

/// One request.
#[derive(Clone)]
pub struct Request {
    /// What is asked for.
    pub url: Url,
    /// Who named its host.
    pub trust: Trust,
    /// Sent to this host alone, not to one that it redirects to. They may hold secrets, and are not printed.
    pub headers: HeaderMap,
    /// Bytes that the answer may have.
    pub bytes_max: usize,
    /// How long all of it may take, redirects and body included, from the moment when it is sent.
    pub time_max: Duration,
    /// What is sent, by POST; without it, the request is a GET.
    body: Option<Bytes>,
}

/// Bytes that are sent at most. A record of a repo has up to a megabyte.
const BODY_BYTES_MAX: usize = 2 << 20;

impl Request {
    /// A GET of something small.
    pub fn new(url: Url, trust: Trust) -> Self {
        let (bytes_max, time_max) = (1 << 20, Duration::from_secs(15));
        Self { url, trust, headers: HeaderMap::new(), bytes_max, time_max, body: None }
    }

    /// A POST with a small answer. A redirect of it is not followed.
    pub fn post(url: Url, trust: Trust, body: impl Into<Bytes>) -> Result<Self, HostError> {
        let body = body.into();
        if body.len() > BODY_BYTES_MAX {
            return Err(HostError::BodyTooLarge { bytes_max: BODY_BYTES_MAX });
        }
        Ok(Self { body: Some(body), ..Self::new(url, trust) })
    }

    pub(super) fn method(&self) -> Method {
        if self.body.is_some() { Method::POST } else { Method::GET }
    }

    pub(super) fn body(&self) -> Option<Bytes> {
        self.body.clone()
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, trust, bytes_max, time_max, .. } = self;
        f.debug_struct("Request")
            .field("method", &self.method())
            .field("url", &url.as_str())
            .field("trust", trust)
            .field("bytes_max", bytes_max)
            .field("time_max", time_max)
            .finish_non_exhaustive()
    }
}
