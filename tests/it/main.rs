//! The one test binary: everything is tested through the library's front doors.

mod private_postgres;
mod source;
mod support;
