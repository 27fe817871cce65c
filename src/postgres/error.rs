use std::{io, path::PathBuf};

/// The oldest major version whose SQL the index speaks.
pub const VERSION_MIN: u32 = 15;

/// The private Postgres cannot be had; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum PrivatePostgresError {
    /// No server programs.
    #[error(
        "there is no Postgres {VERSION_MIN} or newer on this machine: {install}, or set DATABASE_URL to a database"
    )]
    NoBinaries {
        /// What to type.
        install: &'static str,
    },
    /// The data folder was made by a version that is not installed.
    #[error("the data folder was made by Postgres {version}, whose programs are not on this machine: install them")]
    OtherVersion {
        /// The major version.
        version: u32,
    },
    /// Another process owns the server.
    #[error("another plyr-likes (process {holder}) works on {path}: stop it, or give this one another PLYR_DATA_DIR")]
    InUse {
        /// The data folder.
        path: PathBuf,
        /// Its process number.
        holder: String,
        /// Whether it is a command that will soon be done.
        is_brief: bool,
    },
    /// The folder belongs to another user.
    #[error("{path} belongs to the user with number {uid}: run as that user, or give it to this one with chown")]
    Foreign {
        /// The data folder, or the server's in it.
        path: PathBuf,
        /// The user's number.
        uid: u32,
    },
    /// Others could put another database into the folder.
    #[error("{path} may be written to by other users: chmod go-w {path}")]
    Open {
        /// The data folder.
        path: PathBuf,
    },
    /// Postgres does not run as root, and there is no other user.
    #[error(
        "Postgres does not run as root, and there is no user `postgres` to run it as: add one, with `useradd --system postgres`"
    )]
    NoUser,
    /// A file or folder under the data folder cannot be used.
    #[error("{path} cannot be used: {error}")]
    Folder {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A server program cannot be started.
    #[error("{program} cannot be started: {error}")]
    Spawn {
        /// Which one.
        program: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// `initdb` failed.
    #[error("initdb could not make a database folder: {said}")]
    Init {
        /// What it said.
        said: String,
    },
    /// The server ended instead of starting.
    #[error("Postgres did not start: {said}")]
    Start {
        /// The end of its log.
        said: String,
    },
    /// The server runs, but answers with an error.
    #[error("the private Postgres answers with an error: {0}")]
    Query(#[from] sqlx::Error),
}
