//! The doors of a host: which request goes where.

use std::sync::{Arc, atomic::Ordering};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufStream},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::Instant,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{handshake::derive_accept_key, protocol::Role},
};

use crate::{
    fault::{Fault, When},
    http::{Answer, Request},
    reads::{self, Reply},
    session::{Seam, Session},
    sim::Shared,
    view::{Dialect, View},
};

/// Cursors of a Jetstream that are at least this are microseconds.
const MICROSECONDS_MIN: i64 = 1_000_000_000_000_000;
const V2_PATH: &str = "/xrpc/network.bsky.jetstream.subscribeEvents";
const FIREHOSE_PATH: &str = "/xrpc/com.atproto.sync.subscribeRepos";
const SUBPROTOCOL: &str = "xrpc.v1.json";

pub(crate) async fn accept(shared: Arc<Shared>, host: usize, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // Too many open files, for one: others will be closed.
                let Ok((stream, _)) = accepted else { continue };
                let _ = stream.set_nodelay(true);
                connections.spawn(connection(Arc::clone(&shared), host, stream));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(shared: Arc<Shared>, host: usize, stream: TcpStream) {
    let mut stream = BufStream::new(stream);
    while let Some(request) = Request::read(&mut stream).await {
        if shared.hosts[host].down.load(Ordering::Relaxed) {
            return;
        }
        if request.header_has("connection", "upgrade") {
            return upgrade(shared, host, request, stream).await;
        }
        match reads::answer(&shared, host, &request) {
            Reply::Answer(answer) => {
                if answer.send(&mut stream).await.is_err() {
                    return;
                }
            }
            Reply::Truncated(answer) => {
                let bytes = answer.encode();
                let _ = stream.write_all(&bytes[..bytes.len() - answer.body.len() / 2]).await;
                let _ = stream.flush().await;
                return;
            }
            Reply::Hang => {
                let _ = stream.read_to_end(&mut Vec::new()).await;
                return;
            }
        }
    }
}

/// What was decided about a request for a stream.
struct Opening {
    view: View,
    next: u64,
    seam: Seam,
    /// Said first.
    info: Option<&'static str>,
    /// Said first, and the end.
    error: Option<&'static str>,
}

async fn upgrade(shared: Arc<Shared>, host: usize, request: Request, mut stream: BufStream<TcpStream>) {
    let opening = match open(&shared, host, &request) {
        Ok(opening) => opening,
        Err(Refusal::Answer(answer)) => {
            let _ = answer.with("connection", "close").send(&mut stream).await;
            return;
        }
        Err(Refusal::Hang) => {
            let _ = stream.read_to_end(&mut Vec::new()).await;
            return;
        }
    };
    let accept = derive_accept_key(request.header("sec-websocket-key").unwrap_or_default().as_bytes());
    let mut head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n"
    );
    if opening.view.dialect == Dialect::V2 && request.header_has("sec-websocket-protocol", SUBPROTOCOL) {
        head += &["Sec-WebSocket-Protocol: ", SUBPROTOCOL, "\r\n"].concat();
    }
    head.push_str("\r\n");
    if stream.write_all(head.as_bytes()).await.is_err() || stream.flush().await.is_err() {
        return;
    }
    let cuts = shared.hosts[host].cuts.subscribe();
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    let Opening { view, next, seam, info, error } = opening;
    let mut session =
        Session { shared, host, view, socket, next, seam, held: Vec::new(), sent: 0, began: Instant::now(), cuts };
    let word = match (info, error) {
        (Some(info), _) => session.view.info(info),
        (_, Some(error)) => session.view.error(error),
        _ => None,
    };
    if let Some(word) = word
        && session.send(word).await.is_err()
    {
        return;
    }
    if error.is_some() {
        let _ = session.close(1008).await;
        return;
    }
    session.run().await;
}

enum Refusal {
    Answer(Answer),
    Hang,
}

/// What this request for a stream comes to, with the faults that strike at it.
fn open(shared: &Shared, host: usize, request: &Request) -> Result<Opening, Refusal> {
    let number = shared.hosts[host].connections.fetch_add(1, Ordering::Relaxed);
    let mut opening = plain_opening(shared, host, request).map_err(Refusal::Answer)?;
    let has_cursor = request.first("cursor").is_some();
    for fault in due(shared, host, number) {
        let strikes = match &fault {
            Fault::TooOld | Fault::Future => has_cursor,
            _ => true,
        };
        if !strikes {
            continue;
        }
        shared.fired.note(&fault.name());
        match fault {
            Fault::Answer { status, retry_after } => {
                let answer = Answer::error(status, if status == 503 { "ServiceUnavailable" } else { "Planned" });
                return Err(Refusal::Answer(match retry_after {
                    Some(text) => answer.with("retry-after", text),
                    None => answer,
                }));
            }
            Fault::Hang => return Err(Refusal::Hang),
            Fault::Invalid => return Err(Refusal::Answer(Answer::error(400, "InvalidRequest"))),
            Fault::TooOld => {
                let state = shared.read();
                let log = &state.logs[host];
                // A quarter of what it has is as though it were gone.
                opening.next = opening.next.max(log.begin() + (log.end() - log.begin()) / 4);
                match opening.view.dialect {
                    Dialect::V2 => return Err(Refusal::Answer(Answer::error(400, "CursorTooOld"))),
                    Dialect::Firehose => opening.info = Some("OutdatedCursor"),
                    Dialect::V1 { .. } => {}
                }
            }
            Fault::Future => {
                opening.next = shared.read().logs[host].end();
                if opening.view.dialect == Dialect::Firehose {
                    opening.error = Some("FutureCursor");
                }
            }
            Fault::SeamLoss(events) => opening.seam.lost = events,
            Fault::SeamSwap => opening.seam.swapped = true,
            _ => {}
        }
    }
    Ok(opening)
}

fn due(shared: &Shared, host: usize, connection: u64) -> Vec<Fault> {
    let host = &shared.hosts[host];
    let planned = host.plan.faults.iter().enumerate().filter(|(number, (when, fault))| {
        fault.at_request()
            && match when {
                When::At(at) => connection == *at && host.once(*number),
                When::Every(count) => (connection + 1).is_multiple_of(*count),
                When::EveryMs(_) => false,
                When::OneIn(count) => host.one_in(*count),
            }
    });
    let mut due: Vec<Fault> = planned.map(|(_, (_, fault))| fault.clone()).collect();
    due.extend(host.take_injected_at_request());
    due
}

/// The opening of a request at which nothing goes wrong.
fn plain_opening(shared: &Shared, host: usize, request: &Request) -> Result<Opening, Answer> {
    let texts = |name: &str| request.all(name).into_iter().map(str::to_owned).collect::<Vec<String>>();
    let v1_only = shared.hosts[host].v1_only;
    let cursor = match request.first("cursor") {
        Some(text) => Some(text.parse::<i64>().map_err(|_| Answer::error(400, "InvalidRequest"))?),
        None => None,
    };
    let mut view = View {
        dialect: Dialect::Firehose,
        collections: Vec::new(),
        dids: Vec::new(),
        kinds: Vec::new(),
        first_row: i64::MIN,
        compressor: None,
    };
    let state = shared.read();
    let log = &state.logs[host];
    let (mut info, mut error) = (None, None);
    let next = match request.path.as_str() {
        "/subscribe" => {
            view.dialect = Dialect::V1 { says_cursor: !v1_only };
            (view.collections, view.dids) = (texts("wantedCollections"), texts("wantedDids"));
            if view.collections.len() > 100 || view.dids.len() > 10_000 {
                return Err(Answer::error(400, "InvalidRequest"));
            }
            let compressed = request.first("compress") == Some("true") || request.header_has("socket-encoding", "zstd");
            view.compressor = compressed.then(|| shared.dictionary().compressor(true));
            match cursor {
                None => log.end(),
                Some(cursor) if v1_only || cursor >= MICROSECONDS_MIN => log.place_of_time(cursor),
                Some(cursor) => {
                    view.first_row = cursor.min(log.next_row());
                    log.place_of_row(cursor)
                }
            }
        }
        V2_PATH if !v1_only => {
            view.dialect = Dialect::V2;
            view_of_v2(shared, request, &mut view)?;
            match cursor {
                None => log.end(),
                Some(cursor) if log.oldest().is_some_and(|oldest| cursor < oldest.row) && log.begin() > 0 => {
                    return Err(Answer::error(400, "CursorTooOld"));
                }
                Some(cursor) if cursor >= log.next_row() => log.end(),
                Some(cursor) => {
                    view.first_row = cursor;
                    log.place_of_row(cursor)
                }
            }
        }
        FIREHOSE_PATH => {
            let announces = shared.hosts[host].announces;
            match cursor {
                None => log.end(),
                Some(cursor) => {
                    let too_old = log.begin() > 0 && log.oldest().is_some_and(|oldest| cursor + 1 < oldest.seq);
                    info = (announces && too_old).then_some("OutdatedCursor");
                    error = (announces && cursor >= log.next_seq()).then_some("FutureCursor");
                    log.place_after_seq(cursor)
                }
            }
        }
        _ => return Err(Answer::error(404, "MethodNotImplemented")),
    };
    let seam = Seam { at: log.end(), lost: 0, swapped: false };
    Ok(Opening { view, next, seam, info, error })
}

fn view_of_v2(shared: &Shared, request: &Request, view: &mut View) -> Result<(), Answer> {
    const KNOWN: [&str; 6] = ["cursor", "kinds", "dids", "collections", "maxMessageSizeBytes", "zstdDictionary"];
    const KINDS: [&str; 4] = ["commit", "identity", "account", "sync"];
    if request.query.iter().any(|(name, _)| !KNOWN.contains(&name.as_str())) {
        return Err(Answer::error(400, "InvalidRequest"));
    }
    // A list is a parameter that is repeated, or one with commas.
    let texts = |name: &str| -> Vec<String> {
        request.all(name).iter().flat_map(|text| text.split(',')).map(str::to_owned).collect()
    };
    (view.kinds, view.dids, view.collections) = (texts("kinds"), texts("dids"), texts("collections"));
    if view.kinds.iter().any(|kind| !KINDS.contains(&kind.as_str())) {
        return Err(Answer::error(400, "InvalidRequest"));
    }
    if let Some(id) = request.first("zstdDictionary") {
        let dictionary = shared.dictionary();
        if id != dictionary.id.to_string() {
            return Err(Answer::error(400, "UnknownZstdDictionary"));
        }
        view.compressor = Some(dictionary.compressor(false));
    }
    Ok(())
}

/// What `/_sim/` says.
pub(crate) fn own_pages(shared: &Shared, host: usize, request: &Request) -> Option<Answer> {
    match request.path.as_str() {
        "/_sim/fired" => Some(Answer::json(&json!(shared.fired.counts()))),
        "/_sim/dictionary" => Some(Answer::bytes("application/octet-stream", shared.dictionary().of_v1())),
        "/_sim/state" => {
            let state = shared.read();
            let hosts = state.logs.iter().zip(&shared.hosts).map(|(log, host)| {
                json!({
                    "address": host.address.to_string(), "begin": log.begin(), "end": log.end(), "lost": log.lost,
                    "next_row": log.next_row(), "next_seq": log.next_seq(),
                    "connections": host.connections.load(Ordering::Relaxed),
                    "requests": host.requests.load(Ordering::Relaxed),
                })
            });
            Some(Answer::json(&json!({
                "host": host, "actors": state.world.actor_count(), "events": state.world.events().len(),
                "hosts": hosts.collect::<Vec<_>>(),
            })))
        }
        _ => None,
    }
}
