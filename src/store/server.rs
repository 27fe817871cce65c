//! The server of the database: its version and its clock.

use sqlx::PgConnection;

use crate::atproto::Timestamp;

/// The version of Postgres, as one number: 150018 is 15.18.
pub async fn find_server_version(connection: &mut PgConnection) -> sqlx::Result<i32> {
    sqlx::query_scalar!(r#"SELECT current_setting('server_version_num')::int AS "version!""#)
        .fetch_one(connection)
        .await
}

/// The database's server is too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Postgres {major} is too old: it must be {version_min} or newer")]
pub struct OldServer {
    /// The least major version that this program works on.
    pub version_min: u32,
    /// Its major version.
    pub major: u32,
}

/// Refuses a server whose version number, such as 150006, is of an older major version than `version_min`.
pub fn refuse_old_server(version: i32, version_min: u32) -> Result<(), OldServer> {
    let major = u32::try_from(version / 10_000).unwrap_or_default();
    if major < version_min { Err(OldServer { version_min, major }) } else { Ok(()) }
}

/// What the database's clock says.
pub async fn find_server_time(connection: &mut PgConnection) -> sqlx::Result<Timestamp> {
    let now = sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#).fetch_one(connection).await?;
    Ok(Timestamp::from_utc(now))
}
