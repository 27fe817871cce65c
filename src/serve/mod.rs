//! Answers: REST, XRPC, health and pages, out of the index alone.
//!
//! Contract: an answer is of one moment of the index, or it is refused; a database that is away gives 503 and never a wrong
//! answer. A read makes no network call. Everything a client sends is bounded. Does not know how rows got into the index.

mod document;
mod http;
mod operation;
mod pages;
mod pool;
mod record_uris;
mod rest;
mod router;
mod server;
mod xrpc;

pub use document::openapi;
pub use http::{settings::ServeSettings, token};
pub use pool::connect;
pub use router::{operator_router, router};
pub use server::{Limits, run};
