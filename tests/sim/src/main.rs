//! Serves a world.
fn main() {}
