//! The one test binary: everything is tested through the library's front doors. One binary, so that it is linked once.

#![expect(clippy::unwrap_used, reason = "in a test, an unwrap is an assertion")]

mod atproto;
mod bench_log;
mod cases_crash;
mod cases_lease;
mod cases_order;
mod cases_records;
mod cases_storage;
mod cases_transport;
mod cli;
mod corpus;
mod decode;
mod end_to_end;
mod floors;
mod lexicons;
mod manual;
mod network;
mod operating;
mod private_postgres;
mod program;
mod property;
mod rejects;
mod serve;
mod serve_operation;
mod serve_pages;
mod serve_size;
mod serve_xrpc;
mod source;
mod support;
mod wire;
