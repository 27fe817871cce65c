//! Untrusted hosts: whose a DID or a handle is, and what a repo holds.
//!
//! Contract: all requests go through one [`Client`], which reaches public addresses alone (unless a developer opens it), reads
//! no more and waits no longer than the request says, and does not ask a host that fails or throttles. What an answer says is
//! parsed into types that cannot be wrong; an answer about another account is refused. Does not know that a database exists.

mod address;
mod answer;
mod document;
mod error;
mod groups;
mod guard;
mod host_url;
mod hosts;
mod identity;
mod memory;
mod names;
mod repos;
mod request;
mod resolver;
mod retry_after;
mod xrpc_error;

pub use address::{is_own, is_public};
pub use answer::{Answer, Download};
pub use document::{DidDocument, DocumentError};
pub use error::HostError;
pub use groups::{Group, Groups};
pub use guard::{Client, ClientError, ClientOptions};
pub use host_url::{HostUrl, HostUrlError};
pub use identity::{Directory, DirectoryError, HandleAnswer, document_host};
pub use memory::{HeldBytes, Memory};
pub use names::{Looking, NameError, Names};
pub use repos::{
    Cursors, DidPage, LatestCommit, ListedRecord, RecordPage, RecordQuery, RepoBounds, RepoStatus, Server,
};
pub use request::{Request, Trust};
pub use xrpc_error::XrpcError;
