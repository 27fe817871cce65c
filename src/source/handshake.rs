//! The opening of a websocket ([RFC 6455, section 4](https://www.rfc-editor.org/rfc/rfc6455#section-4.1)).
//!
//! Not the websocket library's own, which takes `Connection: Upgrade` and nothing else: the headers of HTTP are lists, proxies add
//! to them, and say `keep-alive, Upgrade`.

use std::time::Duration;

use reqwest::{
    Response, StatusCode, Upgraded,
    header::{
        CONNECTION, DATE, HeaderMap, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
        SEC_WEBSOCKET_VERSION, UPGRADE,
    },
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::{client::generate_key, derive_accept_key},
        protocol::{Role, WebSocketConfig},
    },
};

use super::{disconnect::Disconnect, tls};

pub(super) type Socket = WebSocketStream<Upgraded>;

/// Bytes of a refusal that are read.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// A websocket that is open, and what the host said when it opened.
pub(super) struct Opened {
    pub(super) socket: Socket,
    headers: HeaderMap,
}

/// Opens a websocket: name resolution, TCP, TLS and upgrade within this time.
pub(super) async fn open(
    url: &str,
    subprotocol: Option<&'static str>,
    config: WebSocketConfig,
    time_max: Duration,
) -> Result<Opened, Disconnect> {
    tokio::time::timeout(time_max, try_open(url, subprotocol, config, time_max))
        .await
        .unwrap_or_else(|_| Err(Disconnect::Broken(format!("no connection within {time_max:?}"))))
}

async fn try_open(
    url: &str,
    subprotocol: Option<&'static str>,
    config: WebSocketConfig,
    time_max: Duration,
) -> Result<Opened, Disconnect> {
    let failed = |error: reqwest::Error| Disconnect::of_request(&error);
    let (key, client) = (generate_key(), tls::client(time_max).map_err(failed)?);
    let mut request = client
        .get(url.replacen("ws", "http", 1))
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, &key);
    if let Some(subprotocol) = subprotocol {
        request = request.header(SEC_WEBSOCKET_PROTOCOL, subprotocol);
    }
    let response = request.send().await.map_err(failed)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(read_refusal(response).await);
    }
    check(response.headers(), &key, subprotocol)?;
    let headers = response.headers().clone();
    let upgraded = response.upgrade().await.map_err(failed)?;
    let socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await;
    Ok(Opened { socket, headers })
}

/// What the host says instead of opening a websocket, as far as it is read.
async fn read_refusal(mut response: Response) -> Disconnect {
    let (status, headers, mut body) = (response.status(), response.headers().clone(), Vec::new());
    while let Ok(Some(more)) = response.chunk().await {
        body.extend_from_slice(&more);
        if body.len() > REFUSAL_BYTES_MAX {
            break;
        }
    }
    Disconnect::of_answer(status, &headers, &body)
}

/// Opens a websocket and closes it again. Gives the `Date` of the answer, or why it could not be opened.
pub async fn probe(url: &str, time_max: Duration) -> Result<Option<String>, String> {
    match open(url, None, WebSocketConfig::default(), time_max).await {
        Ok(Opened { headers, .. }) => Ok(text(&headers, DATE).map(str::to_owned)),
        Err(disconnect) => Err(disconnect.reason().to_owned()),
    }
}

/// Whether the answer opens the websocket that was asked for.
fn check(headers: &HeaderMap, key: &str, subprotocol: Option<&str>) -> Result<(), Disconnect> {
    let fails = |what: &str| Err(Disconnect::Broken(format!("its answer opens no websocket: {what}")));
    if !has_token(headers, UPGRADE, "websocket") {
        return fails("Upgrade does not name websocket");
    }
    if !has_token(headers, CONNECTION, "upgrade") {
        return fails("Connection does not name Upgrade");
    }
    if text(headers, SEC_WEBSOCKET_ACCEPT) != Some(&*derive_accept_key(key.as_bytes())) {
        return fails("Sec-WebSocket-Accept does not fit the key");
    }
    match (text(headers, SEC_WEBSOCKET_PROTOCOL), subprotocol) {
        (None, Some(_)) => Err(Disconnect::NoSubprotocol),
        (Some(_), None) => fails("it names a subprotocol that was not offered"),
        (Some(named), Some(offered)) if named != offered => fails("it names a subprotocol that was not offered"),
        _ => Ok(()),
    }
}

/// Whether a header, which is a list and may be there several times, holds a word.
fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let lists = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}
