//! The loop that takes connections, and what a connection may take of us.
//!
//! Contract: however many clients connect, send half a request or do not read, others are answered. Each wait for a client has a
//! clock, connections are bounded in all and per address, and what is closed to make room is never one that works. HTTP/1.1 alone:
//! a connection has one request at a time, so that the bound on connections is one on requests. Does not know what is answered.

mod activity;
mod connections;
mod limits;
mod stream;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, middleware::map_response};
use hyper::{Request, body::Incoming, server::conn::http1, service::Service as _};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, interval, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use connections::{Connections, Place};
pub use limits::Limits;
use stream::{Answer, WatchedStream};

use super::http::headers::harden;

/// How long open requests may take to end after the stop.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);
/// How often clocks are looked at.
const SWEEP_EVERY: Duration = Duration::from_millis(500);
/// How long no connection is taken after the system has refused one, most likely for want of descriptors.
const PAUSE: Duration = Duration::from_secs(1);
/// Bytes of a request's head at most, and of what is read ahead of a body.
const HEAD_LENGTH_MAX: usize = 128 * 1024;
/// Bytes of an answer that the system keeps for a client that does not read, which it counts twice. Left to itself it takes up to
/// 4 MB for each, and clocks that look at what a client takes see nothing of that.
const SEND_BUFFER: usize = 128 * 1024;

/// What all connections of a listener share.
struct Server {
    connections: Arc<Connections>,
    router: Router,
    protocol: http1::Builder,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Answers on `listener` until `stop`, and then until the open requests have ended, but no longer than ten seconds.
pub async fn run(listener: TcpListener, router: Router, limits: Limits, stop: CancellationToken) -> io::Result<()> {
    let server = Arc::new(Server::new(router, limits, stop));
    let mut sweep = interval(SWEEP_EVERY);
    loop {
        tokio::select! {
            () = server.stop.cancelled() => break,
            _ = sweep.tick() => server.connections.close_overdue(Instant::now()),
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => server.take(stream, address),
                Err(error) if is_of_the_client(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "no connection can be taken; trying again");
                    sleep(PAUSE).await;
                }
            }
        }
    }
    drop(listener);
    server.tasks.close();
    if timeout(STOP_TIME_MAX, server.tasks.wait()).await.is_err() {
        tracing::warn!("requests were still open at the end of the time to stop");
        server.connections.close_all();
    }
    Ok(())
}

/// Whether the connection was lost before it was taken.
fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

impl Server {
    fn new(router: Router, limits: Limits, stop: CancellationToken) -> Self {
        // Once for all connections, which share it from here on: axum's own loop does this for each, and an idle one held 743 KB.
        let router = router.layer(map_response(harden)).with_state(());
        let mut protocol = http1::Builder::new();
        protocol.max_buf_size(HEAD_LENGTH_MAX);
        let connections = Arc::new(Connections::new(limits));
        Self { connections, router, protocol, tasks: TaskTracker::new(), stop }
    }

    /// Serves a new connection, if there is room for it.
    fn take(self: &Arc<Self>, stream: TcpStream, address: SocketAddr) {
        let Some(place) = self.connections.admit(address.ip(), Instant::now()) else { return };
        let prepared = stream.set_nodelay(true).and_then(|()| Ok(set_socket_send_buffer_size(&stream, SEND_BUFFER)?));
        if let Err(error) = prepared {
            tracing::debug!(%error, "a connection keeps the system's delay and buffer");
        }
        self.tasks.spawn(self.clone().serve(stream, place));
    }

    /// Serves one connection until its client, one of its clocks or the stop ends it. A request in work when the stop comes is
    /// answered.
    async fn serve(self: Arc<Self>, stream: TcpStream, place: Place) {
        let connection = place.connection();
        let (working, service) = (connection.clone(), TowerToHyperService::new(self.router.clone()));
        let answer = hyper::service::service_fn(move |request: Request<Incoming>| {
            let work = working.begin();
            let answer = service.call(request.map(Body::new));
            async move { answer.await.map(|response| response.map(|body| Answer::new(body, work))) }
        });
        let stream = TokioIo::new(WatchedStream::new(stream, connection.clone()));
        let mut serving = std::pin::pin!(self.protocol.serve_connection(stream, answer));
        tokio::select! {
            ended = serving.as_mut() => return log_end(ended),
            () = connection.closed() => return,
            () = self.stop.cancelled() => {}
        }
        if connection.is_idle() {
            return;
        }
        serving.as_mut().graceful_shutdown();
        tokio::select! {
            ended = serving => log_end(ended),
            () = connection.closed() => {}
        }
    }
}

/// A connection that breaks off is its client's affair.
fn log_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
    }
}
