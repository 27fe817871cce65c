//! The REST routes, for the frontend and for programs of ours.
//!
//! Contract: JSON names are those of the contract; errors are `{"detail"}`. Does not know XRPC.

pub mod artists;
pub mod likes;
pub mod lists;
mod shapes;
pub mod tracks;
pub mod writes;
