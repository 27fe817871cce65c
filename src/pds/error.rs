use crate::atproto::Timestamp;

/// A request to a host brought nothing that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The address cannot be asked: malformed, or not https.
    #[error("not an address that can be asked: {0}")]
    BadUrl(&'static str),
    /// The host is no public one.
    #[error("the host has no public address: it is not asked")]
    AddressRefused,
    /// No connection, or it broke.
    #[error("the host cannot be reached: {0}")]
    Unreachable(String),
    /// The host took too long.
    #[error("the host did not answer in time")]
    TimedOut,
    /// The answer is larger than it may be.
    #[error("the answer is larger than {bytes_max} bytes")]
    TooLarge {
        /// What it may have.
        bytes_max: usize,
    },
    /// All readings together hold as much as they may.
    #[error("there is no room for more of the answer now")]
    NoRoom,
    /// The host asks for patience, now or some time ago.
    #[error("the host asks for patience until {}", until.utc().to_rfc3339())]
    Throttled {
        /// When to come back, at the earliest.
        until: Timestamp,
    },
    /// The host has failed so often that it is left alone. Nothing was asked.
    #[error("the host fails: it is left alone until {}", until.utc().to_rfc3339())]
    BrokenCircuit {
        /// When one request is tried.
        until: Timestamp,
    },
    /// The host sends from one place to the next.
    #[error("the host redirects too often")]
    TooManyRedirects,
    /// What was sent would have to be sent again to another place, which is not done.
    #[error("the host redirects what was sent to it")]
    RedirectedPost,
    /// What is to be sent is larger than it may be. Nothing was sent.
    #[error("what is to be sent is larger than {bytes_max} bytes")]
    BodyTooLarge {
        /// What it may have.
        bytes_max: usize,
    },
    /// The host answered, and it is no success.
    #[error("the host answered {status}{}{}", named(": ", error.as_deref()), named(": ", message.as_deref()))]
    Status {
        /// The HTTP status.
        status: u16,
        /// The name of the error, where the answer is one of XRPC.
        error: Option<String>,
        /// The host's sentence about it, cut to 200 characters.
        message: Option<String>,
    },
    /// The answer is not the JSON that it should be.
    #[error("the answer is not what was asked for: {0}")]
    NotAsExpected(String),
}

fn named(separator: &str, text: Option<&str>) -> String {
    text.map(|text| format!("{separator}{text}")).unwrap_or_default()
}

impl HostError {
    /// The outcomes that requests are counted by.
    pub const OUTCOMES: [&'static str; 14] = [
        "ok",
        "bad_url",
        "address_refused",
        "unreachable",
        "timed_out",
        "too_large",
        "no_room",
        "throttled",
        "broken_circuit",
        "too_many_redirects",
        "redirected_post",
        "body_too_large",
        "refused",
        "not_as_expected",
    ];

    /// One word for a metric.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::BadUrl(_) => "bad_url",
            Self::AddressRefused => "address_refused",
            Self::Unreachable(_) => "unreachable",
            Self::TimedOut => "timed_out",
            Self::TooLarge { .. } => "too_large",
            Self::NoRoom => "no_room",
            Self::Throttled { .. } => "throttled",
            Self::BrokenCircuit { .. } => "broken_circuit",
            Self::TooManyRedirects => "too_many_redirects",
            Self::RedirectedPost => "redirected_post",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::Status { .. } => "refused",
            Self::NotAsExpected(_) => "not_as_expected",
        }
    }

    /// When the host may be asked again, where it is known: until then, every request to it fails with the same.
    pub fn retry_at(&self) -> Option<Timestamp> {
        match self {
            Self::Throttled { until } | Self::BrokenCircuit { until } => Some(*until),
            _ => None,
        }
    }

    /// Whether the same request may well succeed later: the host was away or busy, and nothing was learnt of what was asked.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable(_)
            | Self::TimedOut
            | Self::NoRoom
            | Self::Throttled { .. }
            | Self::BrokenCircuit { .. } => true,
            Self::Status { status, .. } => *status >= 500 || *status == 408,
            _ => false,
        }
    }
}
