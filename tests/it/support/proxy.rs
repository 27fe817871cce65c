//! A proxy to the database that stops forwarding and closes nothing: packets vanish without a word.

use std::path::PathBuf;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
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

impl Proxy {
    /// In front of the server of an address, which must name a folder of sockets. With the address that leads through it.
    pub fn to(url: &str) -> (Self, String) {
        let (before, behind) = url.split_once("host=").unwrap();
        let (host, rest) = behind.split_once('&').unwrap();
        let server = PathBuf::from(host).join(".s.PGSQL.5432");
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
        let rule = watch::Sender::new(Rule { is_open: true, alive_from: 0, accepted: 0 });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, server, rule.clone()));
        let url = format!("{before}host={}&{rest}", folder.path().display());
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
