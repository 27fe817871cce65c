//! What verifies that a repo is what its owner signed: the signature of a commit, and the tree of records behind it.
//!
//! [`read_repo`] reads a whole repo as `com.atproto.sync.getRepo` gives it; [`verify_commit`] checks a commit of the firehose
//! against the slice that came with it, without anything from before: it undoes the commit's operations on the slice of the
//! new tree and arrives at the root that the tree had before. Both need the key from the owner's DID document, and trust
//! nothing else.

mod archive;
mod blocks;
mod cbor;
mod commit;
mod error;
mod signature;
mod slice;
mod tree;

pub use archive::{Repo, RepoRecord, read_repo};
pub(super) use commit::find_data;
pub use error::VerifyError;
pub use slice::{Verified, verify_commit};
