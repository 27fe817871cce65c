//! Accounts: their ids, whether they are shown, their identities and their Bluesky profiles.
//!
//! Contract: an actor's row is made once and never removed, so that its id is stable. Whether an account is shown is decided here;
//! every view looks at it. Work at hosts is done for authors, who have written a record, and not for those who are only mentioned.
//! Does not know the records of the account, except to count them out and to purge them.

pub mod account_checks;
pub mod bluesky_profiles;
pub mod identities;
mod rows;
pub mod tombstones;
pub mod visibility;

pub use rows::{
    AccountAnswer, AccountHint, HintOutcome, KnownActor, NewActor, insert, list_known, load_ids, mark_authors,
    update_accounts, write_answer,
};
