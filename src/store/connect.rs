use std::{str::FromStr as _, time::Duration};

use sqlx::{
    Connection as _, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

/// How long a caller waits for a connection before it says that the database is away.
const ACQUIRE_MAX: Duration = Duration::from_secs(3);
/// How long a connection may lie idle and be used again unasked.
const TRUSTED_IDLE_MAX: Duration = Duration::from_secs(1);

/// Reads a `postgres://` address.
pub fn parse_database_url(url: &str) -> Result<PgConnectOptions, String> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err("an address of a database starts with postgres://".to_owned());
    }
    PgConnectOptions::from_str(url).map_err(|error| error.to_string())
}

/// A pool of `connections_max` that connects when it is first asked, so that it can be made while the database is away.
pub fn open_pool(options: PgConnectOptions, connections_max: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_MAX)
        .idle_timeout(Duration::from_mins(5))
        // A busy pool need not ask each time whether its connections live; one that lay idle may have outlived its server.
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > TRUSTED_IDLE_MAX {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(options)
}
