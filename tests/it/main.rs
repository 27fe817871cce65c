//! The one test binary: everything is tested through the library's front doors.

mod end_to_end;
mod network;
mod support;
