//! The one test binary: everything is tested through the library's front doors.
//! One binary for all tests, so that they are linked once.

mod atproto;
mod bench_log;
mod cases_crash;
mod cases_order;
mod cases_records;
mod cases_storage;
mod cases_transport;
mod corpus;
mod decode;
mod end_to_end;
mod lexicons;
mod network;
mod private_postgres;
mod property;
mod serve;
mod serve_operation;
mod serve_pages;
mod serve_size;
mod serve_xrpc;
mod source;
mod support;
mod wire;
