//! The one test binary: everything is tested through the library's front doors.

mod atproto;
mod bench_log;
mod cases_crash;
mod cases_order;
mod cases_records;
mod cases_storage;
mod cases_transport;
mod corpus;
mod decode;
mod lexicons;
mod property;
mod source;
mod support;
