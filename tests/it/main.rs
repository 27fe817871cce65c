//! One binary of all tests that stand outside the crate.

mod end_to_end;
mod network;
mod support;
