//! The loop: receive, decode, batch, apply, acknowledge.

mod batch;
mod feed;
mod writer;

pub use batch::Feeder;
pub use feed::Feed;
pub use writer::{Inlet, Writer};
