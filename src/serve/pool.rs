//! The connections of the API to its database.

use std::time::Duration;

use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

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
