//! The connections of the API to its database.

use sqlx::{PgPool, postgres::PgConnectOptions};

use crate::store;

/// A pool as the API wants it: connected on demand, without a sign of life asked for before each use. Its statements are small
/// and many: the server compiles none, starts no workers for one, and ends one that takes longer than two seconds, also where its request
/// has been given up. Rows are found one by one in the order of an index, whatever the statistics say: a page ends when it is full.
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
    store::connections(connections_max).connect_lazy_with(options.application_name("plyr-likes api").options(settings))
}
