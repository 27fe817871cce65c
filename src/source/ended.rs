use std::time::Duration;

use tokio_tungstenite::tungstenite::{
    Error,
    http::{HeaderMap, StatusCode, header::RETRY_AFTER},
    protocol::CloseFrame,
};

/// Why there is no connection, or no more.
#[derive(Debug)]
pub(super) enum Ended {
    /// Trying again as we are is in vain.
    Refused(String),
    /// The upstream asks for patience, perhaps for how long.
    Busy(String, Option<Duration>),
    /// The upstream objects to us, but may think otherwise later.
    Rejected(String),
    /// Anything else: try again soon.
    Broken(String),
    /// Nobody wants the deliveries any more.
    Unwanted,
}

impl Ended {
    /// Reads an error before or after the upgrade.
    pub(super) fn of_error(error: &Error) -> Self {
        match error {
            Error::Http(response) => {
                let body = response.body().as_deref().unwrap_or_default();
                Self::of_answer(response.status(), response.headers(), body)
            }
            Error::Capacity(_) => {
                Self::Rejected(format!("it sent more than a message may hold: {}", plain_text(&error.to_string())))
            }
            _ => Self::Broken(plain_text(&error.to_string())),
        }
    }

    /// Reads the close of a connection that was open.
    pub(super) fn of_close(frame: Option<&CloseFrame>) -> Self {
        let Some(frame) = frame else { return Self::Broken("it closed the connection without a code".to_owned()) };
        let code = u16::from(frame.code);
        match plain_text(&frame.reason) {
            said if said.is_empty() => Self::Broken(format!("it closed the connection with code {code}")),
            said => Self::Broken(format!("it closed the connection with code {code}: {said}")),
        }
    }

    fn of_answer(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let problem = Problem::read(body);
        let said = match &problem {
            Some(Problem { error, message: Some(message) }) => format!(" {error}: {message}"),
            Some(Problem { error, message: None }) => format!(" {error}"),
            None => String::new(),
        };
        let reason = plain_text(&format!("it answered HTTP {}{said}", status.as_u16()));
        match status.as_u16() {
            400 if problem.is_some_and(|problem| problem.error == "InvalidRequest") => Self::Refused(reason),
            429 | 503 => Self::Busy(reason, retry_after(headers)),
            300..=499 => Self::Rejected(reason),
            _ => Self::Broken(reason),
        }
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

/// What a stranger said, fit for a log line and an operator's screen.
fn plain_text(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}
