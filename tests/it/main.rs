//! The one test binary: everything is tested through the library's front doors. One binary, so that it is linked once.

#![expect(clippy::unwrap_used, reason = "in a test, an unwrap is an assertion")]

mod api;
mod cases;
mod pipeline;
mod referee;
mod support;
mod tools;
