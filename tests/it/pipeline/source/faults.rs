//! T3, T9, T11, T17: what upstreams do to us. Each test shows that its fault happened.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use plyr_likes::source::{Connection, Dialect, Tuning};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{Setting, quick, soon};
use crate::support::upstream::{Act, Upstream};

fn text(text: &str) -> Act {
    Act::Text(text.to_owned())
}

/// Follows an upstream whose first connection does these acts, and whose second works.
async fn survives(tuning: Tuning, first: Vec<Act>, expected: &[&str], fault: &str) -> Upstream {
    let upstream = Upstream::start(move |request| match request.connection {
        0 => first.clone(),
        _ => vec![text("after"), Act::Stay],
    })
    .await;
    let mut followed = Setting { tuning, ..Setting::of(Dialect::JetstreamV1) }.follow(&upstream);
    assert_eq!(followed.texts(expected.len()).await, expected);
    followed.wait_for(|connection| *connection == Connection::Connected).await;
    followed.stop().await;
    assert!(upstream.done().contains(&(0, fault.to_owned())), "{fault} is not in {:?}", upstream.done());
    assert_eq!(upstream.requests().len(), 2);
    upstream
}

#[tokio::test]
async fn t9_every_close_code() {
    for code in [1000, 1001, 1007, 1008, 1009, 1011, 1013] {
        let acts = vec![text("before"), Act::Close(code)];
        survives(quick(), acts, &["before", "after"], &format!("close {code}")).await;
    }
}

#[tokio::test]
async fn t9_1006_no_close_frame() {
    survives(quick(), vec![text("before"), Act::Drop], &["before", "after"], "drop").await;
}

#[tokio::test]
async fn t9_reset_inside_a_frame() {
    survives(quick(), vec![Act::ResetInsideFrame], &["after"], "reset").await;
}

#[tokio::test]
async fn t9_half_open() {
    let tuning =
        Tuning { ping_interval: Duration::from_millis(20), silence_max: Duration::from_millis(200), ..quick() };
    survives(tuning, vec![text("before"), Act::Mute], &["before", "after"], "mute").await;
}

#[tokio::test]
async fn t9_no_answer_to_the_upgrade() {
    let tuning = Tuning { connect_timeout: Duration::from_millis(200), ..quick() };
    survives(tuning, vec![Act::HangBeforeUpgrade], &["after"], "hang").await;
}

#[tokio::test]
async fn t9_503_while_it_warms_up() {
    let answer = Act::Answer { status: 503, headers: Vec::new(), body: "warming up".to_owned() };
    survives(quick(), vec![answer], &["after"], "answer 503").await;
}

#[tokio::test]
async fn t9_429_with_retry_after() {
    let answer = |seconds: &str| Act::Answer {
        status: 429,
        headers: vec![("Retry-After", seconds.to_owned())],
        body: String::new(),
    };
    // Longer than our own backoff: honoured. An hour: capped.
    for (seconds, cap_ms, at_least_ms) in [("1", 60_000, 1000), ("3600", 300, 300)] {
        let began = Instant::now();
        let tuning = Tuning { retry_after_max: Duration::from_millis(cap_ms), ..quick() };
        survives(tuning, vec![answer(seconds)], &["after"], "answer 429").await;
        assert!(began.elapsed() >= Duration::from_millis(at_least_ms), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn t9_name_that_does_not_resolve() {
    let tuning = Tuning { connect_timeout: Duration::from_secs(2), ..quick() };
    let mut followed = Setting { tuning, ..Setting::of(Dialect::JetstreamV1) }.follow_spec("jetstream+ws://no.invalid");
    followed.wait_for(|connection| matches!(connection, Connection::Waiting { .. })).await;
    followed.stop().await;
}

#[tokio::test]
async fn t9_nothing_listens_and_then_something_does() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let mut followed = Setting::of(Dialect::Firehose).follow_spec(&format!("firehose+ws://{address}"));
    followed.wait_for_reason("refused").await;
    let listener = TcpListener::bind(address).await.expect("the port is still free");
    let (mut stream, _) = soon(listener.accept()).await.expect("it comes by itself");
    let mut head = [0; 4];
    soon(stream.read_exact(&mut head)).await.expect("a request");
    assert_eq!(&head, b"GET ");
    followed.stop().await;
}

/// Answers every handshake with these header lines, in which `{accept}` stands for what fits the key, and then says `hello`.
async fn answer_handshakes(lines: &'static str) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.expect("a request"));
            }
            let request = String::from_utf8(request).expect("text");
            let key = request.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("sec-websocket-key").then_some(value)
            });
            let accept = derive_accept_key(key.expect("a key").as_bytes());
            let answer = format!("HTTP/1.1 101 Switching Protocols\r\n{}\r\n", lines.replace("{accept}", &accept));
            stream.write_all(answer.as_bytes()).await.expect("it listens");
            // It may have gone by then.
            stream.write_all(b"\x81\x05hello").await.ok();
            open.push(stream);
        }
    });
    address
}

#[tokio::test]
async fn f9_the_headers_of_a_handshake_are_lists() {
    for lines in [
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n",
        "Upgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n",
        "upgrade: h2c, websocket\r\nconnection:upgrade ,keep-alive\r\nsec-websocket-accept:   {accept}  \r\n",
        "Connection: keep-alive\r\nUpgrade: websocket\r\nConnection: UPGRADE\r\nSec-WebSocket-Accept: {accept}\r\n",
    ] {
        let address = answer_handshakes(lines).await;
        let mut followed = Setting::of(Dialect::JetstreamV1).follow_spec(&format!("jetstream+ws://{address}"));
        assert_eq!(followed.texts(1).await, ["hello"], "{lines}");
        followed.stop().await;
    }
    for (lines, what) in [
        ("Upgrade: websocket\r\nConnection: keep-alive\r\nSec-WebSocket-Accept: {accept}\r\n", "Connection"),
        ("Upgrade: websockets\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n", "Upgrade does not"),
        ("Upgrade: websocket\r\nConnection: Upgrade\r\n", "Sec-WebSocket-Accept"),
        ("Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x{accept}\r\n", "Sec-WebSocket-Accept"),
        (
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: a\r\n",
            "subprotocol",
        ),
    ] {
        let address = answer_handshakes(lines).await;
        let mut followed = Setting::of(Dialect::JetstreamV1).follow_spec(&format!("jetstream+ws://{address}"));
        followed.wait_for_reason(what).await;
        followed.stop().await;
    }
}

#[tokio::test]
async fn wss_speaks_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let mut followed =
        Setting::of(Dialect::JetstreamV1).follow_spec(&format!("jetstream+wss://localhost:{}", address.port()));
    let (mut stream, _) = soon(listener.accept()).await.expect("a connection");
    let mut head = [0; 3];
    soon(stream.read_exact(&mut head)).await.expect("a record");
    assert_eq!(head[..2], [0x16, 0x03], "a TLS handshake record");
    drop(stream);
    followed.wait_for(|connection| matches!(connection, Connection::Waiting { .. })).await;
    followed.stop().await;
}

/// What the source says of a host whose TLS fails.
async fn complaint_about(listener: std::net::TcpListener) -> String {
    let port = listener.local_addr().expect("an address").port();
    let mut followed = Setting::of(Dialect::JetstreamV1).follow_spec(&format!("jetstream+wss://localhost:{port}"));
    let state = followed.wait_for(|connection| matches!(connection, Connection::Waiting { .. })).await;
    followed.stop().await;
    let Connection::Waiting { reason } = state else { panic!("{state:?}") };
    reason
}

/// Accepts one connection and does something with it.
fn once(then: impl FnOnce(std::net::TcpStream) + Send + 'static) -> std::net::TcpListener {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let accepting = listener.try_clone().expect("a handle");
    std::thread::spawn(move || {
        if let Ok((stream, _)) = accepting.accept() {
            then(stream);
        }
    });
    listener
}

#[tokio::test]
async fn a_host_without_tls_is_reported_in_one_sentence() {
    let plain = once(|mut stream| {
        use std::io::{Read as _, Write as _};
        let mut hello = [0; 64];
        let _ = stream.read(&mut hello);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let said = complaint_about(plain).await;
    assert!(said.contains("does not speak TLS on this port"), "{said}");
}

#[tokio::test]
async fn an_untrusted_certificate_is_reported_in_one_sentence() {
    // Signed by itself, for localhost.
    let certificate = CertificateDer::from_slice(include_bytes!("tls/cert.der"));
    let key = PrivatePkcs8KeyDer::from(include_bytes!("tls/key.der").as_slice()).clone_key();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![certificate], key.into()))
        .expect("a certificate and its key");
    let host = once(move |stream| {
        let mut session = rustls::ServerConnection::new(Arc::new(config)).expect("a session");
        let mut stream = stream;
        // The client breaks it off.
        let _ = session.complete_io(&mut stream);
    });
    let said = complaint_about(host).await;
    assert!(said.contains("its certificate cannot be trusted"), "{said}");
}

#[tokio::test]
async fn t3_resume_is_inclusive_and_behind_the_committed_position() {
    const START: i64 = 1_725_911_162_000_000;
    // Two messages of one microsecond each, and a second between the pairs.
    let times: Vec<i64> = (0..40).map(|n| START + n / 2 * 1_000_000).collect();
    let log = times.clone();
    let upstream = Upstream::start(move |request| {
        let cursor = request.cursor().expect("a cursor");
        let rest = log.iter().filter(|time| **time >= cursor).map(|time| text(&time.to_string()));
        match request.connection {
            0 => rest.take(21).chain([Act::WaitForGo, Act::Close(1001)]).collect(),
            _ => rest.chain([Act::Stay]).collect(),
        }
    })
    .await;
    let mut followed = Setting::of(Dialect::JetstreamV1).follow(&upstream);
    let first = followed.texts(21).await;
    assert_eq!(first.last(), Some(&times[20].to_string()), "the first of the two that share its time");
    followed.commit(times[20]);
    upstream.go();
    let second = followed.texts(30).await;
    assert_eq!(upstream.requests()[1].cursor(), Some(times[20] - 5_000_000));
    let expected: Vec<_> = times[10..].iter().map(ToString::to_string).collect();
    assert_eq!(second, expected, "both of each pair, the margin again, and nothing missed");
    followed.stop().await;
}

#[tokio::test]
async fn t9_jetstream_closing_every_few_messages_still_makes_progress() {
    const START: i64 = 1_725_911_162_000_000;
    // All of it is within the margin.
    let times: Vec<i64> = (0..60).map(|n| START + n * 20_000).collect();
    let log = times.clone();
    let upstream = Upstream::start(move |request| {
        let cursor = request.cursor().expect("a cursor");
        let rest = log.iter().filter(|time| **time >= cursor).map(|time| text(&time.to_string()));
        rest.take(3).chain([Act::Close(1001)]).collect()
    })
    .await;
    let mut followed = Setting::of(Dialect::JetstreamV1).follow(&upstream);
    let mut highest = 0;
    while highest < times[59] {
        let time: i64 = followed.delivery().await.messages.iter().map(number).max().expect("a message");
        assert!(highest == 0 || time <= highest + 60_000, "nothing is left out: {time} after {highest}");
        highest = highest.max(time);
        followed.commit(highest);
        assert!(upstream.requests().len() < 500, "it goes round in circles at {highest}");
    }
    assert!(upstream.done().iter().filter(|(_, name)| name == "close 1001").count() >= 20);
    followed.stop().await;
}

#[tokio::test]
async fn t9_firehose_closing_after_every_message_still_makes_progress() {
    let upstream = Upstream::start(|request| {
        let next = request.cursor().expect("a cursor") + 1;
        vec![Act::Binary(next.to_string().into_bytes()), Act::Close(1001)]
    })
    .await;
    let mut followed = Setting::of(Dialect::Firehose).follow(&upstream);
    let mut highest = 0;
    while highest < 20 {
        for message in followed.delivery().await.messages {
            let seq = number(&message);
            assert!(seq <= highest + 1, "nothing is left out");
            highest = highest.max(seq);
        }
        followed.commit(highest);
    }
    assert!(upstream.has_done("close 1001"));
    followed.stop().await;
}

#[tokio::test]
async fn t9_backoff_begins_again_once_messages_flow() {
    // Without that the fifteenth wait would already be half a minute.
    let upstream = Upstream::start(|_| vec![text("one"), text("two"), Act::Close(1011)]).await;
    let tuning = Tuning { backoff_max: Duration::from_mins(1), ..quick() };
    let mut followed = Setting { tuning, ..Setting::of(Dialect::Firehose) }.follow(&upstream);
    let mut count = 0;
    while count < 60 {
        count += followed.delivery().await.messages.len();
    }
    assert!(upstream.requests().len() >= 30);
    followed.stop().await;
}

#[tokio::test]
async fn t9_backoff_grows_while_nothing_but_an_error_comes() {
    for acts in [vec![text("FutureCursor"), Act::Close(1008)], vec![Act::Drop]] {
        let upstream = Upstream::start(move |_| acts.clone()).await;
        let tuning = Tuning { backoff_max: Duration::from_mins(1), ..quick() };
        let followed = Setting { tuning, ..Setting::of(Dialect::Firehose) }.follow(&upstream);
        // How seldom it comes can only be seen by waiting; without growth it comes every few milliseconds.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let count = upstream.requests().len();
        assert!((2..40).contains(&count), "{count} connections in a second");
        followed.stop().await;
    }
}

fn number(message: &tokio_tungstenite::tungstenite::Bytes) -> i64 {
    std::str::from_utf8(message).expect("digits").parse().expect("a number")
}

#[tokio::test]
async fn t11_invalid_request_is_final() {
    let upstream = Upstream::start(|_| {
        let body = r#"{"error":"InvalidRequest","message":"unknown parameter\u0007"}"#.to_owned();
        vec![Act::Answer { status: 400, headers: Vec::new(), body }]
    })
    .await;
    let mut followed = Setting::of(Dialect::JetstreamV1).follow(&upstream);
    let refused = followed.wait_for(|connection| matches!(connection, Connection::Refused { .. })).await;
    let reason = "it answered HTTP 400 InvalidRequest: unknown parameter".to_owned();
    assert_eq!(refused, Connection::Refused { reason });
    // Ten times the longest backoff: that nothing happens can only be waited for.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!followed.task.is_finished());
    assert_eq!(upstream.requests().len(), 1);
    followed.stop().await;
}

#[tokio::test]
async fn t11_other_refusals_are_tried_again() {
    let cases = [
        (400, r#"{"error":"CursorTooOld"}"#),
        (400, r#"{"error":"Other"}"#),
        (400, ""),
        (401, "{"),
        (403, "no"),
        (404, ""),
        (302, ""),
        (500, ""),
    ];
    for (status, body) in cases {
        let answer = Act::Answer { status, headers: Vec::new(), body: body.to_owned() };
        survives(quick(), vec![answer], &["after"], &format!("answer {status}")).await;
    }
}

#[tokio::test]
async fn t17_what_is_not_of_the_dialect_is_handed_over() {
    let upstream = Upstream::start(|_| {
        let long = vec![b'x'; (5 << 20) + 1];
        vec![text("text"), Act::Binary(b"\xff\x00".to_vec()), text(""), Act::Binary(long), Act::Stay]
    })
    .await;
    for dialect in [Dialect::Firehose, Dialect::JetstreamV1] {
        let mut followed = Setting::of(dialect).follow(&upstream);
        let mut messages = Vec::new();
        while messages.len() < 4 {
            let delivery = followed.delivery().await;
            assert_eq!(delivery.dialect, dialect);
            messages.extend(delivery.messages);
        }
        let lengths: Vec<_> = messages.iter().map(tokio_tungstenite::tungstenite::Bytes::len).collect();
        assert_eq!(lengths, [4, 2, 0, (5 << 20) + 1], "the decoder is the one to refuse them");
        followed.stop().await;
    }
    assert_eq!(upstream.requests().len(), 2, "one connection each");
}

#[tokio::test]
async fn t17_a_message_beyond_all_bounds_is_not_read() {
    // The header of a frame of a terabyte.
    let header = vec![0x82, 127, 0, 0, 1, 0, 0, 0, 0, 0];
    let acts = vec![text("before"), Act::Raw(header), Act::Stay];
    survives(quick(), acts, &["before", "after"], "raw").await;
}
