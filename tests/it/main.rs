//! Every test of the program that needs more than one function: one binary, the real database, the front door.

mod cases_order;
mod cases_records;
mod cases_storage;
mod cases_transport;
mod property;
mod support;
