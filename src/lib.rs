//! The index of likes on atproto behind plyr.fm.
//!
//! One sentence is the whole program, and the tree reads like it:
//!
//! ```text
//! source -> decode -> apply -> serve
//! ```
//!
//! | floor | modules | must never know |
//! |---|---|---|
//! | 0 | [`atproto`], [`clock`], [`retry`] | anything of ours |
//! | 1 | [`model`] | bytes, SQL, tokio |
//! | 2 | [`decode`] | sockets, SQL, tokio |
//! | 3 | [`source`], [`pds`], [`store`], [`postgres`] | source and pds: that a database exists; store: that a network exists |
//! | 4 | [`apply`], [`identity`] | apply: where events come from; identity: who asks |
//! | 5 | [`ingest`], [`crawl`], [`maintenance`] | routes, flags |
//! | 6 | [`serve`] | how rows got there |
//! | 7 | [`cli`], [`lifecycle`], [`telemetry`] | - |
//!
//! A module imports only from lower floors, and siblings on one floor do not know each other; `tests/it/tools/floors.rs` reads
//! the sources and enforces it. The rules that never break are in the README.

pub mod apply;
pub mod atproto;
pub mod cli;
pub mod clock;
pub mod crawl;
pub mod decode;
pub mod identity;
pub mod ingest;
pub mod lifecycle;
pub mod maintenance;
pub mod model;
pub mod pds;
pub mod postgres;
pub mod retry;
pub mod serve;
pub mod source;
pub mod store;
pub mod telemetry;
