//! What the tests stand on: real upstreams and those that misbehave on purpose, and real programs.

pub mod api;
pub mod comparison;
pub mod database;
pub mod dump;
pub mod history;
pub mod http;
pub mod model;
pub mod network;
pub mod process;
pub mod program;
pub mod run;
pub mod schema;
pub mod upstream;
pub mod wire;
pub mod world;
