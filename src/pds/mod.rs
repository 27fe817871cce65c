//! Hosts that strangers name: who somebody is, and what their repo holds.
//!
//! Contract: all requests go through one [`Client`], which reaches public addresses alone (unless a developer opens it), reads
//! no more and waits no longer than it is told, and leaves a host alone that fails or asks for patience. What an answer says is
//! parsed into types that cannot be wrong; an answer about somebody else is refused. Does not know that a database exists.

mod address;
mod document;
mod error;
mod gate;
mod guard;
mod host_url;
mod hosts;
mod identity;
mod names;
mod patience;
mod repos;

pub use address::is_public;
pub use document::{DidDocument, DocumentError};
pub use error::HostError;
pub use guard::{Client, ClientError, ClientOptions, Download, Request, Trust};
pub use host_url::{HostUrl, HostUrlError};
pub use identity::{Directory, DirectoryError, HandleAnswer};
pub use names::{Looking, NameError, Names};
pub use repos::{
    Cursors, DidPage, LatestCommit, ListedRecord, RecordPage, RecordQuery, RepoBounds, RepoStatus, Server, XrpcError,
};
