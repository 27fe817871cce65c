//! One binary for all tests, so that they are linked once.

mod atproto;
mod corpus;
mod decode;
mod lexicons;
