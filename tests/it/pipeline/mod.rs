//! The floors from the wire to the rows, through their front doors.

mod atproto;
mod chains;
mod continuity;
mod corpus;
mod decode;
mod end_to_end;
mod failover;
mod identities;
mod lexicons;
mod network;
pub mod pds;
mod profiles;
mod progress;
mod property;
mod property_repos;
mod reconcile;
mod rejects;
mod retry;
mod source;
mod verification;
mod wire;
