//! What the tests share.

pub mod database;
pub mod dump;
pub mod feed;
pub mod history;
pub mod model;
pub mod program;
pub mod wire;
pub mod world;
