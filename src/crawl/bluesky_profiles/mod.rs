//! Name and picture of artists and likers, as `app.bsky.actor.profile` in their repos says.
//!
//! Contract: [`run`] asks each actor's own server for the one record, off every request's path, a few at a time and fewer of one
//! host, and asks again by age, after an `#identity` event, and after a failure. What nobody answers leaves what is shown as it
//! is; a record that is not there, or that breaks its lexicon, shows nothing. Nothing else depends on it: no stream tells of these
//! records, and no count is made of them. Does not know what is shown beside.

mod ask;
mod run;

pub use run::{Options, outcomes, run};
