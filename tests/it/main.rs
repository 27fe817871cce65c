//! The one test binary: everything is tested through the library's front doors.

mod cli;
mod floors;
mod private_postgres;
mod program;
mod source;
mod support;
