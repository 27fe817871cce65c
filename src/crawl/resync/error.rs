use crate::store::is_unavailable;

/// Repos can no longer be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ResyncError {
    /// The database does not answer, or refuses a statement.
    #[error("the database: {0}")]
    Database(#[from] sqlx::Error),
    /// The database did not take what was to be written.
    #[error(transparent)]
    Apply(#[from] crate::apply::ApplyError),
    /// The relay did not list repos.
    #[error("{relay} did not list repos: {error}")]
    Relay {
        /// Which relay.
        relay: String,
        /// Why not.
        error: crate::pds::XrpcError,
    },
}

impl ResyncError {
    /// Whether the database is away, so that the same may work later.
    pub(super) fn is_unavailable(&self) -> bool {
        match self {
            Self::Database(error) => is_unavailable(error),
            Self::Apply(error) => error.is_unavailable(),
            Self::Relay { .. } => false,
        }
    }
}
