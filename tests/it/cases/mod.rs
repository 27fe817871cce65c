//! The numbered cases of the catalogue, each by its name.

mod accounts;
pub mod backfill;
mod crash;
mod delivery;
mod gaps;
mod hosts;
mod jetstream_v2;
mod lag;
mod lease;
mod mentions;
mod moves;
mod network;
mod order;
mod reconcile;
mod records;
mod sources;
mod storage;
mod transport;
