//! Name and picture of artists and likers, as `app.bsky.actor.profile` in their repos says.
//!
//! Contract: each actor's own PDS is asked for the one record, off every request's path, and again by age, after an `#identity`
//! event, and after a failure. What no host answers leaves what is shown as it is; a record that is not there, or that breaks its
//! lexicon, shows nothing. Nothing else depends on it: no stream carries these records, and they are not counted.

mod options;
mod queue;
mod read;

pub use options::Options;

use tokio_util::sync::CancellationToken;

use super::{Context, Until};
use crate::store::actors::bluesky_profiles::Outcome;

/// Keeps the profiles of artists and likers until cancelled.
pub async fn run(context: Context, options: Options, cancel: CancellationToken) -> sqlx::Result<()> {
    let identities = context.identities.clone();
    let mut profiles = queue::Profiles::new(context, options);
    super::run::run(&mut profiles, &identities, Until::Cancelled, &cancel).await
}

/// The outcomes that attempts are counted by.
pub fn outcomes() -> [&'static str; 4] {
    [Outcome::Found.as_str(), Outcome::Absent.as_str(), Outcome::Refused.as_str(), read::FAILED]
}
