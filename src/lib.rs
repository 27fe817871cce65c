//! The index of likes on atproto behind plyr.fm.
//!
//! Records live in their owners' repos; this crate keeps a Postgres index of them that is fast to ask and can be rebuilt at any
//! time. One sentence is the whole program, and the tree reads like it:
//!
//! ```text
//! source -> decode -> apply -> serve
//! ```
//!
//! Backfill and resync are other sources into the same decode and apply: there is one write path.
//!
//! # Floors
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
//! the sources and enforces it.
//!
//! # Where to start reading
//!
//! | to see | read |
//! |---|---|
//! | the loop from a message to a commit | [`ingest`], its `pump` |
//! | how a batch becomes one transaction | [`apply`] |
//! | what a message or a record may be | [`decode`], and the words in [`model`] |
//! | how an upstream is followed, and resumed | [`source`] |
//! | how repos are read and the index is mended | [`crawl`] |
//! | every statement | [`store`]; what clients see is in [`store::views`] |
//! | what is answered | [`serve`] |
//! | what starts and ends when | [`lifecycle`] |
//!
//! Each of these opens with its contract: what it promises, and what it does not know. The rules that never break are in
//! `docs/RULES.md`, the words in `docs/GLOSSARY.md`, the picture in `docs/ARCHITECTURE.md`.

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
