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
//! | 1 | [`decode`] | sockets, SQL, tokio |
//! | 2 | [`source`], [`pds`], [`store`] | source and pds: that a database exists; store: that a network exists |
//! | 3 | [`apply`], [`identity`] | apply: where events come from; identity: who asks |
//! | 4 | [`ingest`], [`crawl`] | routes, flags |
//! | 5 | [`serve`] | how rows got there |
//! | 6 | [`cli`], [`lifecycle`], [`telemetry`] | - |
//!
//! A module imports only from lower floors, and siblings on one floor do not know each other; `tests/it/floors.rs` reads
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
pub mod pds;
pub mod retry;
pub mod serve;
pub mod source;
pub mod store;
pub mod telemetry;
