//! What tests stand on: real upstreams, real programs.

pub mod comparison;
pub mod network;
pub mod program;
