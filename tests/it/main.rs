//! The one test binary: everything is tested through the library's front doors.

mod source;
mod support;
