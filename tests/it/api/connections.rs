//! H3: clients that connect and ask for nothing, send half a request, or do not read, do not keep others from their answers.

use std::{net::SocketAddr, process::Command, time::Duration};

use plyr_likes::{
    clock::Clock,
    serve::{Limits, connect, router, run},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sqlx::postgres::PgConnectOptions;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::support::{
    api::{now, settings},
    database::{TestDatabase, fresh},
    process::{Process, command},
};

/// A bound on every wait; long, because a machine that compiles at the same time is slow.
const PATIENCE: Duration = Duration::from_secs(30);
const ASK: &[u8] = b"GET /health HTTP/1.1\r\nHost: plyr\r\n\r\n";
/// The largest answer that needs no database.
const ASK_MUCH: &[u8] = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: plyr\r\n\r\n";

/// Clocks that a test can wait for; the two that a test does not look at are far away.
fn limits() -> Limits {
    let far = Duration::from_mins(10);
    Limits { connections: 8, head: far, idle: far, stall: far, answer: far, ..Limits::admin() }
}

/// The API under these limits.
async fn serve(limits: Limits) -> (SocketAddr, TestDatabase, CancellationToken) {
    let database = fresh().await;
    let options: PgConnectOptions = database.url.parse().expect("a URL");
    let pool = connect(options, 8);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let stop = CancellationToken::new();
    tokio::spawn(run(listener, router(pool, settings(), Clock::of(now)), limits, stop.clone()));
    (address, database, stop)
}

/// A connection from one of this machine's addresses, with a small window for what comes.
async fn connect_from(host: u8, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a window");
    socket.bind(SocketAddr::from(([127, 0, 0, host], 0))).expect("an address of this machine");
    socket.connect(address).await.expect("a connection")
}

/// The status of an answer to what is sent, and whether there was one.
async fn ask(stream: &mut TcpStream, request: &[u8]) -> Option<u16> {
    stream.write_all(request).await.ok()?;
    let mut answer = vec![0; 4096];
    let length = timeout(PATIENCE, stream.read(&mut answer)).await.expect("an answer, or an end").ok()?;
    std::str::from_utf8(&answer[..length]).ok()?.split(' ').nth(1)?.parse().ok()
}

/// Waits until the other side ends a connection, and says after how long.
async fn ended(stream: &mut TcpStream) -> Duration {
    let begun = Instant::now();
    let mut rest = [0; 4096];
    let end = async { while matches!(stream.read(&mut rest).await, Ok(1..)) {} };
    timeout(PATIENCE, end).await.expect("the connection ends");
    begun.elapsed()
}

/// Whether a connection is open and quiet.
async fn is_open(stream: &mut TcpStream) -> bool {
    timeout(Duration::from_millis(100), stream.read(&mut [0])).await.is_err()
}

#[tokio::test]
async fn h3_a_head_that_drips_ends_its_connection() {
    let (address, _database, _stop) = serve(Limits { head: Duration::from_millis(400), ..limits() }).await;
    let mut silent = connect_from(1, address).await;
    let mut dripping = connect_from(1, address).await;
    let begun = Instant::now();
    let drip = async {
        while dripping.write_all(b"G").await.is_ok() {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, drip).await.expect("the connection ends");
    assert!(begun.elapsed() >= Duration::from_millis(400));
    ended(&mut silent).await;
    // Between two requests that clock stands still.
    let mut patient = connect_from(1, address).await;
    assert_eq!(ask(&mut patient, ASK).await, Some(200));
    sleep(Duration::from_secs(2)).await;
    assert_eq!(ask(&mut patient, ASK).await, Some(200));
}

#[tokio::test]
async fn h3_a_connection_without_requests_ends() {
    let (address, _database, _stop) = serve(Limits { idle: Duration::from_millis(800), ..limits() }).await;
    let mut idle = connect_from(1, address).await;
    for _ in 0..4 {
        assert_eq!(ask(&mut idle, ASK).await, Some(200), "an answer winds the clock");
        sleep(Duration::from_millis(300)).await;
    }
    ended(&mut idle).await;
}

#[tokio::test]
async fn h3_readers_that_do_not_read_end() {
    let (address, _database, _stop) = serve(Limits { stall: Duration::from_millis(500), ..limits() }).await;
    let mut stalled = connect_from(1, address).await;
    stalled.write_all(ASK_MUCH).await.unwrap();
    sleep(Duration::from_secs(3)).await;
    let mut answer = Vec::new();
    // Cut off: what had been sent comes, the rest does not.
    timeout(PATIENCE, stalled.read_to_end(&mut answer)).await.expect("the connection ends").ok();
    assert!(answer.len() < 1_000_000, "{}", answer.len());
}

#[tokio::test]
async fn h3_readers_that_drip_end() {
    let (address, _database, _stop) = serve(Limits { answer: Duration::from_millis(800), ..limits() }).await;
    let mut dripping = connect_from(1, address).await;
    dripping.write_all(ASK_MUCH).await.unwrap();
    let (mut length, mut part) = (0, [0; 2048]);
    let drip = async {
        while let Ok(read @ 1..) = dripping.read(&mut part).await {
            length += read;
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, drip).await.expect("the connection ends");
    assert!(length < 1_000_000, "{length}");
}

#[tokio::test]
async fn h3_room_is_made_by_what_is_idle_alone() {
    let (address, database, _stop) = serve(limits()).await;
    let mut lock = database.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE tracks").execute(&mut *lock).await.unwrap();
    // One address has half of eight places. Two work, two are idle.
    let mut working = [connect_from(1, address).await, connect_from(1, address).await];
    for stream in &mut working {
        stream.write_all(b"GET /tracks/ HTTP/1.1\r\nHost: plyr\r\n\r\n").await.unwrap();
    }
    let (mut older, mut newer) = (connect_from(1, address).await, connect_from(1, address).await);
    assert_eq!(ask(&mut newer, ASK).await, Some(200));
    assert_eq!(ask(&mut older, ASK).await, Some(200));
    assert_eq!(ask(&mut newer, ASK).await, Some(200));
    let mut third = connect_from(1, address).await;
    assert_eq!(ask(&mut third, ASK).await, Some(200));
    ended(&mut older).await;
    assert!(is_open(&mut newer).await);
    for stream in [&mut third, &mut newer] {
        stream.write_all(b"GET /tracks/ HTTP/1.1\r\nHost: plyr\r\n\r\n").await.unwrap();
    }
    sleep(Duration::from_millis(200)).await;
    // All four work: there is no room for this client, and there is for another.
    assert_eq!(ask(&mut connect_from(1, address).await, ASK).await, None);
    assert_eq!(ask(&mut connect_from(2, address).await, ASK).await, Some(200));
    lock.rollback().await.unwrap();
    for stream in working.iter_mut().chain([&mut third, &mut newer]) {
        assert_eq!(ask(stream, b"").await, Some(200), "a request in work was cut off");
    }
}

/// A running `api` whose limits of open files a shell has set.
async fn program(limit: &str) -> (Process, TestDatabase, tempfile::TempDir) {
    let (database, data) = (fresh().await, tempfile::tempdir().unwrap());
    let plain = command(data.path(), &["api"]);
    let mut shell = Command::new("sh");
    shell.env_clear().args(["-c", &format!("ulimit {limit} && exec \"$0\" api")]).arg(plain.get_program());
    shell.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("DATABASE_URL", &database.url);
    let mut program = Process::start(shell);
    program.wait_for("serving");
    (program, database, data)
}

/// The test itself needs a descriptor for each connection.
fn raise_descriptors() {
    let allowed = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: allowed.maximum, ..allowed }).expect("the hard limit is allowed");
}

#[tokio::test]
async fn h3_others_are_answered_whatever_a_crowd_does() {
    raise_descriptors();
    let (program, _database, _data) = program("-n 1024").await;
    let address: SocketAddr = program.address("api").parse().unwrap();
    let before = program.resident_kb();
    let mut crowd = Vec::new();
    for number in 0..1612 {
        let mut stream = connect_from(1, address).await;
        let said: &[u8] = match number {
            0..12 => ASK_MUCH,
            12..512 => b"GET /tracks/ HTTP/1.1\r\nHost: pl",
            _ => b"",
        };
        stream.write_all(said).await.ok();
        crowd.push(stream);
        if number % 100 == 99 {
            let begun = Instant::now();
            assert_eq!(ask(&mut connect_from(1, address).await, ASK).await, Some(200), "after {number}");
            assert!(begun.elapsed() < Duration::from_secs(5), "after {number}: {:?}", begun.elapsed());
        }
    }
    let grown = program.resident_kb().saturating_sub(before);
    println!("1,612 clients that want nothing: {grown} KB");
    assert!(grown < 100 * 1024, "{grown} KB");
    let (_, metrics) = crate::support::process::get(&program.address("admin"), "/metrics");
    let open = metrics.lines().find_map(|line| line.strip_prefix("plyr_http_connections{listener=\"api\"} "));
    assert!(open.expect("a gauge").parse::<f64>().unwrap() <= 384.0, "{open:?}");
    assert!(metrics.contains("reason=\"evicted\""), "{metrics}");
}

#[tokio::test]
async fn h3_an_idle_connection_costs_little() {
    raise_descriptors();
    let (program, _database, _data) = program("-Sn 256").await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", program.pid())).unwrap();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("a limit");
    let files: Vec<&str> = files.split_whitespace().collect();
    assert_eq!(files[0], files[1], "the soft limit is below the hard one");
    let address: SocketAddr = program.address("api").parse().unwrap();
    let mut first = Vec::new();
    for number in 0..100_u8 {
        first.push(connect_from(1 + number % 4, address).await);
        assert_eq!(ask(first.last_mut().unwrap(), ASK).await, Some(200));
    }
    let before = program.resident_kb();
    let mut idle = Vec::new();
    for number in 0..1000_u16 {
        idle.push(connect_from(1 + u8::try_from(number % 4).unwrap(), address).await);
        assert_eq!(ask(idle.last_mut().unwrap(), ASK).await, Some(200));
    }
    let each = program.resident_kb().saturating_sub(before) / 1000;
    println!("an idle connection: {each} KB");
    assert!(each < 30, "{each} KB");
    for stream in &mut idle {
        assert_eq!(ask(stream, ASK).await, Some(200), "all of them are kept");
    }
}
