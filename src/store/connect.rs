use std::{io, str::FromStr as _, time::Duration};

use sqlx::{
    Connection as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::timeout;

/// How long a caller waits for a connection before it says that the database is away.
const ACQUIRE_MAX: Duration = Duration::from_secs(3);
/// How long a connection may lie idle and be used again unasked.
const TRUSTED_IDLE_MAX: Duration = Duration::from_secs(1);
/// How long a connection may take to show that it lives. Less than [`ACQUIRE_MAX`], so that a pool of dead ones is found out.
const PING_MAX: Duration = Duration::from_secs(1);
/// How long a step of the work in the background may take at the database: far longer than any does.
const STEP_MAX: Duration = Duration::from_secs(30);

/// Reads a `postgres://` address. It may name several hosts, a primary and its standbys, as
/// [libpq](https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-MULTIPLE-HOSTS) has them between `@` and `/`: as many come
/// back, in their order.
pub fn parse_database_url(url: &str) -> Result<Vec<PgConnectOptions>, String> {
    let is_postgres = |scheme: &str| matches!(scheme, "postgres" | "postgresql");
    let Some((scheme, rest)) = url.split_once("://").filter(|(scheme, _)| is_postgres(scheme)) else {
        return Err("an address of a database starts with postgres://".to_owned());
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    let parse = |host| PgConnectOptions::from_str(&format!("{scheme}://{user}{host}{path}"));
    hosts.split(',').map(parse).collect::<Result<_, _>>().map_err(|error| error.to_string())
}

/// A pool of `connections_max` that connects when it is first asked, so that it can be made while the database is away.
pub fn open_pool(options: PgConnectOptions, connections_max: u32) -> PgPool {
    connections(connections_max)
        .idle_timeout(Duration::from_mins(5))
        // One that lay idle may have outlived its server.
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > TRUSTED_IDLE_MAX {
                    ping(connection).await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(options)
}

/// What all pools have in common. A busy pool does not ask each time whether its connections live.
pub fn connections(connections_max: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_MAX)
        .test_before_acquire(false)
        // The pool itself asks a connection that comes back whether it lives, but waits for ever: of one whose statement was given
        // up because the server fell silent, the place in the pool would be lost.
        .after_release(|connection, _| Box::pin(async move { ping(connection).await.map(|()| true) }))
}

/// Asks for a sign of life.
async fn ping(connection: &mut PgConnection) -> sqlx::Result<()> {
    timeout(PING_MAX, connection.ping()).await.unwrap_or_else(|_| Err(no_answer()))
}

/// Does a step of the work in the background, unless the database falls silent over it: packets may vanish without a word, and
/// then no answer and no error ever comes. What the step has begun at the server is rolled back there.
pub fn in_time<T, E: From<sqlx::Error>>(
    step: impl Future<Output = Result<T, E>>,
) -> impl Future<Output = Result<T, E>> {
    within(STEP_MAX, step)
}

/// Likewise, within a time of the caller's choice.
pub fn within<T, E: From<sqlx::Error>>(
    time: Duration,
    step: impl Future<Output = Result<T, E>>,
) -> impl Future<Output = Result<T, E>> {
    // Steps are large, and callers many.
    let step = Box::pin(step);
    async move { timeout(time, step).await.unwrap_or_else(|_| Err(no_answer().into())) }
}

fn no_answer() -> sqlx::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the database gave no answer in time").into()
}
