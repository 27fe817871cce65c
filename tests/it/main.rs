//! The one test binary: everything is tested through the library's front doors.

mod cases_crash;
mod cases_order;
mod cases_records;
mod cases_storage;
mod cases_transport;
mod property;
mod support;
