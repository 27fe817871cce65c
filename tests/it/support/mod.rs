//! What the tests stand on.

pub mod api;
pub mod database;
pub mod dump;
pub mod history;
pub mod model;
pub mod program;
pub mod run;
pub mod upstream;
pub mod wire;
pub mod world;
