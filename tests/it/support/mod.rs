//! What the tests stand on: real upstreams and those that misbehave on purpose, and real programs.

pub mod comparison;
pub mod network;
pub mod program;
pub mod upstream;
