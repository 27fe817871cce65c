//! One binary for all tests, so that they are linked once.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod atproto;
mod corpus;
mod decode;
mod lexicons;
mod wire;
