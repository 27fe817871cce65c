//! The one test binary: everything is tested through the library's front doors.
//! One binary for all tests, so that they are linked once.

mod atproto;
mod corpus;
mod decode;
mod lexicons;
mod source;
mod support;
