//! The one test binary: everything is tested through the library's front doors. One binary, so that it is linked once.

#![expect(clippy::unwrap_used, reason = "in a test, an unwrap is an assertion")]

mod atproto;
mod bench_log;
mod cases_accounts;
mod cases_backfill;
mod cases_crash;
mod cases_gaps;
mod cases_jetstream_v2;
mod cases_lease;
mod cases_order;
mod cases_reconcile;
mod cases_records;
mod cases_sources;
mod cases_storage;
mod cases_transport;
mod chains;
mod cli;
mod comparison;
mod continuity;
mod corpus;
mod decode;
mod end_to_end;
mod floors;
mod identities;
mod lexicons;
mod manual;
mod network;
mod operating;
mod pds;
mod private_postgres;
mod program;
mod proofs;
mod property;
mod rejects;
mod serve;
mod serve_operation;
mod serve_pages;
mod serve_size;
mod serve_xrpc;
mod sim;
mod sim_reads;
mod source;
mod support;
mod wire;
