//! The one test binary: everything is tested through the library's front doors.

#![expect(clippy::unwrap_used, reason = "in a test, an unwrap is an assertion")]

mod cli;
mod floors;
mod private_postgres;
mod program;
mod source;
mod support;
