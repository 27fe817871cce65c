//! Proxies to the database: one that stops forwarding and closes nothing, so that packets vanish without a word, and a pooler, and ports.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{
        TcpListener, UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Mutex,
    sync::watch,
    task::JoinSet,
};

pub struct Proxy {
    rule: watch::Sender<Rule>,
    _folder: tempfile::TempDir,
    _tasks: JoinSet<()>,
}

/// What is carried: of the connections from a number on, as long as it is open.
#[derive(Clone, Copy)]
struct Rule {
    is_open: bool,
    alive_from: usize,
    accepted: usize,
}

/// A folder of sockets in front of that of a server.
struct Front {
    listener: UnixListener,
    server: PathBuf,
    folder: tempfile::TempDir,
    /// Leads through it.
    url: String,
}

impl Front {
    fn of(url: &str) -> Self {
        let (before, behind) = url.split_once("host=").unwrap();
        let (host, rest) = behind.split_once('&').unwrap();
        let server = PathBuf::from(host).join(".s.PGSQL.5432");
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
        let url = format!("{before}host={}&{rest}", folder.path().display());
        Self { listener, server, folder, url }
    }
}

impl Proxy {
    /// In front of the server of an address, which must name a folder of sockets. With the address that leads through it.
    pub fn to(url: &str) -> (Self, String) {
        let Front { listener, server, folder, url } = Front::of(url);
        let rule = watch::Sender::new(Rule { is_open: true, alive_from: 0, accepted: 0 });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, server, rule.clone()));
        (Self { rule, _folder: folder, _tasks: tasks }, url)
    }

    /// Carries nothing from now on.
    pub fn shut(&self) {
        self.rule.send_modify(|rule| rule.is_open = false);
    }

    /// Carries again, first what has come meanwhile.
    pub fn open(&self) {
        self.rule.send_modify(|rule| rule.is_open = true);
    }

    /// Carries nothing more over the connections that there are. Gives how many there have been.
    pub fn kill_existing(&self) -> usize {
        self.rule.send_modify(|rule| rule.alive_from = rule.accepted);
        self.rule.borrow().accepted
    }

    /// How many connections there have been.
    pub fn accepted(&self) -> usize {
        self.rule.borrow().accepted
    }
}

async fn accept(listener: UnixListener, server: PathBuf, rule: watch::Sender<Rule>) {
    let mut connections = JoinSet::new();
    loop {
        let (near, _) = listener.accept().await.unwrap();
        let far = UnixStream::connect(&server).await.unwrap();
        let number = rule.borrow().accepted;
        rule.send_modify(|rule| rule.accepted += 1);
        let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
        connections.spawn(carry(number, near_in, far_out, rule.subscribe()));
        connections.spawn(carry(number, far_in, near_out, rule.subscribe()));
    }
}

async fn carry(number: usize, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut rule: watch::Receiver<Rule>) {
    let mut bytes = vec![0; 65_536];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        if rule.wait_for(|rule| rule.is_open && number >= rule.alive_from).await.is_err()
            || to.write_all(&bytes[..length]).await.is_err()
        {
            return;
        }
    }
}

/// A port that leads to the server, as long as this lives.
pub struct Door {
    /// Where it is.
    pub address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Door {
    /// To the server of an address, which must name a folder of sockets.
    pub async fn to(url: &str) -> Self {
        let folder = url.split_once("host=").unwrap().1.split('&').next().unwrap();
        let server = PathBuf::from(folder).join(".s.PGSQL.5432");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, mut tasks) = (listener.local_addr().unwrap(), JoinSet::new());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut far = UnixStream::connect(&server).await.unwrap();
                connections.spawn(async move { copy_bidirectional(&mut near, &mut far).await.map(drop) });
            }
        });
        Self { address, _tasks: tasks }
    }
}

/// What a client sends before all else when it wants TLS.
const TLS_WANTED: u32 = 80_877_103;

/// A pooler that has one connection to the server, and gives it to each of its clients for a transaction.
pub struct Pooler {
    _folder: tempfile::TempDir,
    _tasks: JoinSet<()>,
}

/// The connection to the server, and what the server said when it was opened.
struct Shared {
    stream: UnixStream,
    greeting: Vec<u8>,
}

impl Pooler {
    /// In front of the server of an address, with the address that leads through it.
    pub fn to(url: &str) -> (Self, String) {
        let Front { listener, server, folder, url } = Front::of(url);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let (shared, mut clients) = (Arc::new(Mutex::new(None)), JoinSet::new());
            loop {
                let (client, _) = listener.accept().await.unwrap();
                clients.spawn(pool(client, server.clone(), shared.clone()));
            }
        });
        (Self { _folder: folder, _tasks: tasks }, url)
    }
}

/// Serves one client until it goes.
async fn pool(mut client: UnixStream, server: PathBuf, shared: Arc<Mutex<Option<Shared>>>) {
    let Some(mut startup) = read_message(&mut client, 0).await else { return };
    if startup[4..] == TLS_WANTED.to_be_bytes() {
        client.write_all(b"N").await.unwrap();
        startup = read_message(&mut client, 0).await.unwrap();
    }
    {
        let mut shared = shared.lock().await;
        if shared.is_none() {
            let mut stream = UnixStream::connect(&server).await.unwrap();
            stream.write_all(&startup).await.unwrap();
            let greeting = read_until_ready(&mut stream).await;
            *shared = Some(Shared { stream, greeting });
        }
        let Some(Shared { greeting, .. }) = shared.as_ref() else { return };
        client.write_all(greeting).await.unwrap();
    }
    let mut asked = Vec::new();
    while let Some(message) = read_message(&mut client, 1).await {
        let kind = message[0];
        asked.extend(message);
        match kind {
            b'X' => return,
            b'Q' | b'S' => {
                let mut shared = shared.lock().await;
                let Some(Shared { stream, .. }) = shared.as_mut() else { return };
                stream.write_all(&std::mem::take(&mut asked)).await.unwrap();
                let answer = read_until_ready(stream).await;
                if client.write_all(&answer).await.is_err() {
                    return;
                }
            }
            _ => {}
        }
    }
}

/// A message, whose length stands behind so many bytes; none at the end.
async fn read_message(stream: &mut UnixStream, before: usize) -> Option<Vec<u8>> {
    let mut message = vec![0; before + 4];
    stream.read_exact(&mut message).await.ok()?;
    let length = u32::from_be_bytes(message[before..].try_into().unwrap());
    message.resize(before + usize::try_from(length).unwrap(), 0);
    stream.read_exact(&mut message[before + 4..]).await.ok()?;
    Some(message)
}

/// What the server says until it is ready for more.
async fn read_until_ready(stream: &mut UnixStream) -> Vec<u8> {
    let mut answer = Vec::new();
    while let Some(message) = read_message(stream, 1).await {
        let is_ready = message[0] == b'Z';
        answer.extend(message);
        if is_ready {
            break;
        }
    }
    answer
}
