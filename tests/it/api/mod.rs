//! What a client sees: routes, pages, bounds, errors.

mod bounded_reads;
mod busy;
mod connections;
mod hidden_views;
mod large_rows;
mod many_likers;
mod odd_input;
mod operation;
mod pages;
mod rest;
mod size;
mod snapshots;
mod untrusted_clients;
mod xrpc;
