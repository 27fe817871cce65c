//! How the API answers, as the operator set it.

use std::time::Duration;

use axum::http::HeaderValue;

use crate::model::Collections;

/// How old the report of how it stands may be: however many ask, it is made once in that time.
pub const STATUS_AGE_MAX: Duration = Duration::from_secs(1);

/// How the API answers.
#[derive(Debug, Clone)]
pub struct ServeSettings {
    /// Origins whose pages may ask, with cookies; none by default.
    pub cors_origins: Vec<HeaderValue>,
    /// The key that seals cursors. Servers behind one name share it.
    pub cursor_key: [u8; 32],
    /// The collections of the namespace, after which the XRPC methods are named.
    pub collections: Collections,
    /// `/ready` refuses when the index is further behind than this, in seconds.
    pub lag_limit_s: f64,
    /// A request is given up after this long, body included.
    pub time_limit: Duration,
    /// The report of how it stands may be this old.
    pub status_age_max: Duration,
}

impl ServeSettings {
    /// The defaults: no foreign origins, five minutes of lag, ten seconds for a request, a report of the last second.
    pub fn new(collections: Collections, cursor_key: [u8; 32]) -> Self {
        let time_limit = Duration::from_secs(10);
        let status_age_max = STATUS_AGE_MAX;
        Self { cors_origins: Vec::new(), cursor_key, collections, lag_limit_s: 300.0, time_limit, status_age_max }
    }
}
