//! The pool of the API and the loop that takes its connections.

use std::time::Duration;

use axum::{Router, serve::ListenerExt};
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio_util::sync::CancellationToken;

/// How long open requests may take to end after the stop.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a request waits for a connection.
const ACQUIRE_TIME_MAX: Duration = Duration::from_secs(3);

/// A pool as the API wants it: connected on demand, without a sign of life asked for before each use. Its statements are small
/// and many: the server compiles none, starts no workers for one, and ends those that take longer than any request may.
/// `close` on the pool waits until the router has been dropped.
pub fn connect(options: PgConnectOptions, connections_max: u32) -> PgPool {
    let settings = [("statement_timeout", "10s"), ("jit", "off"), ("max_parallel_workers_per_gather", "0")];
    PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_TIME_MAX)
        .test_before_acquire(false)
        .connect_lazy_with(options.application_name("plyr-likes api").options(settings))
}

/// Answers on `listener` until `stop`, and then until the open requests have ended, but no longer than ten seconds.
pub async fn run(listener: tokio::net::TcpListener, router: Router, stop: CancellationToken) -> std::io::Result<()> {
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps its delay");
        }
    });
    let serving = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(STOP_TIME_MAX).await;
    };
    tokio::select! {
        ended = serving.into_future() => ended,
        () = overdue => {
            tracing::warn!("requests were still open at the end of the time to stop");
            Ok(())
        }
    }
}
