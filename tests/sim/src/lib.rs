//! A seeded world of atproto repos, served as its upstreams serve it, with faults on demand.
//!
//! [`sim::Sim`] runs one: Jetstream v1 and v2, the firehose, PLC, PDS and relay on each of its ports, which are *hosts* with an
//! order, stamps, numbers and faults of their own. [`world::World`] is the truth, [`model`] the referee that folds it. Shares no
//! code with the program that it tests.

pub mod account_history;
pub mod account_model;
pub mod accounts;
pub mod delivery;
mod dictionary;
pub mod event;
pub mod fault;
mod frames;
pub mod history;
pub mod host;
pub mod http;
mod making;
pub mod model;
pub mod random;
pub mod reads;
pub mod repo;
mod server;
mod session;
pub mod signing;
pub mod sim;
pub mod tree;
mod view;
pub mod wire;
pub mod world;
