//! Records: a file for each of the tables that hold them.
//!
//! Contract: rows are written by the apply floor alone, in the transaction of [`crate::store::begin_apply`], and each only over one of a
//! lower rev. Does not know what a record means.

pub mod likes;
pub mod lists;
pub mod profiles;
pub mod repo;
pub mod subject_cids;
pub mod tracks;
