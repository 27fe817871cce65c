//! The schema: the migrations in this program, and which of them a database has.

use sqlx::{
    PgConnection,
    migrate::{MigrateError, Migrator},
};

use super::availability::is_missing_table;

/// The migrations. A database is current when it has exactly these.
pub static MIGRATOR: Migrator = sqlx::migrate!();

/// The schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The migrations of the same numbers had another text: those of before the first release.
    #[error(
        "the schema of the database is of an earlier version, which this program does not migrate: start with a new data folder \
         (PLYR_DATA_DIR) or an empty database (DATABASE_URL); the index is filled again from the repos"
    )]
    Earlier,
    /// What was applied could not be read.
    #[error("the schema of the database cannot be read")]
    Unreadable(#[source] sqlx::Error),
    /// A migration failed.
    #[error("the schema cannot be brought up to date")]
    Failed(#[source] MigrateError),
}

/// Applies the migrations that are not applied. Several processes may do this at once.
pub async fn migrate(connection: &mut PgConnection) -> Result<(), SchemaError> {
    let applied = list_applied(connection).await.map_err(SchemaError::Unreadable)?;
    let is_other = |(version, checksum): &(i64, Vec<u8>)| {
        MIGRATOR.iter().any(|known| known.version == *version && *known.checksum != **checksum)
    };
    if applied.iter().any(is_other) {
        return Err(SchemaError::Earlier);
    }
    MIGRATOR.run(connection).await.map_err(SchemaError::Failed)
}

/// Whether every migration of this program has been applied, in the same text. Migrations of a later program are fine.
pub async fn is_current(connection: &mut PgConnection) -> sqlx::Result<bool> {
    let applied = list_applied(connection).await?;
    Ok(MIGRATOR.iter().all(|known| {
        applied.iter().any(|(version, checksum)| *version == known.version && **checksum == *known.checksum)
    }))
}

/// The applied migrations by number, with the checksum of their text.
async fn list_applied(connection: &mut PgConnection) -> sqlx::Result<Vec<(i64, Vec<u8>)>> {
    // The migrations' own table is made by their first run: checked statements cannot name it.
    let applied =
        sqlx::query_as("SELECT version, checksum FROM _sqlx_migrations WHERE success").fetch_all(connection).await;
    match applied {
        Err(error) if is_missing_table(&error) => Ok(Vec::new()),
        applied => applied,
    }
}
