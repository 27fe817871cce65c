//! One binary of all tests that stand outside the crate.

mod network;
mod support;
