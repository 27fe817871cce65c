use std::time::Duration;

use tokio_tungstenite::tungstenite::{
    Error,
    http::{HeaderMap, StatusCode, header::RETRY_AFTER},
    protocol::CloseFrame,
};

use super::Lost;

/// Why there is no connection, or no more.
#[derive(Debug)]
pub(super) enum Disconnect {
    /// Trying again as we are is in vain.
    Refused(String),
    /// The upstream asks for patience, perhaps for how long.
    Busy(String, Option<Duration>),
    /// The upstream objects to us, but may think otherwise later.
    Rejected(String),
    /// The upstream closed in order.
    Closed(String),
    /// Anything else: try again soon.
    Broken(String),
    /// The upstream no longer keeps what it was asked for, and says perhaps since when it does.
    TooOld(String),
    /// What came first shows that what was asked for is not in the upstream's past.
    Ahead(Lost),
    /// The upstream does not know the dictionary.
    UnknownDictionary(String),
    /// A compressed message could not be read.
    Undecodable(String),
    /// The upstream does not say which subprotocol it speaks, which it need not when it is not asked.
    NoSubprotocol,
    /// The receiver of the deliveries is gone.
    ReceiverGone,
}

impl Disconnect {
    /// Reads an error of a connection that was open.
    pub(super) fn of_error(error: &Error) -> Self {
        match error {
            Error::Capacity(_) => {
                Self::Rejected(format!("it sent more than a message may hold: {}", plain_text(&error.to_string())))
            }
            _ => Self::Broken(plain_text(&error.to_string())),
        }
    }

    /// Reads an error before the host has answered: the innermost cause says most.
    pub(super) fn of_request(error: &reqwest::Error) -> Self {
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        Self::Broken(plain_text(&find_tls(error).map_or_else(|| cause.to_string(), of_tls)))
    }

    /// In one sentence.
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Refused(reason)
            | Self::Busy(reason, _)
            | Self::Rejected(reason)
            | Self::Closed(reason)
            | Self::Broken(reason)
            | Self::TooOld(reason)
            | Self::UnknownDictionary(reason)
            | Self::Undecodable(reason) => reason,
            Self::Ahead(_) => "what was asked for is not in its past",
            Self::NoSubprotocol => "it names no subprotocol",
            Self::ReceiverGone => "the program stops",
        }
    }

    /// Reads the close of a connection that was open.
    pub(super) fn of_close(frame: Option<&CloseFrame>) -> Self {
        let Some(frame) = frame else { return Self::Broken("it closed the connection without a code".to_owned()) };
        let code = u16::from(frame.code);
        let reason = match plain_text(&frame.reason) {
            message if message.is_empty() => format!("it closed the connection with code {code}"),
            message => format!("it closed the connection with code {code}: {message}"),
        };
        if matches!(code, 1000 | 1001) { Self::Closed(reason) } else { Self::Broken(reason) }
    }

    /// Reads what the host answered instead of opening a websocket.
    pub(super) fn of_answer(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let problem = Problem::read(body);
        let message = match &problem {
            Some(Problem { error, message: Some(message) }) => format!(" {error}: {message}"),
            Some(Problem { error, message: None }) => format!(" {error}"),
            None => String::new(),
        };
        let reason = plain_text(&format!("it answered HTTP {}{message}", status.as_u16()));
        let name = problem.as_ref().map(|problem| problem.error.as_str());
        match (status.as_u16(), name) {
            (400, Some("InvalidRequest")) => Self::Refused(reason),
            (400, Some("CursorTooOld")) => {
                Self::TooOld(problem.and_then(|problem| problem.message).unwrap_or_default())
            }
            (400, Some("UnknownZstdDictionary")) => Self::UnknownDictionary(reason),
            (429 | 503, _) => Self::Busy(reason, retry_after(headers)),
            (300..=499, _) => Self::Rejected(reason),
            _ => Self::Broken(reason),
        }
    }
}

/// The error of TLS among the causes of an error. One of I/O holds its own cause elsewhere than others do.
fn find_tls<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e rustls::Error> {
    let inside = || Some(error.downcast_ref::<std::io::Error>()?.get_ref()? as &(dyn std::error::Error + 'static));
    error.downcast_ref().or_else(|| find_tls(inside()?)).or_else(|| find_tls(error.source()?))
}

/// What is wrong with the TLS of a host.
fn of_tls(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidMessage(_) => {
            "its TLS failed: the host does not speak TLS on this port; without TLS it is ws://, and not wss://"
                .to_owned()
        }
        rustls::Error::InvalidCertificate(error) => {
            format!(
                "its TLS failed: its certificate cannot be trusted ({error}); see that the name of the host is right"
            )
        }
        error => format!("its TLS failed: {error}"),
    }
}

/// The body of an XRPC error.
#[derive(serde::Deserialize)]
struct Problem {
    error: String,
    message: Option<String>,
}

impl Problem {
    /// Finds the JSON object in a body, which may be framed in chunks.
    fn read(body: &[u8]) -> Option<Self> {
        let start = body.iter().position(|byte| *byte == b'{')?;
        let end = body.iter().rposition(|byte| *byte == b'}')?;
        serde_json::from_slice(body.get(start..=end)?).ok()
    }
}

/// `Retry-After` in seconds. The other form, a date, is left to the backoff.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// What an untrusted host message, fit for a log line and an operator's screen.
fn plain_text(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}
