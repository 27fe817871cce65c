use crate::store::{is_unavailable, sources::lease};

/// The batch is not in the database.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Postgres refused it or is away.
    #[error("the database did not take the batch: {0}")]
    Database(#[source] sqlx::Error),
    /// The applier's token is no longer the lease's: another indexer works, and this one may not.
    #[error("another indexer has taken over")]
    TakenOver,
}

impl From<sqlx::Error> for ApplyError {
    fn from(error: sqlx::Error) -> Self {
        if lease::is_taken_over(&error) { Self::TakenOver } else { Self::Database(error) }
    }
}

impl ApplyError {
    /// Whether Postgres refused what a row holds (SQLSTATE classes 22 and 23), so that trying again can't help.
    pub fn is_about_a_row(&self) -> bool {
        let Self::Database(error) = self else { return false };
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        code.is_some_and(|code| ["22", "23"].iter().any(|class| code.starts_with(class)))
    }

    /// Whether the database is away, so that the same batch may be taken later.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Database(error) if is_unavailable(error))
    }
}
