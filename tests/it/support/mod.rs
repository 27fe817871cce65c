//! What the tests stand on: real upstreams and those that misbehave on purpose, and real programs.

pub mod api;
pub mod asking;
pub mod comparison;
pub mod crowd;
pub mod database;
pub mod dump;
pub mod host;
pub mod http;
pub mod network;
pub mod process;
pub mod program;
pub mod proxy;
pub mod repo;
pub mod run;
pub mod schema;
pub mod server;
pub mod stage;
pub mod upstream;
pub mod world;

pub use plyr_likes_sim::{account_history, account_model, history, model, wire};
