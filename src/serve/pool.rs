//! The connections of the API to its database.

use std::time::Duration;

use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

/// How long a request waits for a connection.
const ACQUIRE_TIME_MAX: Duration = Duration::from_secs(3);

/// A pool as the API wants it: connected on demand, without a sign of life asked for before each use. Its statements are small
/// and many: the server compiles none, starts no workers for one, and ends one that takes longer than two seconds, also where its request
/// has been given up: the connection is free again by then. Rows are
/// found one by one in the order of an index, whatever the statistics say: a page ends when it is full.
/// `close` on the pool waits until the router has been dropped.
pub fn connect(options: PgConnectOptions, connections_max: u32) -> PgPool {
    let settings = [
        ("statement_timeout", "2s"),
        ("jit", "off"),
        ("max_parallel_workers_per_gather", "0"),
        ("enable_seqscan", "off"),
        ("enable_bitmapscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
    ];
    PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_TIME_MAX)
        .test_before_acquire(false)
        .connect_lazy_with(options.application_name("plyr-likes api").options(settings))
}
