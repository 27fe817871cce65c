//! What a client sees: routes, pages, bounds, errors.

mod hidden_views;
mod operation;
mod pages;
mod rest;
mod size;
mod xrpc;
