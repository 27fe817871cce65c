//! What keeps the index right and small beside the stream: counts that follow accounts and are recounted, and rejects that
//! are removed when they are too old or too many.
//!
//! Contract: each step is a short statement or transaction, so that no batch waits long for it; a step that fails is tried again
//! at its next turn. Does not know where events come from.

mod counts;
mod retention;

pub use counts::{check_counts, follow_accounts, keep};
pub use retention::{Retention, sweep_on};
