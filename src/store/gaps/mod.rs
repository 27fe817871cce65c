//! Gaps: stretches of an upstream, or repos, of which we may have missed something.
//!
//! Contract: a gap that is not closed is one row for each (source, reason), and for each (repo, reason); what happens again
//! widens it. A gap that is closed says by what and why. Does not know how a gap is repaired.

pub mod repairs;
mod stored;
mod stretches;
mod words;

pub use stored::{OpenCount, StoredGap, Which, count_open, list, list_open};
pub use stretches::{
    NewBreak, NewGap, NewSync, close, close_by_source, delete_closed, end, open, open_repos, open_syncs, set_state,
};
pub use words::{By, End, State};
