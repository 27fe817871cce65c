//! A scripted upstream, faults included. It speaks the websocket level of both Jetstreams and of
//! subscribeRepos, and answers plain requests; what the messages hold is the test's business.
//!
//! For each connection a script is asked what to do, given the request. Everything that is done is noted, so that a test can
//! check that its fault happened.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::JoinSet,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Bytes, Message,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role},
    },
};

/// What the client asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// Which connection this is, from 0; plain requests are counted apart.
    pub connection: usize,
    /// Whether a websocket is wanted.
    pub is_upgrade: bool,
    /// The subprotocols that are offered.
    pub subprotocols: Vec<String>,
    /// Without the query.
    pub path: String,
    /// In order, as they came.
    pub query: Vec<(String, String)>,
}

impl Request {
    /// All values of a parameter, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.query.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The cursor, if one was sent.
    pub fn cursor(&self) -> Option<i64> {
        self.all("cursor").first().map(|text| text.parse().expect("a cursor is a number"))
    }
}

/// A thing to do on a connection.
#[derive(Debug, Clone)]
pub enum Act {
    /// Answer the request with this status instead of the upgrade, and close.
    Answer { status: u16, headers: Vec<(&'static str, String)>, body: String },
    /// Answer a plain request with these bytes.
    Bytes(Vec<u8>),
    /// Never answer the request.
    HangBeforeUpgrade,
    /// Upgrade without naming a subprotocol. Must come first.
    NoSubprotocol,
    /// Send a text message.
    Text(String),
    /// Send a binary message.
    Binary(Vec<u8>),
    /// Send many messages, flushing once.
    Burst(Vec<Message>),
    /// Ping, and wait for the pong.
    Ping,
    /// Close with a code, and wait for the client's answer.
    Close(u16),
    /// End the TCP connection in order, without a close frame (the client sees 1006).
    Drop,
    /// Send a frame's header and half of its content, then reset the TCP connection.
    ResetInsideFrame,
    /// Send these bytes as they are.
    Raw(Vec<u8>),
    /// Read what the client sends, pings included, and answer nothing.
    Mute,
    /// Stay, answering pings and noting each as `pinged`.
    Stay,
    /// Wait until the test calls [`Upstream::go`].
    WaitForGo,
    /// Send what a log holds from a cursor on, and then what is added to it.
    Tail { log: watch::Receiver<Vec<Line>>, cursor: Option<i64> },
}

/// A message in a host's log.
#[derive(Debug, Clone)]
pub struct Line {
    pub time_us: i64,
    pub text: String,
    pub told: Told,
}

/// What a host does with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Sends it, live and in a replay.
    Always,
    /// Leaves it out of the live stream, noting `missed`, but sends it in a replay.
    InReplay,
    /// Never sends it, noting `hid`.
    Never,
}

impl Act {
    /// The name under which the act is noted.
    pub fn name(&self) -> String {
        match self {
            Self::Answer { status, .. } => format!("answer {status}"),
            Self::Bytes(_) => "bytes".to_owned(),
            Self::HangBeforeUpgrade => "hang".to_owned(),
            Self::NoSubprotocol => "no subprotocol".to_owned(),
            Self::Text(_) => "text".to_owned(),
            Self::Binary(_) => "binary".to_owned(),
            Self::Burst(_) => "burst".to_owned(),
            Self::Ping => "ping".to_owned(),
            Self::Close(code) => format!("close {code}"),
            Self::Drop => "drop".to_owned(),
            Self::ResetInsideFrame => "reset".to_owned(),
            Self::Raw(_) => "raw".to_owned(),
            Self::Mute => "mute".to_owned(),
            Self::Stay => "stay".to_owned(),
            Self::WaitForGo => "wait".to_owned(),
            Self::Tail { .. } => "tail".to_owned(),
        }
    }
}

type Script = dyn Fn(&Request) -> Vec<Act> + Send + Sync;

#[derive(Default)]
struct Notes {
    requests: Vec<Request>,
    downloads: Vec<Request>,
    done: Vec<(usize, String)>,
}

/// A running upstream; ends with the value.
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    notes: Arc<Mutex<Notes>>,
    changes: Arc<watch::Sender<u64>>,
    go: Arc<Notify>,
    _tasks: JoinSet<()>,
}

impl Upstream {
    /// Listens on a free port of loopback.
    pub async fn start(script: impl Fn(&Request) -> Vec<Act> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let notes = Arc::new(Mutex::new(Notes::default()));
        let changes = Arc::new(watch::Sender::new(0));
        let go = Arc::new(Notify::new());
        let server =
            Server { script: Arc::new(script), notes: notes.clone(), changes: changes.clone(), go: go.clone() };
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("accept");
                let server = server.clone();
                connections.spawn(async move { server.serve(stream).await });
            }
        });
        Self { address, notes, changes, go, _tasks: tasks }
    }

    /// Lets one waiting [`Act::WaitForGo`] go on, now or when it comes.
    pub fn go(&self) {
        self.go.notify_one();
    }

    /// The requests for a websocket so far.
    pub fn requests(&self) -> Vec<Request> {
        self.notes.lock().expect("no panic").requests.clone()
    }

    /// The plain requests so far.
    pub fn downloads(&self) -> Vec<Request> {
        self.notes.lock().expect("no panic").downloads.clone()
    }

    /// The cursors that were sent so far.
    pub fn cursors(&self) -> Vec<Option<i64>> {
        self.requests().iter().map(Request::cursor).collect()
    }

    /// What was done so far, with the number of its connection.
    pub fn done(&self) -> Vec<(usize, String)> {
        self.notes.lock().expect("no panic").done.clone()
    }

    /// Whether an act of this name was done.
    pub fn has_done(&self, name: &str) -> bool {
        self.done().iter().any(|(_, done)| done == name)
    }

    /// Waits until something holds of the upstream.
    pub async fn wait_until(&self, mut holds: impl FnMut(&Self) -> bool) {
        let mut changes = self.changes.subscribe();
        let wait = async {
            while !holds(self) {
                changes.changed().await.expect("the upstream runs");
            }
        };
        tokio::time::timeout(Duration::from_mins(1), wait).await.unwrap_or_else(|_| {
            panic!("it did not come to it; requests {:?}, done {:?}", self.requests(), self.done())
        });
    }
}

#[derive(Clone)]
struct Server {
    script: Arc<Script>,
    notes: Arc<Mutex<Notes>>,
    changes: Arc<watch::Sender<u64>>,
    go: Arc<Notify>,
}

impl Server {
    fn note(&self, change: impl FnOnce(&mut Notes)) {
        change(&mut self.notes.lock().expect("no panic"));
        self.changes.send_modify(|count| *count += 1);
    }

    async fn serve(&self, mut stream: TcpStream) {
        let Some((mut request, key)) = read_request(&mut stream).await else { return };
        self.note(|notes| {
            let requests = if request.is_upgrade { &mut notes.requests } else { &mut notes.downloads };
            request.connection = requests.len();
            requests.push(request.clone());
        });
        let connection = request.connection;
        let acts = (self.script)(&request);
        let done = |act: &Act| {
            let name = act.name();
            self.note(|notes| notes.done.push((connection, name)));
        };
        match acts.first() {
            Some(act @ Act::Answer { status, headers, body }) => {
                let mut head = format!("HTTP/1.1 {status} Status\r\nContent-Length: {}\r\n", body.len());
                for (name, value) in headers {
                    let _ = write!(head, "{name}: {value}\r\n");
                }
                let answer = format!("{head}\r\n{body}");
                if stream.write_all(answer.as_bytes()).await.is_ok() {
                    done(act);
                }
                let _ = stream.shutdown().await;
                return;
            }
            Some(act @ Act::Bytes(bytes)) => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len());
                if stream.write_all(&[head.as_bytes(), bytes].concat()).await.is_ok() {
                    done(act);
                }
                let _ = stream.shutdown().await;
                return;
            }
            Some(act @ Act::HangBeforeUpgrade) => {
                done(act);
                let _ = stream.read_to_end(&mut Vec::new()).await;
                return;
            }
            _ if !request.is_upgrade => {
                let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
                return;
            }
            _ => {}
        }
        let names_it = !matches!(acts.first(), Some(Act::NoSubprotocol));
        let subprotocol = request.subprotocols.first().filter(|_| names_it);
        let subprotocol = subprotocol.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n")).unwrap_or_default();
        let accept = derive_accept_key(key.as_bytes());
        let upgrade = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n{subprotocol}\r\n"
        );
        if stream.write_all(upgrade.as_bytes()).await.is_err() {
            return;
        }
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
        for act in &acts {
            // What never ends is noted when it begins.
            if matches!(act, Act::Mute | Act::Stay | Act::Tail { .. }) {
                done(act);
            }
            if self.act(connection, &mut socket, act).await.is_none() {
                return;
            }
            if !matches!(act, Act::Mute | Act::Stay | Act::Tail { .. }) {
                done(act);
            }
        }
    }

    /// Sends a log until the connection ends.
    async fn tail(
        &self,
        connection: usize,
        socket: &mut WebSocketStream<TcpStream>,
        (mut log, cursor): (watch::Receiver<Vec<Line>>, Option<i64>),
    ) -> Option<()> {
        let mut seen = 0;
        let mut is_live = false;
        loop {
            let lines = log.borrow_and_update().clone();
            for line in &lines[seen..] {
                let is_wanted = is_live || cursor.is_some_and(|cursor| line.time_us >= cursor);
                match (is_wanted, line.told) {
                    (false, _) => {}
                    (true, Told::Never) => self.note(|notes| notes.done.push((connection, "hid".to_owned()))),
                    (true, Told::InReplay) if is_live => {
                        self.note(|notes| notes.done.push((connection, "missed".to_owned())));
                    }
                    (true, _) => socket.send(Message::text(line.text.clone())).await.ok()?,
                }
            }
            (seen, is_live) = (lines.len(), true);
            tokio::select! {
                changed = log.changed() => changed.ok()?,
                message = socket.next() => drop(message?.ok()?),
            }
        }
    }

    /// Does one thing. None: the connection is gone.
    async fn act(&self, connection: usize, socket: &mut WebSocketStream<TcpStream>, act: &Act) -> Option<()> {
        match act {
            Act::Text(text) => socket.send(Message::text(text.clone())).await.ok(),
            Act::Binary(bytes) => socket.send(Message::binary(bytes.clone())).await.ok(),
            Act::Burst(messages) => {
                for message in messages {
                    socket.feed(message.clone()).await.ok()?;
                }
                socket.flush().await.ok()
            }
            Act::Ping => {
                socket.send(Message::Ping(Bytes::from_static(b"there?"))).await.ok()?;
                loop {
                    if let Message::Pong(bytes) = socket.next().await?.ok()? {
                        assert_eq!(bytes, "there?");
                        return Some(());
                    }
                }
            }
            Act::Close(code) => {
                let frame = CloseFrame { code: (*code).into(), reason: "as scripted".into() };
                socket.send(Message::Close(Some(frame))).await.ok()?;
                while let Some(Ok(_)) = socket.next().await {}
                Some(())
            }
            Act::Drop => socket.get_mut().shutdown().await.ok(),
            Act::ResetInsideFrame => {
                let stream = socket.get_mut();
                // A text frame of 1,000 bytes, of which 500 come.
                stream.write_all(&[0x81, 126, 0x03, 0xe8]).await.ok()?;
                stream.write_all(&[b'x'; 500]).await.ok()?;
                stream.set_zero_linger().ok()
            }
            Act::Raw(bytes) => socket.get_mut().write_all(bytes).await.ok(),
            Act::Mute => {
                let _ = socket.get_mut().read_to_end(&mut Vec::new()).await;
                None
            }
            Act::Stay => {
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_ping() {
                        self.note(|notes| notes.done.push((connection, "pinged".to_owned())));
                    }
                }
                None
            }
            Act::WaitForGo => {
                self.go.notified().await;
                Some(())
            }
            Act::NoSubprotocol => Some(()),
            Act::Tail { log, cursor } => self.tail(connection, socket, (log.clone(), *cursor)).await,
            Act::Answer { .. } | Act::Bytes(_) | Act::HangBeforeUpgrade => panic!("too late for that"),
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<(Request, String)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let mut lines = head.lines();
    let target = lines.next()?.split(' ').nth(1)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
    let header = |wanted: &str| {
        headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| (*value).to_owned())
    };
    let key = header("sec-websocket-key");
    let offered = header("sec-websocket-protocol").unwrap_or_default();
    let subprotocols = offered.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
    let path = path.to_owned();
    Some((Request { connection: 0, is_upgrade: key.is_some(), subprotocols, path, query }, key.unwrap_or_default()))
}
