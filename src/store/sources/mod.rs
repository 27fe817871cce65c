//! What is stored of the upstreams: positions, connections, what each delivered last, how they compare; and the lease of the indexer
//! that follows them.
//!
//! Contract: a position is stored in the transaction of the rows that it stands for, and only by the holder of the lease. Does not
//! know what the events say.

pub mod connections;
pub mod last_delivered;
pub mod lease;
pub mod positions;
pub mod scores;
