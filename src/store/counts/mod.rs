//! The like counts of tracks, which triggers keep: how they follow actors that were hidden or shown, and their standing check.
//!
//! Contract: a count is the number of distinct shown actors with a live like on the track; a track's place by popularity follows it, and
//! the tracks that an actor with many likes has liked are counted too. Does not know what a client sees.

pub mod checks;
pub mod ranks;
pub mod uncounted;
