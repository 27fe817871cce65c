//! The bench's own Postgres: the program's private one, so that it has the same settings.

use std::{os::unix::fs::PermissionsExt, path::Path};

use plyr_likes::{
    postgres::{self, Folder, PrivatePostgres},
    store::schema::MIGRATOR,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, postgres::PgConnectOptions};
use tempfile::TempDir;

/// A running server.
pub struct Server {
    postgres: PrivatePostgres,
}

/// A folder that the server's user may enter.
pub fn folder() -> anyhow::Result<TempDir> {
    let folder = tempfile::tempdir()?;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}

impl Server {
    /// Starts one in a folder.
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        let postgres = postgres::start(Folder::open(folder)?.lock(false)?).await?;
        Ok(Self { postgres })
    }

    /// How to reach a database on it.
    pub fn options(&self, database: &str) -> PgConnectOptions {
        self.postgres.connect_options().database(database)
    }

    /// How pgbench reaches it: the folder of its socket and the user's name.
    pub fn address(&self) -> anyhow::Result<(String, String)> {
        let options = self.postgres.connect_options();
        let socket = options.get_socket().ok_or_else(|| anyhow::anyhow!("the server has no socket"))?;
        Ok((socket.display().to_string(), options.get_username().to_owned()))
    }

    /// A connection to a database on it.
    pub async fn connect(&self, database: &str) -> anyhow::Result<PgConnection> {
        Ok(self.options(database).connect().await?)
    }

    /// Drops and creates a database, with an empty index, and returns its URL.
    pub async fn fresh(&self, database: &str) -> anyhow::Result<String> {
        let mut connection = self.connect("postgres").await?;
        for statement in
            [format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)"), format!("CREATE DATABASE {database}")]
        {
            connection.execute(AssertSqlSafe(statement)).await?;
        }
        connection.execute("CHECKPOINT").await?;
        connection.close().await?;
        let mut index = self.connect(database).await?;
        MIGRATOR.run(&mut index).await?;
        index.close().await?;
        let (socket, user) = self.address()?;
        Ok(format!("postgres:///{database}?host={socket}&user={user}"))
    }

    /// Stops it.
    pub async fn stop(self) {
        self.postgres.stop().await;
    }
}
