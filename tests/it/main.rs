//! Every test of the program that needs more than one function: one binary, the real database, the front door.

mod serve;
mod serve_operation;
mod serve_pages;
mod serve_size;
mod serve_xrpc;
mod support;
