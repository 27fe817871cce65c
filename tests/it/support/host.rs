//! A scripted HTTP host, faults included. Each request comes on a connection of its own. What was asked is noted,
//! so that a test can check that its fault happened.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};

/// What a client asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Which request this is, from 0.
    pub number: usize,
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The header.
    pub host: String,
    /// All headers, their names in small letters.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What to do about it.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Answer with a status, headers and a body.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Answer 200, but after a delay.
    Late(Duration),
    /// Answer 200 with a body, but after a delay.
    After(Duration, Vec<u8>),
    /// Say nothing.
    Hang,
    /// Promise a thousand bytes, send ten, and end.
    Cut,
    /// Send without end, and without saying how much.
    Flood,
    /// Send a byte now and then.
    Drip,
}

impl Reply {
    /// A 200 with a body.
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::Answer(200, Vec::new(), body.into())
    }

    /// A status alone.
    pub fn status(status: u16) -> Self {
        Self::Answer(status, Vec::new(), Vec::new())
    }

    /// Sends the client to another place.
    pub fn redirect(location: impl Into<String>) -> Self {
        Self::Answer(302, vec![("Location", location.into())], Vec::new())
    }
}

type Script = dyn Fn(&Asked) -> Reply + Send + Sync;

#[derive(Default)]
struct Notes {
    asked: Mutex<Vec<Asked>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    open_max: AtomicUsize,
    unanswered: AtomicUsize,
}

/// The host. It goes away with the value.
pub struct Host {
    pub address: SocketAddr,
    notes: Arc<Notes>,
    task: AbortHandle,
}

impl Host {
    pub async fn start(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_on("127.0.0.1", script).await
    }

    /// On another address of this machine.
    pub async fn start_on(ip: &str, script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (notes, script): (Arc<Notes>, Arc<Script>) = (Arc::default(), Arc::new(script));
        let noted = notes.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                noted.connections.fetch_add(1, Ordering::SeqCst);
                let (script, noted) = (script.clone(), noted.clone());
                // A client that goes away is the client's business.
                connections.spawn(async move { answer(stream, &*script, &noted).await.ok() });
            }
        });
        Self { address, notes, task: task.abort_handle() }
    }

    /// Such as `http://127.0.0.1:40123`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.notes.asked.lock().unwrap().clone()
    }

    /// Connections that were made so far.
    pub fn connections(&self) -> usize {
        self.notes.connections.load(Ordering::SeqCst)
    }

    /// Requests whose answers do not come, or do not end.
    pub fn unanswered(&self) -> usize {
        self.notes.unanswered.load(Ordering::SeqCst)
    }

    /// Late answers that were awaited at once, at most.
    pub fn open_max(&self) -> usize {
        self.notes.open_max.load(Ordering::SeqCst)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

fn parse_head(head: &str) -> Asked {
    let mut words = head.split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    let headers = head.lines().skip(1).filter_map(header).collect();
    let mut asked = Asked { number: 0, method, target, host: String::new(), headers, body: Vec::new() };
    asked.host = asked.header("host").unwrap_or_default().to_owned();
    asked
}

/// Counts a request as long as it is there.
struct Unanswered<'a>(&'a Notes);

impl<'a> Unanswered<'a> {
    fn new(notes: &'a Notes) -> Self {
        notes.unanswered.fetch_add(1, Ordering::SeqCst);
        Self(notes)
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.0.unanswered.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn answer(mut stream: TcpStream, script: &Script, notes: &Notes) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut asked = parse_head(&head);
    asked.body = vec![0; asked.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)];
    stream.read_exact(&mut asked.body).await?;
    {
        let mut all = notes.asked.lock().unwrap();
        asked.number = all.len();
        all.push(asked.clone());
    }
    let head = |status: u16, rest: &str| format!("HTTP/1.1 {status} It is so\r\nConnection: close\r\n{rest}\r\n");
    match script(&asked) {
        Reply::Answer(status, headers, body) => {
            let mut rest = format!("Content-Length: {}\r\n", body.len());
            for (name, value) in headers {
                write!(rest, "{name}: {value}\r\n").unwrap();
            }
            stream.write_all(head(status, &rest).as_bytes()).await?;
            stream.write_all(&body).await?;
        }
        Reply::Late(time) => {
            notes.open_max.fetch_max(notes.open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(time).await;
            notes.open.fetch_sub(1, Ordering::SeqCst);
            stream.write_all(head(200, "Content-Length: 0\r\n").as_bytes()).await?;
        }
        Reply::After(time, body) => {
            tokio::time::sleep(time).await;
            stream.write_all(head(200, &format!("Content-Length: {}\r\n", body.len())).as_bytes()).await?;
            stream.write_all(&body).await?;
        }
        Reply::Hang => {
            let _unanswered = Unanswered::new(notes);
            // Until the client goes.
            while stream.read_u8().await.is_ok() {}
        }
        Reply::Cut => stream.write_all((head(200, "Content-Length: 1000\r\n") + "ten bytes.").as_bytes()).await?,
        Reply::Flood => {
            stream.write_all(head(200, "").as_bytes()).await?;
            loop {
                stream.write_all(&[b' '; 4096]).await?;
            }
        }
        Reply::Drip => {
            let _unanswered = Unanswered::new(notes);
            stream.write_all(head(200, "").as_bytes()).await?;
            loop {
                stream.write_all(b" ").await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    stream.shutdown().await
}
