//! The server of the database: what it must be, how many connections it gives, and its clock.

use sqlx::{PgConnection, Row as _};

use crate::atproto::Timestamp;

/// What this program asks of a server and a database before it works on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// The version of Postgres, as one number: 150018 is 15.18.
    pub version: i32,
    /// How the database encodes texts.
    pub encoding: String,
    /// A standby server, or a database or role for reading alone.
    pub is_read_only: bool,
    /// The schema that tables are made in, if there is one.
    pub schema: Option<String>,
    /// Whether tables may be made in it.
    pub may_create: bool,
}

/// The database cannot be worked on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnfitDatabase {
    /// An older version than this program works on.
    #[error("Postgres {major} is too old: it must be {version_min} or newer")]
    OldServer {
        /// The least major version that this program works on.
        version_min: u32,
        /// Its major version.
        major: u32,
    },
    /// Texts of records hold any character.
    #[error(
        "the database has the encoding {0}, which cannot hold every text: make one with ENCODING 'UTF8' TEMPLATE template0"
    )]
    Encoding(String),
    /// A pooler gives a connection of the server to each client for a transaction.
    #[error(
        "the database is behind a pooler that shares connections between transactions: set its pool mode to session, or name the database \
         itself in DATABASE_URL"
    )]
    SharedSessions,
    /// Nothing can be written.
    #[error(
        "the database is read-only (a standby server, or default_transaction_read_only): DATABASE_URL must name one that can be written to"
    )]
    ReadOnly,
    /// No schema of the search path is there.
    #[error("the search path of the database's role names no schema that is there: create one, or set search_path")]
    NoSchema,
    /// Tables cannot be made.
    #[error(
        "the database's role may not create tables in the schema {0}: grant it CREATE, or make it the owner of the database"
    )]
    MayNotCreate(String),
}

/// Asks the server what it is.
pub async fn find_server_facts(connection: &mut PgConnection) -> sqlx::Result<ServerFacts> {
    sqlx::query_as!(
        ServerFacts,
        r#"SELECT current_setting('server_version_num')::int AS "version!", current_setting('server_encoding') AS "encoding!",
            pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS "is_read_only!",
            current_schema()::text AS schema,
            coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS "may_create!""#
    )
    .fetch_one(connection)
    .await
}

/// Whether two connections that are open at the same time are one at the server, between whose transactions a pooler divides it. What we
/// keep with a connection, as the lease, would be shared or lost. Asked so that nothing stays behind at the server.
pub async fn share_a_session(one: &mut PgConnection, other: &mut PgConnection) -> sqlx::Result<bool> {
    async fn process(connection: &mut PgConnection) -> sqlx::Result<i32> {
        sqlx::raw_sql("SELECT pg_backend_pid()").fetch_one(connection).await?.try_get(0)
    }

    Ok(process(one).await? == process(other).await?)
}

impl ServerFacts {
    /// Refuses a database that this program cannot write its tables to; `version_min` is the least major version.
    pub fn check(&self, version_min: u32) -> Result<(), UnfitDatabase> {
        let major = u32::try_from(self.version / 10_000).unwrap_or_default();
        match &self.schema {
            _ if major < version_min => Err(UnfitDatabase::OldServer { version_min, major }),
            _ if self.encoding != "UTF8" => Err(UnfitDatabase::Encoding(self.encoding.clone())),
            _ if self.is_read_only => Err(UnfitDatabase::ReadOnly),
            None => Err(UnfitDatabase::NoSchema),
            Some(schema) if !self.may_create => Err(UnfitDatabase::MayNotCreate(schema.clone())),
            Some(_) => Ok(()),
        }
    }
}

/// How many connections the role of this one may have in this database at most: the least of what is set for the role, the database and the
/// server.
pub async fn find_connection_limit(connection: &mut PgConnection) -> sqlx::Result<i32> {
    sqlx::query_scalar!(
        r#"SELECT least(nullif(r.rolconnlimit, -1), nullif(d.datconnlimit, -1),
            current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int) AS "limit!"
        FROM pg_roles r, pg_database d WHERE r.rolname = current_user AND d.datname = current_database()"#
    )
    .fetch_one(connection)
    .await
}

/// What the database's clock says.
pub async fn find_server_time(connection: &mut PgConnection) -> sqlx::Result<Timestamp> {
    let now = sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#).fetch_one(connection).await?;
    Ok(Timestamp::from_utc(now))
}
